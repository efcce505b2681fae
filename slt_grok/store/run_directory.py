"""Run directories: manifest, checkpoints, measurements and state for resuming.

manifest.json                             config, versions, finished stages with wall times, digests of these files:
checkpoints/step_00002250.safetensors     every tensor with a leading `seed` coordinate
summary.json, calibration.json            results that are no datasets
measurements/LABEL.nc                     one xarray file per measurement, settings in its attributes
state/                                    data for resuming; removed when its stage is finished
"""

import json
import re
import shutil
from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.store.datasets import read_dataset, write_dataset
from slt_grok.store.digests import Digests, sealed, unsealed
from slt_grok.store.files import read_json, read_tensors, write_json, write_tensors

FORMAT = 2  # of run directories; older ones must be re-run and are not converted


class RunDirectory:
    """A folder with everything about one run.

    Parameters
    ----------
    path : str or Path
        The folder; it need not exist yet for a new run.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    # -- manifest ---------------------------------------------------------------------------------------------

    @property
    def exists(self) -> bool:
        """Whether there is a manifest."""
        return (self.path / "manifest.json").is_file()

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest.

        Raises
        ------
        SltGrokError
            Not a run directory, or one written by another version of this package.
        """
        path = self.path / "manifest.json"
        if not self.exists:
            raise SltGrokError(f"{self.path}: expected a run directory with a manifest.json")
        manifest = unsealed(read_json(path), path)
        config, stages = manifest.get("config"), manifest.setdefault("stages", {})
        if not isinstance(config, dict) or not isinstance(config.get("name"), str):
            raise SltGrokError(f"{path}: expected the manifest of a run, with a config that has a name")
        if not isinstance(stages, dict) or not all(isinstance(facts, dict) for facts in stages.values()):
            raise SltGrokError(f"{path}: stages: expected finished stages by name, got {json.dumps(stages)}")
        if manifest.get("format") != FORMAT:
            again = "slt-grok import" if config.get("source") else "slt-grok run"
            raise SltGrokError(
                f"{path}: this run is from another version of slt-grok (format {manifest.get('format', 1)}, expected "
                f"{FORMAT}); re-create it in a new directory with {again}"
            )
        return manifest

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Replace the manifest."""
        write_json(self.path / "manifest.json", sealed({"format": FORMAT, **manifest}))
        self.__dict__.pop("digests", None)

    @cached_property
    def digests(self) -> Digests:
        """The digests of checkpoints and results."""
        return Digests(self.path, self.manifest if self.exists else {})

    def finish_stage(self, stage: str, **facts: Any) -> None:
        """Record in the manifest that a stage is finished, and digests of all files; remove the stage's state."""
        manifest = self.manifest
        self._record(manifest | {"stages": manifest["stages"] | {stage: facts}})
        shutil.rmtree(self.state(stage), ignore_errors=True)
        with suppress(OSError):  # the folder still holds another stage's state
            self.state(stage).parent.rmdir()

    @property
    def _files(self) -> list[Path]:
        return [*map(self.checkpoint_path, self.steps), *map(self.measurement_path, self.labels)]

    def verify(self) -> None:
        """Check that every checkpoint and measurement is as it was written.

        Raises
        ------
        SltGrokError
            A file was changed or added.
        """
        for path in self._files:
            self.digests.verify(path)

    @property
    def missing(self) -> list[str]:
        """Names of files that were written and no longer exist."""
        return [name for name in self.digests.known if not (self.path / name).is_file()]

    def _record(self, manifest: Mapping[str, Any], *results: Path) -> None:
        """Write a manifest with the digests of all files."""
        self.write_manifest({**manifest, "digests": self.digests.completed([*self._files, *results])})

    def _announced(self, path: Path) -> Path:
        """Record that a file is about to be written, in case the process is killed before its digest is stored."""
        if self.digests.known:
            self.write_manifest({**self.manifest, "digests": self.digests.announcing(path)})
        return path

    def write_result(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a result that is no dataset, as JSON, and record its digest."""
        path = self._announced(self.path / name)
        write_json(path, content)
        self._record(self.manifest, path)

    def read_result(self, name: str) -> dict[str, Any]:
        """Read a result that is no dataset.

        Raises
        ------
        SltGrokError
            The file is missing, damaged or changed.
        """
        self.digests.verify(self.path / name)
        return read_json(self.path / name)

    # -- checkpoints ------------------------------------------------------------------------------------------

    def checkpoint_path(self, step: int) -> Path:
        """Get the path of the checkpoint at a step."""
        return self.path / "checkpoints" / f"step_{step:08d}.safetensors"

    @property
    def steps(self) -> list[int]:
        """Steps of the stored checkpoints, ascending."""
        names = (self.path / "checkpoints").glob("step_*.safetensors")
        return sorted(int(m[1]) for name in names if (m := re.fullmatch(r"step_(\d+)", name.stem)))

    def write_checkpoint(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Write the parameters of all seeds at a step, each tensor (seed, ...)."""
        path = self._announced(self.checkpoint_path(step))
        write_tensors(path, tensors, {"step": str(step), "dims": "seed", **self.digests.stamp})

    def read_checkpoint(
        self, step: int, expected: Mapping[str, torch.Size], seeds: int | None = None, buffers: Collection[str] = ()
    ) -> dict[str, Tensor]:
        """Read the parameters of all seeds at a step, checked against the network's shapes (without `seed`).

        Raises
        ------
        SltGrokError
            The file is missing, truncated, changed, of another step, network or number of seeds, not float32, or not
            finite.
        """
        path = self.checkpoint_path(step)
        self.digests.verify(path)
        tensors, attributes = read_tensors(path)
        self.digests.check_origin(path, attributes)
        if (held := attributes.get("step", str(step))) != str(step):
            raise SltGrokError(f"{path}: expected the checkpoint of step {step}, but it holds that of step {held}")
        first = next(iter(tensors.values()), torch.empty(1))
        stack = first.shape[:1] if seeds is None else torch.Size([seeds])
        shapes = {name: stack + shape for name, shape in expected.items()}
        check_parameters(path, tensors, shapes, torch.float32, buffers)
        return tensors

    # -- measurements -----------------------------------------------------------------------------------------

    def measurement_path(self, label: str) -> Path:
        """Get the path of a measurement."""
        return self.path / "measurements" / f"{label}.nc"

    @property
    def labels(self) -> list[str]:
        """Labels of the stored measurements."""
        return sorted(path.stem for path in (self.path / "measurements").glob("*.nc"))

    def write_measurement(self, label: str, dataset: xr.Dataset, settings: Mapping[str, Any]) -> xr.Dataset:
        """Write a dataset with the settings used to make it, and return it with them."""
        path = self._announced(self.measurement_path(label))
        complete = dataset.assign_attrs(settings=json.dumps(settings, default=str), **self.digests.stamp)
        write_dataset(path, complete)
        return complete

    def read_measurement(self, label: str) -> xr.Dataset:
        """Read a measurement into memory.

        Raises
        ------
        SltGrokError
            There is no measurement with that label, or its file is damaged, changed or of another run.
        """
        path = self.measurement_path(label)
        self.digests.verify(path)
        dataset = read_dataset(path)
        self.digests.check_origin(path, dataset.attrs)
        try:
            settings = json.loads(dataset.attrs["settings"])
        except (KeyError, TypeError, ValueError):
            settings = None
        if not isinstance(settings, dict):
            raise SltGrokError(f"{path}: expected the settings of the measurement as JSON in its attribute settings")
        if dataset.sizes.get("step") == 0:
            raise SltGrokError(f"{path}: expected at least one step, it has none")
        return dataset

    def check_settings(self, label: str, stored: xr.Dataset, settings: Mapping[str, Any]) -> None:
        """Check that a stored measurement was made with these settings.

        Raises
        ------
        SltGrokError
            It was made with others; the message names the changed keys.
        """
        changed = changed_keys(json.loads(stored.attrs["settings"]), json.loads(json.dumps(settings, default=str)))
        if changed:
            raise SltGrokError(
                f"{self.measurement_path(label)}: was measured with other settings ({'; '.join(changed)}); "
                f"choose another --label for the new measurement, or remove the file"
            )

    # -- state ------------------------------------------------------------------------------------------------

    def state(self, stage: str) -> Path:
        """Get the folder for the data that resuming a stage needs."""
        return self.path / "state" / stage


def check_parameters(
    origin: object,
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, torch.Size],
    dtype: torch.dtype | None = None,
    buffers: Collection[str] = (),
) -> None:
    """Check the names, shapes, types and values of a network's tensors.

    Parameters
    ----------
    origin : object
        Name of the source in error messages, such as a path.
    tensors : mapping of str to Tensor
        The tensors.
    expected : mapping of str to torch.Size
        The shape of each tensor.
    dtype : torch.dtype, optional
        The type of all tensors; any type of real numbers by default.
    buffers : collection of str, optional
        Tensors that may hold infinity, such as masks.

    Raises
    ------
    SltGrokError
        A tensor is missing, unknown, of the wrong shape or type, or not finite; the message names it.
    """
    for name in [*expected, *tensors]:
        if name not in tensors:
            raise SltGrokError(f"{origin}: expected a tensor {name} of shape {tuple(expected[name])}, it is missing")
        if name not in expected:
            raise SltGrokError(f"{origin}: expected only {', '.join(expected)}, but it also has {name}")
        shape, wanted = tuple(tensors[name].shape), tuple(expected[name])
        if shape != wanted:
            raise SltGrokError(f"{origin}: expected {name} of shape {wanted}, got {shape}")
        found = tensors[name].dtype
        if found != dtype if dtype else not found.is_floating_point:
            raise SltGrokError(f"{origin}: expected {name} to hold {dtype or 'real numbers'}, got {found}")
        if (tensors[name].isnan() if name in buffers else ~tensors[name].isfinite()).any():
            raise SltGrokError(f"{origin}: expected finite weights, but {name} holds NaN or infinity")


def changed_keys(old: Any, new: Any, prefix: str = "") -> list[str]:
    """List the differences between two nested settings, each as `key: old -> new`."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [*old, *(key for key in new if key not in old)]
        return [
            line
            for key in keys
            for line in changed_keys(old.get(key), new.get(key), f"{prefix}.{key}" if prefix else str(key))
        ]
    return [] if old == new else [f"{prefix}: {json.dumps(old)} -> {json.dumps(new)}"]
