"""A study's file: a base configuration, and named arms that change some of its settings over a grid.

    name: widths
    base: ../quickstart.yaml          # beside the study's file
    seeds: 3                          # 0, 1, 2; or a list
    batch: 3                          # seeds that train as one stack and share a run directory
    measurements: [circuits, llc]     # what of a run is measured
    set: {training.steps: 2000}       # changes for all arms, by dotted keys
    arms:
      table: {set: {task.operation: random_table}}
      sum:
        grid: {model.d_mlp: [64, 128], training.weight_decay: [0.5, 1]}     # every combination
        points: [{task.modulus: 23, llc.batch_size: 64}, {task.modulus: 53}]    # settings that change together

A run is one point of an arm's grid with one batch of its seeds. Its directory is named by all its settings that are
not defaults, so that a changed study finds again what it can still use, and never what it cannot.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from slt_grok import models
from slt_grok.config import RunConfig, parse_config, parse_settings, read_yaml
from slt_grok.errors import SltGrokError
from slt_grok.studies.run import MEASUREMENTS
from slt_grok.tasks import ModularTask
from slt_grok.settings import Positive, Settings

Seed = Annotated[int, Field(ge=0)]
Seeds = Positive | Annotated[list[Seed], Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_]*$")]
Changes = dict[str, Any]


class ArmSettings(Settings):
    """What an arm changes; what it leaves out is the study's."""

    seeds: Seeds | None = None
    batch: Positive | None = None
    measurements: list[str] | None = None
    set: Changes = Field(default={}, description="changes of this arm, by dotted keys")
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default={}, description="every combination")
    points: list[Changes] = Field(default=[{}], min_length=1, description="settings that change together")


class StudySettings(Settings):
    """A study's file."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    base: str
    seeds: Seeds = 1
    batch: Positive = Field(default=5, description="seeds that train as one stack and share a run directory")
    measurements: list[str] = Field(default=["circuits", "landscape", "llc"], description="what of a run is measured")
    page: bool = Field(default=False, description="whether every run gets its figures and its page")
    set: Changes = Field(default={}, description="changes for all arms, by dotted keys")
    arms: dict[Name, ArmSettings] = Field(min_length=1)


@dataclass(frozen=True)
class PlannedRun:
    """One run directory of a study.

    Parameters
    ----------
    arm : str
        Its name.
    varied : Mapping[str, Any]
        The settings by which it differs from other runs of the study, by dotted keys.
    seeds : tuple[int, ...]
        One network each.
    measurements : tuple[str, ...]
        Some of `slt_grok.studies.MEASUREMENTS`.
    page : bool
        Whether it gets its figures and its page.
    name : str
        Its directory, relative to the study's.
    config : RunConfig or None
        None where the settings are refused.
    reason : str, optional
        Why they are.
    """

    arm: str
    varied: Mapping[str, Any]
    seeds: tuple[int, ...]
    measurements: tuple[str, ...]
    page: bool
    name: str
    config: RunConfig | None
    reason: str = ""

    def of_one_seed(self, seed: int) -> "PlannedRun":
        """Return the same run with one of its seeds."""
        assert self.config is not None
        config = self.config.model_copy(update={"seeds": [seed]})
        return replace(self, seeds=(seed,), config=config, name=_directory(self.arm, self.varied, config))


@dataclass(frozen=True)
class Study:
    """A study's name, and its runs in the order of the file."""

    name: str
    runs: tuple[PlannedRun, ...]


def load_study_file(path: Path) -> Study:
    """Return a study from its YAML file.

    Settings that a run's configuration refuses make a run without a configuration and with the reason: the other runs
    are not held up by it.

    Raises
    ------
    SltGrokError
        The file or its base is missing or no YAML, one of the study's own keys is wrong, or two runs would be the same.
    """
    study = parse_settings(StudySettings, read_yaml(path), str(path), "the keys name, base and arms")
    base = read_yaml(path.parent / study.base)
    if not isinstance(base, dict):
        raise SltGrokError(f"{path.parent / study.base}: expected a configuration of a run, which {path} is based on")
    runs = [run for name, arm in study.arms.items() for run in _runs_of(path, study, base, name, arm)]
    names = [run.name for run in runs]
    for run in runs:
        if names.count(run.name) > 1:
            raise SltGrokError(f"{path}: arms.{run.arm}: expected different runs, {dict(run.varied)} is there twice")
    return Study(study.name, tuple(runs))


def _runs_of(path: Path, study: StudySettings, base: Changes, name: str, arm: ArmSettings) -> list[PlannedRun]:
    seeds = study.seeds if arm.seeds is None else arm.seeds
    seeds = list(range(seeds)) if isinstance(seeds, int) else seeds
    where = f"{path}: arms.{name}"
    if len(set(seeds)) < len(seeds):
        raise SltGrokError(f"{where}.seeds: expected different seeds, got {seeds}")
    measurements = tuple(study.measurements if arm.measurements is None else arm.measurements)
    for measurement in measurements:
        if measurement not in MEASUREMENTS:
            raise SltGrokError(f"{where}.measurements: expected some of {', '.join(MEASUREMENTS)}, got {measurement!r}")
    size = arm.batch or study.batch
    batches = [tuple(seeds[start : start + size]) for start in range(0, len(seeds), size)]
    runs = []
    for values in product(*arm.grid.values()):
        for point in arm.points:
            varied = {**dict(zip(arm.grid, values, strict=True)), **point}
            content = changed(base, {**study.set, **arm.set, **varied})
            for batch in batches:
                runs.append(_planned(where, study, name, varied, content, batch, measurements))
    return runs


def _planned(
    where: str,
    study: StudySettings,
    arm: str,
    varied: Changes,
    content: Changes,
    seeds: tuple[int, ...],
    measurements: tuple[str, ...],
) -> PlannedRun:
    content = {**content, "name": f"{study.name}-{arm}", "seeds": list(seeds)}
    config, reason = None, ""
    try:
        config = parse_config(content, where)
        _expect_measurable(config, measurements, where)
    except SltGrokError as error:
        reason = str(error) if str(error).startswith(where) else f"{where}: {error}"
        config = None
    name = _directory(arm, varied, config or content)
    return PlannedRun(arm, varied, seeds, measurements, study.page, name, config, reason)


def _expect_measurable(config: RunConfig, measurements: Sequence[str], where: str) -> None:
    if config.training is None:
        raise SltGrokError(f"{where}: training: expected settings, since there is nothing to measure without them")
    task = ModularTask(**config.task.model_dump())
    models.build(modulus=task.modulus, **config.model.model_dump())
    for measurement in measurements:
        if getattr(config, "llc" if measurement == "confound" else measurement) is None:
            raise SltGrokError(f"{where}: {measurement}: expected settings, since measurements asks for it")


def changed(base: Mapping[str, Any], changes: Mapping[str, Any]) -> Changes:
    """Return a copy of nested settings with some dotted keys changed; a section that is not there is begun."""
    content = deepcopy(dict(base))
    for dotted, value in changes.items():
        *parents, key = dotted.split(".")
        place = content
        for parent in parents:
            if not isinstance(place.get(parent), dict):
                place[parent] = {}
            place = place[parent]
        place[key] = deepcopy(value)
    return content


def _directory(arm: str, varied: Mapping[str, Any], content: RunConfig | Changes) -> str:
    """Return ARM/SETTINGS-DIGEST: readable first, then unmistakable.

    Defaults are left out, so that a new key of a later version changes no name.
    """
    if isinstance(content, RunConfig):
        seeds = content.seeds
        words = [f"{key.rpartition('.')[2]}={v}" for key, v in varied.items() if isinstance(v, int | float | str)]
        words += [f"seed{seeds[0]}" if len(seeds) == 1 else f"seeds{seeds[0]}to{seeds[-1]}"]
        content = content.model_dump(mode="json", exclude_defaults=True)
    else:
        words = ["refused"]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:8]
    plain = "".join(c if c.isalnum() or c in "=.+-" else "_" for c in ",".join(words).replace(",", "_"))
    return f"{arm}/{plain[:60]}-{digest}"
