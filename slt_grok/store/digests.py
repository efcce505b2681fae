"""Digests show whether a file of a run is the one that was written, for the run's own configuration.

The manifest records a hash of every checkpoint and measurement, so that a damaged, exchanged or added file is noticed.
Each of these files carries a hash of what determines the networks, so that an edited manifest is noticed.
"""

import json
from collections.abc import Iterable, Mapping
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import xxhash

from slt_grok.errors import SltGrokError

NETWORKS = "networks"  # attribute of a file with the hash of `DETERMINING`
DETERMINING = ("seeds", "task", "model", "training", "source")  # keys of a configuration that determine the networks


def digest(path: Path) -> str:
    """Compute the hash of a file's content, as hexadecimal digits."""
    if not path.stat().st_size:
        return xxhash.xxh3_128_hexdigest(b"")
    with open(path, "rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:  # twice as fast as to read it
        return xxhash.xxh3_128_hexdigest(content)


class Digests:
    """The digests in the manifest of a run.

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
        text = json.dumps(parts, sort_keys=True, default=str)
        return {NETWORKS: xxhash.xxh3_128_hexdigest(text.encode())} if self.config else {}

    def name(self, path: Path) -> str:
        """Get the name of a file in the manifest."""
        return path.relative_to(self.folder).as_posix()

    def completed(self, paths: Iterable[Path]) -> dict[str, str]:
        """Add the digests of files that have none, and drop those of files that no longer exist."""
        return {(name := self.name(path)): self.known.get(name) or digest(path) for path in paths}

    def without(self, path: Path) -> dict[str, str]:
        """Drop the digest of a file."""
        return {name: known for name, known in self.known.items() if name != self.name(path)}

    def verify(self, path: Path) -> None:
        """Check that a file is as it was written; a missing one, or one without a digest, is.

        Raises
        ------
        SltGrokError
            The file was changed.
        """
        known = self.known.get(self.name(path))
        if known is not None and path.is_file() and digest(path) != known:
            raise SltGrokError(f"{path}: was changed after it was written; {self._remedy(path)}")

    def check_origin(self, path: Path, attributes: Mapping[str, Any]) -> None:
        """Check by a file's attributes that it was written for the networks of this run.

        Raises
        ------
        SltGrokError
            It was written for others.
        """
        found, expected = attributes.get(NETWORKS), self.stamp.get(NETWORKS)
        recorded = self.name(path) in self.known
        if found is None and self.known and not recorded:
            raise SltGrokError(f"{path}: was not written by this run; {self._remedy(path)}")
        if None in (found, expected) or found == expected:
            return
        if recorded:
            raise SltGrokError(
                f"{self.folder / 'manifest.json'}: config: its {', '.join(DETERMINING)} are not those that {path.name} "
                f"was made with; restore them, or make a new run with them in another folder"
            )
        raise SltGrokError(f"{path}: is of another run, with other networks; {self._remedy(path)}")

    def _remedy(self, path: Path) -> str:
        """Say how to get a file that is right."""
        if path.parent.name == "measurements" and path.stem != "training":
            return f"remove it and make it anew by slt-grok measure {self.folder}"
        made_by = "slt-grok import" if self.config.get("source") else "slt-grok run"
        return f"restore it, or make the run anew in another folder by {made_by}"
