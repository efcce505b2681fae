"""Study files: a base configuration and named arms that vary some of its settings over a grid.

    name: widths
    base: ../quickstart.yaml          # relative to the study's file
    seeds: 3                          # 0, 1, 2; or a list
    batch: 3                          # seeds that train as one stack and share a run directory
    measurements: [circuits, llc]     # by default all that the configuration requests
    set: {training.steps: 2000}       # changes for all arms, by dotted keys
    arms:
      table: {set: {task.operation: random_table}}
      sum:
        grid: {model.d_mlp: [64, 128], llc.sampler.step_size: [0.01, 0.02]}     # every combination
        points: [{task.modulus: 23, llc.batch_size: 64}, {task.modulus: 53}]    # settings that change together

A run is one point of an arm's grid with one batch of its seeds. Its directory name contains a digest of its full
configuration, so that an edited study reuses exactly the runs that still match.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from slt_grok.config import NAME, RunConfig, parse_config, read_yaml
from slt_grok.errors import SltGrokError, one_line, shown
from slt_grok.measurement import Measurement
from slt_grok.settings import NonNegative, Positive, Settings, parse_settings

MOST_RUNS, MOST_SETTINGS = 100_000, 5_000  # planned within seconds: runs, and points of grids whose settings differ
ARM = r"^[A-Za-z0-9][A-Za-z0-9_]{0,99}$"


def _counted(seeds: Any) -> Any:
    """Expand the number of seeds to 0, 1, ..."""
    if not isinstance(seeds, int) or isinstance(seeds, bool):
        return seeds
    if not 0 < seeds <= MOST_RUNS:
        raise PydanticCustomError("seeds", "{expected}", {"expected": f"from 1 to {MOST_RUNS} of them, or a list"})
    return list(range(seeds))


Seeds = Annotated[list[NonNegative], Field(min_length=1), BeforeValidator(_counted)]
Changes = dict[str, Any]


class ArmSettings(Settings):
    """What an arm changes; omitted keys are taken from the study."""

    seeds: Seeds | None = None
    batch: Positive | None = None
    measurements: list[str] | None = None
    set: Changes = Field(default={}, description="changes for this arm, by dotted keys")
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default={}, description="every combination")
    points: list[Changes] = Field(default=[{}], min_length=1, description="settings that change together")


class StudySettings(Settings):
    """A study's file."""

    name: str = Field(pattern=NAME)
    base: str
    seeds: Seeds = [0]
    batch: Positive = Field(default=5, description="number of seeds that train as one stack and share a run directory")
    measurements: list[str] | None = Field(default=None, description="names of the measurements to make")
    page: bool = Field(default=False, description="whether to draw the figures and write the page of every run")
    set: Changes = Field(default={}, description="changes for all arms, by dotted keys")
    arms: dict[Annotated[str, Field(pattern=ARM)], ArmSettings] = Field(min_length=1)


@dataclass(frozen=True)
class PlannedRun:
    """One run directory of a study.

    Parameters
    ----------
    arm : str
        Name of the arm.
    varied : mapping
        The settings in which it differs from other runs of the study, by dotted keys.
    seeds : tuple of int
        The seeds, one network each.
    name : str
        Its directory, relative to the study's directory.
    page : bool
        Whether to draw its figures and write its page.
    config : RunConfig, optional
        Its configuration; None if the settings were rejected.
    measurements : tuple of str, optional
        Names of the measurements, in execution order.
    fingerprint : str, optional
        Digest of the configuration as it was understood, without its name and seeds.
    reason : str, optional
        Why the settings were rejected.
    """

    arm: str
    varied: Mapping[str, Any]
    seeds: tuple[int, ...]
    name: str
    page: bool
    config: RunConfig | None = None
    measurements: tuple[str, ...] = ()
    fingerprint: str = ""
    reason: str = ""

    def with_single_seed(self, seed: int) -> "PlannedRun":
        """Copy the run with only one of its seeds."""
        assert self.config is not None
        config = self.config.with_seeds([seed])
        return replace(self, seeds=(seed,), config=config, name=_directory(self.arm, self.varied, config.content))


@dataclass(frozen=True)
class Study:
    """The name of a study and its runs, in the order of the file."""

    name: str
    runs: tuple[PlannedRun, ...]


def load_study_file(path: Path) -> Study:
    """Read a study from its YAML file.

    Settings that are not a valid configuration yield a run with a reason instead of a configuration; the other runs
    are not affected.

    Raises
    ------
    SltGrokError
        The file or its base is missing or not YAML, one of the study's own keys is wrong, or two runs are identical.
    """
    study = parse_settings(StudySettings, read_yaml(path), str(path), "the keys name, base and arms")
    try:
        base = read_yaml(path.parent / study.base)
    except SltGrokError as error:
        raise SltGrokError(one_line(f"{path}: base: {error}")) from error
    if not isinstance(base, dict):
        raise SltGrokError(one_line(f"{path}: base: expected a run configuration in {path.parent / study.base}"))
    _check_size(path, study)
    runs = [run for name, arm in study.arms.items() for run in _plan_arm(path, study, base, name, arm)]
    _check_distinct(path, runs)
    return Study(study.name, tuple(runs))


def _check_size(path: Path, study: StudySettings) -> None:
    settings = runs = 0
    for arm in study.arms.values():
        points = math.prod(map(len, arm.grid.values())) * len(arm.points)
        settings += points
        runs += points * math.ceil(len(arm.seeds or study.seeds) / (arm.batch or study.batch))
    for count, most, what in ((runs, MOST_RUNS, "runs"), (settings, MOST_SETTINGS, "combinations of settings")):
        if count > most:
            raise SltGrokError(one_line(f"{path}: arms: expected at most {most} {what}, got {count}; split the study"))


def _check_distinct(path: Path, runs: Sequence[PlannedRun]) -> None:
    """Check that no two runs are the same, however their settings were written, and whatever their arms are called."""
    seen: dict[Any, PlannedRun] = {}
    for run in runs:
        other = seen.setdefault((run.fingerprint or run.name, run.measurements, run.seeds), run)
        if other is not run:
            where = f"{path}: arms.{run.arm}: expected distinct runs"
            raise SltGrokError(one_line(f"{where}, {shown(dict(run.varied))} occurs twice, first in arms.{other.arm}"))


def _plan_arm(path: Path, study: StudySettings, base: Changes, name: str, arm: ArmSettings) -> list[PlannedRun]:
    seeds = study.seeds if arm.seeds is None else arm.seeds
    where = f"{path}: arms.{name}"
    if len(set(seeds)) < len(seeds):
        raise SltGrokError(one_line(f"{where}.seeds: expected distinct seeds, got {shown(seeds)}"))
    asked = study.measurements if arm.measurements is None else arm.measurements
    size = arm.batch or study.batch
    batches = [tuple(seeds[start : start + size]) for start in range(0, len(seeds), size)]
    runs = []
    for values in product(*arm.grid.values()):
        for point in arm.points:
            varied = {**dict(zip(arm.grid, values, strict=True)), **point}
            plain = changed(base, {**study.set, **arm.set, **varied})
            content = {**plain, "name": f"{study.name}-{name}", "seeds": seeds[:size]}
            first = _with_config(PlannedRun(name, varied, batches[0], "", study.page), content, asked, where)
            for batch in batches:
                directory = _directory(name, varied, {**content, "seeds": list(batch)})
                config = first.config and first.config.with_seeds(batch)
                runs.append(replace(first, seeds=batch, name=directory, config=config))
    return runs


def _with_config(run: PlannedRun, content: Changes, asked: Sequence[str] | None, where: str) -> PlannedRun:
    """Add the configuration to a run, or the reason why its settings were rejected."""
    try:
        config = parse_config(content, where, named=True)
    except SltGrokError as error:
        return replace(run, reason=str(error))
    if config.training is None:
        return replace(run, reason=f"{where}: training: expected settings; without them there is nothing to measure")
    measurements = _measurements(asked, config, where)
    for name in measurements:
        if getattr(config, name) is None:
            return replace(run, reason=f"{where}: {name}: expected settings, since measurements asks for it")
    fingerprint = digest(config.model_dump(mode="json", exclude={"name", "seeds"}), 64)
    return replace(run, config=config, measurements=measurements, fingerprint=fingerprint)


def _measurements(asked: Sequence[str] | None, config: RunConfig, where: str) -> tuple[str, ...]:
    """List the measurements to make, in the order in which a run makes them."""
    known = [measurement.name for measurement in Measurement.ordered()]
    for name in asked or ():
        if name not in known:
            raise SltGrokError(f"{where}.measurements: expected some of {', '.join(known)}, got {shown(name)}")
    if asked is None:
        return tuple(measurement.name for measurement in Measurement.ordered() if config.asks_for(measurement))
    return tuple(name for name in known if name in asked)


def changed(base: Mapping[str, Any], changes: Mapping[str, Any]) -> Changes:
    """Copy nested settings with the values at some dotted keys changed; missing sections are created."""
    content = deepcopy(dict(base))
    for dotted, value in changes.items():
        *parents, key = dotted.split(".")
        section = content
        for parent in parents:
            if not isinstance(section.get(parent), dict):
                section[parent] = {}
            section = section[parent]
        section[key] = deepcopy(value)
    return content


def _directory(arm: str, varied: Mapping[str, Any], content: Changes) -> str:
    """Format ARM/SETTINGS-DIGEST: a readable part, then a unique one."""
    seeds = content["seeds"]
    words = [f"{key.rpartition('.')[2]}={v}" for key, v in varied.items() if isinstance(v, int | float | str)]
    words += [f"seed{seeds[0]}" if len(seeds) == 1 else f"seeds{seeds[0]}to{seeds[-1]}"]
    plain = "".join(c if c.isalnum() or c in "=.+-" else "_" for c in ",".join(words).replace(",", "_"))
    return f"{arm}/{plain[:60]}-{digest(content, 8)}"


def digest(content: Any, length: int) -> str:
    """Compute the first hexadecimal digits of a hash of plain data."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:length]
