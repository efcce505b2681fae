"""The few checkpoints at which costly measurements of the LLC are made."""

import numpy as np

from slt_grok.llc.variables import of_the_network
from slt_grok.measurement import Context
from slt_grok.trajectories import Trajectory


def at_milestones(trajectory: Trajectory, context: Context, count: int) -> Trajectory:
    """Select the last checkpoint, memorization, generalization, the peak of the LLC, and others evenly between them.

    Memorization and generalization are the first checkpoints after these events (the median over seeds); memorization
    is a third of the run's checkpoints if it is unknown. The peak is that of the run's own `llc` from memorization on
    (the mean over seeds), or the checkpoint after memorization if there is none. Then, one at a time, the checkpoint
    that is farthest from all others in log step is added.

    Parameters
    ----------
    trajectory : Trajectory
        Networks over (step, seed).
    context : Context
        Knows the milestones and the run's own LLC.
    count : int
        Number of checkpoints, at least 2, or all from memorization on if there are fewer.
    """
    steps, seeds = trajectory.coords["step"], trajectory.coords["seed"].tolist()
    last = len(steps) - 1
    events = []
    for reached in zip(*map(context.milestones, seeds), strict=True):
        known = [step for step in reached if np.isfinite(step)]
        events.append(trajectory.first_from(float(np.median(known))) if known else [])
    memorized, generalized = events
    first = min(*(memorized or [last // 3]), last)
    chosen = list(dict.fromkeys([last, first, *generalized, _peak(trajectory, context, first)]))[:count]
    x = np.log1p(steps)
    while len(chosen) < min(count, last + 1 - first):
        distance = abs(x[first:, None] - x[chosen]).min(1)
        chosen.append(first + int(distance.argmax()))
    return trajectory.isel(step=sorted(chosen))


def _peak(trajectory: Trajectory, context: Context, first: int) -> int:
    """Index of the checkpoint with the largest LLC from a checkpoint on; the next one without a measured LLC."""
    steps = trajectory.coords["step"]
    llc = context.data("llc")
    if llc is not None:
        values = llc.llc.where(of_the_network(llc)).mean("seed").dropna("step")
        values = values.isel(step=np.isin(values.step, steps[first:]))
        if values.size:
            return int(np.flatnonzero(steps == values.idxmax("step").item())[0])
    return min(first + 1, len(steps) - 1)
