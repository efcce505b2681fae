"""`slt-grok calibrate`: one setting for all checkpoints of a run, chosen at three and stored with its reasons."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import yaml

from slt_grok.errors import SltGrokError
from slt_grok.llc.choice import CalibrationResult, Question, choose
from slt_grok.progress import progress
from slt_grok.store.files import read_json, write_json
from slt_grok.studies.context import RunContext
from slt_grok.studies.run import CALIBRATION, Run

UPDATES, FEWEST = 300, 60
LABEL = CalibrationResult.name


def calibrate_run(run: Run, updates: int = UPDATES, batch_size: int | None = None, seed: int = 0) -> dict[str, Any]:
    """Choose the LLC's settings for a run, store them as `calibration.json` with its page, and return them.

    Parameters
    ----------
    run : Run
        A run with checkpoints; of several seeds the first is used.
    updates : int, optional
        Updates of each chain of the LLC, burn-in included.
    batch_size : int or None, optional
        Batch size of the chains; by default by the rule of `slt_grok.llc.choice`.
    seed : int, optional
        Seed of the chains.

    Returns
    -------
    dict
        `question`, `checkpoints`, `reasons` (sentences), `measured` (numbers at each checkpoint), and `llc`: the choice
        as the section of a configuration.

    Raises
    ------
    SltGrokError
        A setting out of its range, or a calibration that is stored with another question.
    """
    from slt_grok import report

    if updates < FEWEST:
        raise SltGrokError(f"--updates ({updates}) must be at least {FEWEST}")
    path, question = run.path / CALIBRATION, Question(updates, batch_size, seed)
    content = asdict(question)
    if LABEL in run.data:
        run.directory.check_settings(LABEL, run.data[LABEL], content)
    if LABEL not in run.data or not path.is_file():
        start, trajectory = time.monotonic(), run.trajectory.isel(seed=[0])
        n = trajectory.task.train_size
        if batch_size is not None and not 1 <= batch_size <= n:
            raise SltGrokError(f"--batch-size ({batch_size}) must be between 1 and the {n} samples of the train set")
        with progress(LABEL, 100, "%") as bar:
            context = RunContext(run, LABEL, run.config, content, bar)
            chosen = trajectory.isel(step=places(trajectory.coords["step"], *context.milestones(run.config.seeds[0])))
            found, result = choose(chosen, question, context)
        write_json(path, result)
        run.store(LABEL, CalibrationResult().check(found), content, start)
    elif LABEL not in run.manifest["stages"]:
        run.directory.finish_stage(LABEL)  # killed after the measurement was written and before it was recorded
    with progress("report", 1, "page"):
        report.write(run)
    return read_json(path)


def settings_block(content: Mapping[str, Any]) -> str:
    """Return the choice as the `llc:` section of a YAML configuration."""
    return yaml.safe_dump({"llc": content["llc"]}, sort_keys=False)


def places(steps: np.ndarray, memorized: float, generalized: float) -> list[int]:
    """Return three checkpoints: the first that has memorized, the one half way to generalization, the last.

    Where no memorization was recorded they are a third and two thirds of the checkpoints, and the last; a network that
    does not generalize counts as doing so at its end.

    Raises
    ------
    SltGrokError
        Fewer than three checkpoints.
    """
    last = len(steps) - 1
    if last < 2:
        raise SltGrokError(f"checkpoints: expected at least three to calibrate on, the run has {last + 1}")
    first, middle = last // 3, 2 * last // 3
    if memorized < steps[-2]:  # NaN compares false
        end = generalized if generalized > memorized else steps[-1]
        first = int(np.argmax(steps >= memorized))
        middle = int(abs(steps - (memorized + end) / 2).argmin())
    middle = min(max(middle, 1), last - 1)
    return [min(first, middle - 1), middle, last]
