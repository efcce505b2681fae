"""The LLC of a grokking run under three treatments of the scale of its weights.

`fixed_gamma` is the LLC as it is measured along a trajectory (Lau et al. 2308.12108). Weights shrink while a network
groks, so that at fixed gamma the neighborhood grows beside them: `relative_gamma` takes gamma = d / (rho |w*|^2) at
each checkpoint, and `rescaled_weights` multiplies the weights of each checkpoint so that all have the last one's norm,
at fixed gamma. A rescaled network computes something else, and need not be at a minimum: its loss is given beside.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
import xarray as xr

from slt_grok import transitions
from slt_grok.llc.calibration import RHO
from slt_grok.llc_settings import ConfoundSettings
from slt_grok.progress import ProgressCallback
from slt_grok.store import RunDirectory
from slt_grok.studies.llc import estimate_by, subspace_of
from slt_grok.studies.milestones import evenly_spaced, milestones
from slt_grok.studies.shards import measure_in_shards
from slt_grok.trajectories import Trajectory

TREATMENTS = ("fixed_gamma", "relative_gamma", "rescaled_weights")
KEPT = (
    "llc", "llc_se", "llc_low", "llc_high", "rhat", "ess", "drift", "virial", "llc_status", "llc_status_reason",
    "baseline_loss",
)  # fmt: skip
GAMMA = {"long_name": "localization", "definition": "gamma of the treatment", "source": "Lau et al. 2308.12108"}
NORM = {
    "long_name": "norm of the weights",
    "definition": "|w*| of the network as it was sampled",
    "source": "this package",
}


def measure_confound(
    run: RunDirectory, label: str, s: ConfoundSettings, trajectory: Trajectory, content: Any, report: ProgressCallback
) -> xr.Dataset:
    """Return the LLC under each treatment at some checkpoints from memorization on, and how much of its drop is left.

    Returns
    -------
    xarray.Dataset
        Over (step, seed, treatment) what `slt_grok.llc.estimate` gives, with `gamma` and `weight_norm`; and what
        `slt_grok.transitions.drops` makes of it.
    """
    steps, seeds = trajectory.coords["step"], trajectory.coords["seed"].tolist()
    memorized = [step for step in (milestones(run, seed)[0] for seed in seeds) if step <= steps[-1]]  # not NaN
    late = steps[steps >= min(memorized, default=steps[len(steps) // 3])]
    places = np.flatnonzero(np.isin(steps, evenly_spaced(late, s.checkpoints)))
    norms = norm(trajectory.isel(step=-1), s).tolist()  # of each seed's last checkpoint
    per_network = len(TREATMENTS) * (s.burn_in + s.draws * s.thinning) * s.chains

    def measure(shard: Trajectory, done: Any) -> xr.Dataset:
        seen = 0

        def on_steps(count: int, loss: float) -> None:
            nonlocal seen
            seen += count
            done(min(seen / (per_network * len(shard)), 1.0))

        networks = [treated(shard.isel(seed=[i]), s, last, on_steps) for i, last in enumerate(norms)]
        return xr.concat(networks, "seed")

    found = measure_in_shards(
        run, label, trajectory.isel(step=places.tolist()), measure, content, size=1,
        here=s.device is not None,
        on_progress=lambda checkpoints, total, facts: report(int(checkpoints / total * len(trajectory))),
    )  # fmt: skip
    return xr.merge([found, transitions.drops(found)]).assign_attrs(found.attrs)


def treated(one: Trajectory, s: ConfoundSettings, last_norm: float, on_steps: Any) -> xr.Dataset:
    """One network under the three treatments."""
    own_norm = float(norm(one, s)[0])
    scale = last_norm / own_norm
    rescaled = replace(one, parameters={name: tensor * scale for name, tensor in one.parameters.items()})
    d = subspace_of(s, one.network.module).dimension
    treatments = ((one, s.gamma, own_norm), (one, d / (RHO * own_norm**2), own_norm), (rescaled, s.gamma, last_norm))
    results = [
        estimate_by(s.model_copy(update={"gamma": gamma}), network, on_steps)[list(KEPT)].assign(
            gamma=(one.dims, [[gamma]], GAMMA), weight_norm=(one.dims, [[size]], NORM)
        )
        for network, gamma, size in treatments
    ]
    joined = xr.concat(results, xr.Variable("treatment", list(TREATMENTS)), combine_attrs="drop_conflicts")
    return joined.transpose("step", "seed", "treatment", ...)


def norm(trajectory: Trajectory, s: ConfoundSettings) -> np.ndarray:
    """|w*| of the weights that move, at each network."""
    subspace = subspace_of(s, trajectory.network.module)
    return subspace.coordinates(trajectory.stacked(torch.float64)).norm(dim=1).numpy()
