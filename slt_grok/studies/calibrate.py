"""`slt-grok calibrate`: choose LLC settings for a run from three of its checkpoints, and store them with reasons."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import yaml

from slt_grok.errors import SltGrokError
from slt_grok.llc.choice import CalibrationRequest, CalibrationResult, choose
from slt_grok.progress import progress
from slt_grok.store.files import read_json, write_json
from slt_grok.studies.context import RunContext
from slt_grok.studies.run import CALIBRATION, Run

UPDATES, FEWEST = 300, 60
LABEL = CalibrationResult.name


def calibrate_run(run: Run, updates: int = UPDATES, batch_size: int | None = None, seed: int = 0) -> dict[str, Any]:
    """Choose the LLC settings of a run, store them in `calibration.json` with a page, and return them.

    Parameters
    ----------
    run : Run
        A run with checkpoints; if it has several seeds, the first is used.
    updates : int, optional
        Updates per chain, including burn-in.
    batch_size : int or None, optional
        Minibatch size of the chains; chosen by the rule in `slt_grok.llc.choice` by default.
    seed : int, optional
        Seed of the chains.

    Returns
    -------
    dict
        `question`, `checkpoints`, `reasons` (sentences), `measured` (numbers at each checkpoint), and `llc`: the chosen
        settings as a section of a configuration.

    Raises
    ------
    SltGrokError
        A setting is out of range, or the run already stores a calibration with other arguments.
    """
    from slt_grok import report

    if updates < FEWEST:
        raise SltGrokError(f"--updates ({updates}) must be at least {FEWEST}")
    path, question = run.path / CALIBRATION, CalibrationRequest(updates, batch_size, seed)
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
            dataset, choice = choose(chosen, question, context)
        write_json(path, choice)
        run.store(LABEL, CalibrationResult().check(dataset), content, start)
    elif LABEL not in run.manifest["stages"]:
        run.directory.finish_stage(LABEL)  # killed between writing the measurement and recording it
    with progress("report", 1, "page"):
        report.write(run)
    return read_json(path)


def settings_block(content: Mapping[str, Any]) -> str:
    """Format the choice as the `llc:` section of a YAML configuration."""
    return yaml.safe_dump({"llc": content["llc"]}, sort_keys=False)


def places(steps: np.ndarray, memorized: float, generalized: float) -> list[int]:
    """Pick three checkpoints: the first after memorization, the one halfway to generalization, and the last.

    Without a recorded memorization, the checkpoints at one third and two thirds of the run, and the last, are used. A
    network that does not generalize is treated as if it did so at the end of the run.

    Raises
    ------
    SltGrokError
        The run has fewer than three checkpoints.
    """
    last = len(steps) - 1
    if last < 2:
        raise SltGrokError(f"checkpoints: expected at least three for calibration, the run has {last + 1}")
    first, middle = last // 3, 2 * last // 3
    if memorized < steps[-2]:  # NaN compares false
        end = generalized if generalized > memorized else steps[-1]
        first = int(np.argmax(steps >= memorized))
        middle = int(abs(steps - (memorized + end) / 2).argmin())
    middle = min(max(middle, 1), last - 1)
    return [min(first, middle - 1), middle, last]
