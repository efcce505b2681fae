"""The LLC of a run's checkpoints by its settings, shard by shard."""

import math
from collections.abc import Callable
from typing import Any

import torch
import xarray as xr
from pydantic import ValidationError
from torch import nn

from slt_grok.errors import SltGrokError
from slt_grok.llc.subspaces import Subspace
from slt_grok.llc_settings import LLCSettings
from slt_grok.progress import ProgressCallback
from slt_grok.store import RunDirectory
from slt_grok.store.files import read_json
from slt_grok.studies.shards import measure_in_shards
from slt_grok.trajectories import Trajectory

SHARD_PARAMETERS = 750_000  # parameters of all chains in one shard: large enough for batching to pay,
SHARD_CHAINS = 32  # small enough that a kill loses little; fixed, since a shard's make-up fixes its rounding
CALIBRATION = "calibration.json"


def calibrated(run: RunDirectory) -> LLCSettings | None:
    """Return the settings that `slt-grok calibrate` chose for a run; None where it was not asked.

    Raises
    ------
    SltGrokError
        The file is damaged.
    """
    path = run.path / CALIBRATION
    if not path.is_file():
        return None
    content = read_json(path)
    try:
        return LLCSettings.model_validate(content["llc"])
    except (KeyError, TypeError, ValidationError) as error:
        raise SltGrokError(f"{path}: expected the settings of a calibration under the key llc") from error


def estimate_by(
    settings: LLCSettings, trajectory: Trajectory, on_steps: Callable[[int, float], None] = lambda steps, loss: None
) -> xr.Dataset:
    """Return the LLC of a trajectory by what a configuration says (see `slt_grok.llc.estimate`).

    Raises
    ------
    SltGrokError
        A split without pairs, weights that no parameter matches, or a setting out of its range.
    """
    from slt_grok.llc import estimate, restrictions

    s = settings
    data = restrictions.split(trajectory.task, s.data)
    common: dict[str, Any] = {
        "n_beta": s.n_beta_of(len(data[0])),
        "subspace": subspace_of(s, trajectory.network.module),
        "dtype": getattr(torch, s.precision),
        "on_steps": on_steps,
        **s.model_dump(include={"gamma", "chains", "draws", "burn_in", "thinning", "batch_size", "box", "seed"}),
    }
    if s.sampler == "devinterp":
        from slt_grok.llc.devinterp_sampler import estimate_by_devinterp

        return estimate_by_devinterp(
            trajectory, data, step_size=s.step_size, method=s.method or "sgld", **common
        ).assign_attrs(data=s.data)
    return estimate(trajectory, data, sampler=sampler_of(s), device=s.device, **common).assign_attrs(data=s.data)


def subspace_of(settings: LLCSettings, module: nn.Module) -> Subspace:
    """Return the weights that move.

    Raises
    ------
    SltGrokError
        A pattern that no parameter matches.
    """
    from slt_grok.llc import restrictions

    return restrictions.parameters(module, *(settings.weights or ["*"]))


def sampler_of(settings: LLCSettings) -> Any:
    """One of `slt_grok.llc.samplers` with its settings; what is left out is the sampler's own default."""
    from slt_grok.llc import HMC, MALA, SGLD, LeimkuhlerMatthews, RMSpropSGLD, UnderdampedLangevin

    s = settings
    given = {name: value for name, value in s.model_dump().items() if value is not None}
    match s.sampler:
        case "underdamped":
            friction = s.friction if s.friction is not None else 4 * math.sqrt(s.gamma)
            return UnderdampedLangevin(s.step_size, friction, s.longest_flight)
        case "hmc":
            return HMC(s.step_size, **{key: given[key] for key in ("leapfrog",) if key in given})
        case "rmsprop_sgld":
            return RMSpropSGLD(s.step_size, **{k: given[k] for k in ("alpha", "floor", "adaptation") if k in given})
        case _:
            simple = {"sgld": SGLD, "leimkuhler_matthews": LeimkuhlerMatthews, "mala": MALA}
            return simple[s.sampler](s.step_size)


def shard_chains(trajectory: Trajectory) -> int:
    """Chains of one shard, for networks of this size."""
    parameters = sum(shape.numel() for shape in trajectory.network.shapes.values())
    return min(SHARD_CHAINS, max(1, SHARD_PARAMETERS // parameters))


def measure_llc(
    run: RunDirectory, label: str, s: LLCSettings, trajectory: Trajectory, content: Any, report: ProgressCallback
) -> xr.Dataset:
    """Return the LLC of every checkpoint, in shards of a fixed number of chains."""
    seeds = trajectory.shape[1]
    gradients = sampler_of(s).leapfrog if s.sampler == "hmc" else 1  # of an update
    per_checkpoint = (s.burn_in + s.draws * s.thinning) * s.chains * seeds * gradients

    def measure(shard: Trajectory, done: Any) -> xr.Dataset:
        steps = 0

        def on_steps(count: int, loss: float) -> None:
            nonlocal steps
            steps += count
            done(steps / (per_checkpoint * shard.shape[0]), f"sampled loss {loss:.3g}")

        return estimate_by(s, shard, on_steps)

    def on_progress(checkpoints: float, total: int, facts: str) -> None:
        report(int(checkpoints * seeds), facts)

    return measure_in_shards(
        run,
        label,
        trajectory,
        measure,
        content,
        size=max(1, shard_chains(trajectory) // (s.chains * seeds)),
        here=s.device is not None,
        on_progress=on_progress,
    )
