"""`slt-grok calibrate`: choose LLC settings for a run from three of its checkpoints, and store them with reasons."""

import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import yaml

from slt_grok.errors import SltGrokError
from slt_grok.llc.choice import CalibrationResult, choose
from slt_grok.progress import progress
from slt_grok.studies.context import RunContext
from slt_grok.studies.run import CALIBRATION, Run

LABEL = CalibrationResult.name


def calibrate_run(run: Run, n_beta: float | None = None, seed: int = 0) -> dict[str, Any]:
    """Choose the LLC settings of a run, store them in `calibration.json` with a page, and return them.

    Parameters
    ----------
    run : Run
        A run with checkpoints; if it has several seeds, the first is used.
    n_beta : float or None, optional
        n times the inverse temperature; n by default.
    seed : int, optional
        Seed of the chains.

    Returns
    -------
    dict
        `question` (the arguments), `reasons` (sentences), and `llc`: the settings as a section of a configuration.

    Raises
    ------
    SltGrokError
        n_beta is out of range, or the run already stores a calibration with other arguments.
    """
    from slt_grok import report

    if n_beta is not None and not 0 < n_beta < math.inf:
        raise SltGrokError(f"--n-beta ({n_beta:g}) must be above 0")
    question = {"n_beta": n_beta, "seed": seed}
    if LABEL in run.data:
        run.directory.check_settings(LABEL, run.data[LABEL], question)
    if LABEL not in run.data or not (run.path / CALIBRATION).is_file():
        start, trajectory = time.monotonic(), run.trajectory.isel(seed=[0])
        with progress(LABEL, 100, "%") as bar:
            context = RunContext(run, LABEL, run.config, question, bar)
            chosen = places(trajectory.coords["step"], *context.milestones(run.config.seeds[0]))
            dataset, choice = choose(trajectory, chosen, n_beta, seed, context)
        run.directory.write_result(CALIBRATION, {"question": question, **choice})
        run.store(LABEL, CalibrationResult().check(dataset), question, start)
    elif LABEL not in run.manifest["stages"]:
        run.directory.finish_stage(LABEL)  # killed between writing the measurement and recording it
    with progress("report", 1, "page"):
        report.write(run)
    return run.directory.read_result(CALIBRATION)


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
