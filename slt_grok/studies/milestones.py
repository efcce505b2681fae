"""Where in a run's training a measurement of a few checkpoints should look."""

from collections.abc import Sequence

import numpy as np

from slt_grok import transitions
from slt_grok.config import parse_config
from slt_grok.store import RunDirectory


def milestones(run: RunDirectory, seed: int) -> tuple[float, float]:
    """Return the steps at which a seed has memorized and generalized, by the run's thresholds.

    NaN where that was not recorded.
    """
    if "training" not in run.labels:
        return np.nan, np.nan
    config = parse_config(run.manifest["config"], str(run.path / "manifest.json"))
    found = transitions.measure(run.read_measurement("training"), **config.transitions.model_dump()).sel(seed=seed)
    return float(found.memorization_step), float(found.generalization_step)


def at_milestones(run: RunDirectory, steps: np.ndarray, seeds: Sequence[int]) -> list[int]:
    """Return the steps of the first checkpoints from memorization and generalization on, and of the last one.

    Of several seeds the median step counts. A milestone that was not reached, or not recorded, is left out.
    """
    reached = np.array([milestones(run, seed) for seed in seeds]).T
    found = [int(steps[-1])]
    for of_seeds in reached:
        known = of_seeds[np.isfinite(of_seeds)]
        if len(known):
            found += steps[steps >= np.median(known)][:1].tolist()
    return sorted(set(found))


def evenly_spaced(steps: np.ndarray, count: int) -> list[int]:
    """At most `count` of the steps, every n-th checkpoint, the last one among them."""
    return [int(step) for step in steps[np.unique(np.linspace(len(steps) - 1, 0, count).round().astype(int))]]
