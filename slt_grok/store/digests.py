"""Digests show whether a file of a run is the one that was written, for the run's own configuration.

The manifest records a hash of every checkpoint and result, so that a damaged, exchanged or added file is noticed. Each
checkpoint and measurement carries a hash of what determines the networks, and the manifest one of itself, so that an
edited configuration is noticed.
"""

import json
from collections.abc import Iterable, Mapping
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import xxhash

from slt_grok.errors import FileError, SltGrokError

SEAL = "digest"  # key of a manifest
NETWORKS = "networks"  # attribute of a file with the hash of `DETERMINING`
DETERMINING = ("seeds", "task", "model", "training")  # keys of a configuration that determine the networks


def digest(path: Path) -> str:
    """Compute the hash of a file's content, as hexadecimal digits."""
    if not path.stat().st_size:
        return xxhash.xxh3_128_hexdigest(b"")
    with open(path, "rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:  # twice as fast as to read it
        return xxhash.xxh3_128_hexdigest(content)


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Add the hash of a manifest to it, as plain JSON."""
    plain = json.loads(json.dumps(manifest, default=str))
    return {**plain, SEAL: _digest_of(plain)}


def unsealed(manifest: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Remove the hash of a manifest from it; one without it is taken as it is.

    Raises
    ------
    SltGrokError
        The manifest was changed.
    """
    content = {key: part for key, part in manifest.items() if key != SEAL}
    if SEAL in manifest and manifest[SEAL] != _digest_of(content):
        raise FileError(
            f"{path}: has changed since it was written; restore it, or make the run again in another folder"
        )
    return content


def _digest_of(content: Any) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(content, sort_keys=True, default=str).encode())


class Digests:
    """The digests in the manifest of a run; that of a file that is being written is empty.

    Parameters
    ----------
    folder : Path
        The run directory.
    manifest : mapping
        Its manifest; empty if there is none yet.

    Raises
    ------
    SltGrokError
        The manifest holds something else under `digests`.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self.folder, self.config = folder, manifest.get("config", {})
        self.known: dict[str, str] = manifest.get("digests", {})
        if not isinstance(self.known, dict):
            raise SltGrokError(f"{folder / 'manifest.json'}: digests: expected a digest by file, got {self.known!r}")

    @property
    def stamp(self) -> dict[str, str]:
        """The attributes of every file of the run; none before there is a manifest."""
        parts = {key: self.config[key] for key in DETERMINING if key in self.config}
        return {NETWORKS: _digest_of(parts)} if self.config else {}

    def name(self, path: Path) -> str:
        """Get the name of a file in the manifest."""
        return path.relative_to(self.folder).as_posix()

    def completed(self, paths: Iterable[Path]) -> dict[str, str]:
        """Add the digests of files that have none, and drop those of files that no longer exist."""
        names = {*self.known, *map(self.name, paths)}
        return {
            name: self.known.get(name) or digest(self.folder / name)
            for name in sorted(names)
            if (self.folder / name).is_file()
        }

    def announcing(self, path: Path) -> dict[str, str]:
        """Empty the digest of a file that is about to be written."""
        return {**self.known, self.name(path): ""}

    def verify(self, path: Path) -> None:
        """Check that a file was written by this run and is as it was; nothing is known of files of earlier versions.

        Raises
        ------
        SltGrokError
            The file was changed or added.
        """
        if not self.known or not path.is_file():
            return
        known = self.known.get(self.name(path))
        if known is None:
            raise FileError(f"{path}: was not written by this run; {self._restore(path)}")
        if known and digest(path) != known:
            raise FileError(f"{path}: has changed since it was written; {self._restore(path)}")

    def check_origin(self, path: Path, attributes: Mapping[str, Any]) -> None:
        """Check by a file's attributes that it was written for the networks of this run.

        Raises
        ------
        SltGrokError
            It was written for others.
        """
        found, expected = attributes.get(NETWORKS), self.stamp.get(NETWORKS)
        if None in (found, expected) or found == expected:
            return
        if self.known.get(self.name(path)):  # it is as it was written
            raise FileError(
                f"{self.folder / 'manifest.json'}: config: {', '.join(DETERMINING)} differ from those used to make "
                f"{path.name}; restore them, or start a new run in another folder"
            )
        raise FileError(f"{path}: belongs to another run, with other networks; {self._restore(path)}")

    def remedy(self, name: str) -> str:
        """Say how to make a result again."""
        label, _, suffix = Path(name).stem.partition("@")
        labeled = f" --only {label} --label {suffix} --config FILE" if suffix else ""
        command = f"calibrate {self.folder}" if label == "calibration" else f"measure {self.folder}{labeled}"
        return f"make it again by slt-grok {command}"

    def _restore(self, path: Path) -> str:
        if path.parent.name == "checkpoints" or path.stem == "training":
            made_by = "import" if self.config.get("source") else "run"
            return f"restore it, or make the run again in another folder by slt-grok {made_by}"
        return f"restore it, or remove it and {self.remedy(self.name(path))}"
