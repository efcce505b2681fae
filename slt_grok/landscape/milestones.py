"""The few checkpoints at which expensive probes are run."""

from collections.abc import Callable

import numpy as np

from slt_grok.trajectories import Trajectory


def at_milestones(trajectory: Trajectory, milestones: Callable[[int], tuple[float, float]]) -> Trajectory:
    """Select the first checkpoints after memorization and after generalization, and the last one.

    Parameters
    ----------
    trajectory : Trajectory
        Networks over (step, seed).
    milestones : callable
        Seed -> steps at which it memorized and generalized, NaN if it did not. With several seeds the median is used; a
        milestone that no seed reached is omitted.
    """
    steps = trajectory.coords["step"]
    places = {len(steps) - 1}
    for reached in zip(*map(milestones, trajectory.coords["seed"].tolist()), strict=True):
        known = [step for step in reached if np.isfinite(step)]
        if known:
            places |= set(np.flatnonzero(steps >= np.median(known))[:1].tolist())
    return trajectory.isel(step=sorted(places))
