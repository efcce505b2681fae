"""`slt-grok calibrate`: one setting for all checkpoints of a run, chosen at three and saved with its reasons."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from slt_grok.errors import SltGrokError
from slt_grok.progress import progress
from slt_grok.store import RunDirectory
from slt_grok.store.files import read_json, write_json
from slt_grok.studies.choice import choose
from slt_grok.studies.llc import CALIBRATION
from slt_grok.studies.milestones import milestones
from slt_grok.studies.run import finish
from slt_grok.trajectories import Trajectory

UPDATES, FEWEST = 300, 60
LABEL = "calibration"


def calibrate_run(path: Path, updates: int = UPDATES, batch_size: int | None = None, seed: int = 0) -> dict[str, Any]:
    """Choose the LLC's settings for a run, save them as `calibration.json` with its page, and return them.

    Parameters
    ----------
    path : Path
        A run directory with checkpoints; of several seeds the first is looked at.
    updates : int, optional
        S, of each chain of the LLC, burn-in included.
    batch_size : int or None, optional
        Of the chains; where left out, by the rule of `slt_grok.studies.choice`.
    seed : int, optional
        Of the chains.

    Returns
    -------
    dict[str, Any]
        `question`, `checkpoints`, `reasons` (sentences), `measured` (numbers at each checkpoint), and `llc`: the choice
        as the section of a configuration.

    Raises
    ------
    SltGrokError
        No run directory, a setting out of its range, or a calibration that is there with another question.
    """
    from slt_grok import report

    run = RunDirectory(path)
    if updates < FEWEST:
        raise SltGrokError(f"--updates: expected at least {FEWEST}, got {updates}")
    question = {"updates": updates, "batch_size": batch_size, "seed": seed}
    if not run.measured(LABEL, question) or not (path / CALIBRATION).is_file():
        start = time.monotonic()
        trajectory = Trajectory.from_run(path).isel(seed=[0])
        n = len(trajectory.task.indices("train"))
        if batch_size is not None and not 1 <= batch_size <= n:
            raise SltGrokError(f"--batch-size: expected between 1 and the {n} samples there are, got {batch_size}")
        found, content = choose(run, LABEL, trajectory.isel(step=places(run, trajectory)), question)
        write_json(path / CALIBRATION, content)
        run.write_measurement(LABEL, found, question)
        finish(run, LABEL, start)
    elif LABEL not in run.manifest["stages"]:
        run.finish_stage(LABEL)  # killed after the measurement was written and before it was noted
    with progress("report", 1, "page"):
        report.write(path)
    return read_json(path / CALIBRATION)


def settings_block(content: Mapping[str, Any]) -> str:
    """Return the choice as the `llc:` section of a YAML configuration."""
    return yaml.safe_dump({"llc": content["llc"]}, sort_keys=False)


def places(run: RunDirectory, trajectory: Trajectory) -> list[int]:
    """Three checkpoints: the first that has memorized, the middle of the way to generalization, the last.

    Where no memorization was recorded they are a third and two thirds of the checkpoints, and the last; a network that
    does not generalize counts as doing so at its end.

    Raises
    ------
    SltGrokError
        Fewer than three checkpoints.
    """
    steps, last = trajectory.coords["step"], trajectory.shape[0] - 1
    if last < 2:
        raise SltGrokError(f"{run.path}: expected at least three checkpoints to calibrate on, it has {last + 1}")
    first, middle = last // 3, 2 * last // 3
    memorized, generalized = milestones(run, int(trajectory.coords["seed"][0]))
    if memorized < steps[-2]:  # NaN compares false
        end = generalized if generalized > memorized else steps[-1]
        first = int(np.argmax(steps >= memorized))
        middle = int(abs(steps - (memorized + end) / 2).argmin())
    middle = min(max(middle, 1), last - 1)
    return [min(first, middle - 1), middle, last]
