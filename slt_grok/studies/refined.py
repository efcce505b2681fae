"""The refined LLCs of a run's checkpoints: by data, matrix, head and frequency, checkpoint by checkpoint."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

from slt_grok.llc_settings import RefinedSettings
from slt_grok.progress import ProgressCallback
from slt_grok.store import RunDirectory
from slt_grok.studies.llc import sampler_of
from slt_grok.studies.shards import measure_in_shards, of_some
from slt_grok.tasks import is_prime
from slt_grok.trajectories import Trajectory

UNMEASURED = {"llc_status": "", "llc_status_reason": "not measured for this seed"}


def measure_refined(
    run: RunDirectory, label: str, s: RefinedSettings, trajectory: Trajectory, content: Any, report: ProgressCallback
) -> xr.Dataset:
    """Return the refined LLCs at some checkpoints spread over training.

    The key frequencies are those of each seed's last checkpoint.
    """
    from slt_grok import circuits
    from slt_grok.llc import refined

    task, seeds = trajectory.task, trajectory.coords["seed"]
    places = np.unique(np.linspace(trajectory.shape[0] - 1, 0, s.checkpoints).round().astype(int))
    chosen = trajectory.isel(step=places.tolist())
    if is_prime(task.modulus):
        keys = [mask.frequency.values[mask.values] for mask in circuits.key_frequencies(trajectory)]
    else:
        keys = [()] * len(seeds)
    parts = [refined.components(trajectory.network, own, s.seed) for own in keys]
    gradients = sampler_of(s).leapfrog if s.sampler == "hmc" else 1  # of an update
    total = (s.burn_in + s.draws * s.thinning) * s.chains * gradients * sum(map(len, parts))

    def measure(shard: Trajectory, done: Any) -> xr.Dataset:
        steps = 0

        def on_steps(count: int, loss: float) -> None:
            nonlocal steps
            steps += count
            done(steps / total)

        return over_seeds(
            [
                refined.measure(
                    shard.isel(seed=[i]),
                    own,
                    sampler=sampler_of(s),
                    n_beta=s.n_beta_of(len(task.indices("train"))),
                    dtype=getattr(torch, s.precision),
                    device=s.device,
                    on_steps=on_steps,
                    **s.model_dump(
                        include={"gamma", "chains", "draws", "burn_in", "thinning", "batch_size", "box", "seed"}
                    ),
                )
                for i, own in enumerate(parts)
            ]
        )

    return measure_in_shards(
        run,
        label,
        chosen,
        measure,
        content,
        size=1,
        here=s.device is not None,
        on_progress=of_some(report, len(trajectory)),
    )


def over_seeds(measured: Sequence[xr.Dataset]) -> xr.Dataset:
    """Refined LLCs of one seed each, side by side; a component that another seed does not have is NaN there."""
    of_component = {}  # name -> what does not depend on the network
    for one in measured:
        for name in one.component.values:
            here = one.sel(component=name)
            of_component.setdefault(name, (here["group"].item(), here["dimension"].item()))
    names = list(of_component)
    aligned = [
        one.drop_vars(("group", "dimension")).reindex(component=names, fill_value=_fill(one)) for one in measured
    ]
    joined = xr.concat(aligned, dim="seed", data_vars="minimal", coords="minimal", compat="override", join="exact")
    groups, sizes = zip(*of_component.values(), strict=True)
    return joined.assign(dimension=("component", list(sizes), measured[0]["dimension"].attrs)).assign_coords(
        group=("component", list(groups))
    )


def _fill(one: xr.Dataset) -> dict[Any, Any]:
    return {name: UNMEASURED.get(str(name), np.nan) for name in one.data_vars}
