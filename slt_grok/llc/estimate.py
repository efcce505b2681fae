"""The LLC of one network or of a whole trajectory, with its error and its health."""

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from slt_grok.errors import SltGrokError
from slt_grok.llc.chains import Sampling, Schedule, flatten, run_chains, unflatten
from slt_grok.llc.diagnostics import chain_health, summarise
from slt_grok.llc.samplers import Sampler, UnderdampedLangevin
from slt_grok.llc.variables import ATTRS, DIMS, EFFECTIVE
from slt_grok.trajectories import Loss, Network, Trajectory, cross_entropy


def estimate(
    source: nn.Module | Trajectory,
    data: tuple[Tensor, Tensor] | None = None,
    *,
    loss: Loss | None = None,
    sampler: Sampler | None = None,
    n_beta: float | None = None,
    gamma: float = 100.0,
    chains: int = 4,
    draws: int = 300,
    burn_in: int = 150,
    thinning: int = 1,
    batch_size: int | None = None,
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
    on_steps: Callable[[int, float], None] = lambda steps, loss: None,
) -> xr.Dataset:
    """Estimate the LLC at each network: llc = n_beta (E[L(w)] - L(w*)) (Lau et al. 2308.12108, definition 3).

    The expectation is over p(w) ~ exp(-n_beta L(w) - gamma/2 |w - w*|^2), sampled from w* on by `chains` chains a
    network, all networks and chains in one batch.

    Parameters
    ----------
    source : any `nn.Module` at the parameters w*, or a trajectory.
    data : (inputs, targets) that the network was trained on; a trajectory of a modular task has its own.
    loss : (outputs, targets) -> losses of the samples or their mean; outputs arrive in float64. The trajectory's own,
        or cross-entropy, where it is left out.
    sampler : `SGLD(step_size)` or `UnderdampedLangevin(step_size, friction)`; where left out, underdamped Langevin with
        step 0.01 and friction 4 sqrt(gamma), which is stable up to a curvature of 4e4 of n_beta L + gamma/2 |w - w*|^2.
    n_beta : n times the inverse temperature, above 0; n / log n where left out (Watanabe 1208.6338).
    gamma : localisation, at least 0.
    chains, draws, burn_in, thinning : length of the sampling; burn-in is never averaged in.
    batch_size : samples of a chain's own minibatches; None for the full batch.
    dtype : precision of the chains' parameters; losses are float64 in any case.
    seed : with a network's coordinates and a chain's number it fixes the chain's random streams.
    on_steps : called with (chain-steps done, mean loss) for a progress bar.

    Returns
    -------
    A dataset over the trajectory's dimensions: `llc`, `llc_se`, `rhat`, `ess`, `llc_verdict`, `llc_verdict_reason`,
    `baseline_loss`, and by chain `llc_chain`, `chain_health`, `loss_trace` (chain, draw), `burn_in_loss`
    (chain, burn_in). Negative values are reported, not clipped.

    Raises
    ------
    SltGrokError : no data, or a setting out of its range; weights that are not finite.

    Examples
    --------
    >>> result = slt_grok.llc.estimate(module, (inputs, targets), n_beta=30, gamma=100)
    >>> float(result.llc), float(result.llc_se), str(result.llc_verdict.values)
    """
    trajectory = _trajectory(source, loss)
    network = trajectory.network
    inputs, targets = _data(trajectory, data)
    n_beta = len(inputs) / math.log(len(inputs)) if n_beta is None and len(inputs) > 1 else n_beta
    schedule = Schedule(burn_in, draws, thinning, batch_size)
    _check(n_beta, gamma, chains, schedule, len(inputs))
    assert n_beta is not None
    sampler = sampler or UnderdampedLangevin.for_gamma(0.01, gamma)

    centers = flatten(trajectory.stacked(dtype))
    if dtype == torch.float64 and inputs.is_floating_point():
        inputs = inputs.double()
    baselines = _baselines(network, flatten(trajectory.stacked(torch.float64)), _double(inputs), targets)
    streams = [
        np.random.SeedSequence(seed, spawn_key=(*key, chain)) for key in _keys(trajectory) for chain in range(chains)
    ]
    losses = run_chains(
        Sampling(network, inputs, targets, sampler, schedule, n_beta, gamma),
        centers.repeat_interleave(chains, dim=0),
        streams,
        on_steps,
    )
    traces = losses.unflatten(0, (len(trajectory), chains)).numpy()
    settings = {
        "sampler": sampler.name,
        **asdict(sampler),  # pyright: ignore[reportArgumentType]
        "n_beta": n_beta,
        "gamma": gamma,
        "chains": chains,
        **{key: value if value is not None else "full" for key, value in asdict(schedule).items()},
        "dtype": str(dtype).removeprefix("torch."),
        "seed": seed,
        "n": len(inputs),
    }
    return _dataset(trajectory, traces, baselines, burn_in, thinning, n_beta, centers.shape[1]).assign_attrs(settings)


def _trajectory(source: nn.Module | Trajectory, loss: Loss | None) -> Trajectory:
    if isinstance(source, nn.Module):
        return Trajectory.of(source, loss=loss or cross_entropy)
    if loss is not None:
        return replace(source, network=replace(source.network, loss=loss))
    return source


def _data(trajectory: Trajectory, data: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
    if data is None and trajectory.network.task is None:
        raise SltGrokError("data: expected (inputs, targets), since the network carries no task of its own")
    inputs, targets = data if data is not None else trajectory.task.data("train")
    if len(inputs) != len(targets) or not len(inputs):
        raise SltGrokError(f"data: expected as many targets as inputs, got {len(inputs)} and {len(targets)}")
    return inputs, targets


def _check(n_beta: float | None, gamma: float, chains: int, schedule: Schedule, n: int) -> None:
    if n_beta is None or n_beta <= 0:
        raise SltGrokError(f"n_beta: expected a number above 0, got {n_beta}")
    if gamma < 0:
        raise SltGrokError(f"gamma: expected a number of at least 0, got {gamma}")
    if chains < 1 or schedule.draws < 4 or schedule.burn_in < 0 or schedule.thinning < 1:
        raise SltGrokError(
            "chains, draws, burn_in, thinning: expected at least 1, 4, 0 and 1, got "
            f"{chains}, {schedule.draws}, {schedule.burn_in} and {schedule.thinning}"
        )
    if schedule.batch_size is not None and not 1 <= schedule.batch_size <= n:
        raise SltGrokError(f"batch_size: expected between 1 and the {n} samples there are, got {schedule.batch_size}")


def _double(inputs: Tensor) -> Tensor:
    return inputs.double() if inputs.is_floating_point() else inputs


def _baselines(network: Network, flat: Tensor, inputs: Tensor, targets: Tensor) -> np.ndarray:
    """L(w*) on all samples in float64, network by network so that memory stays that of one."""
    with torch.no_grad():
        losses = [
            network.stacked_mean_loss(unflatten(row, network.shapes), inputs, targets, False) for row in flat.split(1)
        ]
    return torch.cat(losses).numpy()


def _keys(trajectory: Trajectory) -> list[tuple[int, ...]]:
    """A network's coordinates as non-negative integers; where they are none, its place."""
    integers = all(np.issubdtype(v.dtype, np.integer) and (v >= 0).all() for v in trajectory.coords.values())
    if integers:
        return [tuple(label.values()) for label in trajectory.labels()]
    return [tuple(index) for index in np.ndindex(*trajectory.shape)]


def _is_cross_entropy(loss: Loss) -> bool:
    """Ours or torch's: a fitted network has no finite minimiser of it."""
    return loss in (cross_entropy, nn.functional.cross_entropy) or isinstance(loss, nn.CrossEntropyLoss)


def _dataset(
    trajectory: Trajectory,
    traces: np.ndarray,
    baselines: np.ndarray,
    burn_in: int,
    thinning: int,
    n_beta: float,
    d: int,
) -> xr.Dataset:
    draws = traces[:, :, burn_in + thinning - 1 :: thinning]
    health = [
        [chain_health(chain, base, n_beta, d) for chain in network]
        for network, base in zip(traces, baselines, strict=True)
    ]
    finite_minimiser = not _is_cross_entropy(trajectory.network.loss)
    rows = [summarise(*row, n_beta, finite_minimiser) for row in zip(draws, health, baselines, strict=True)]
    values: dict[str, Any] = {
        "llc": [r.llc for r in rows],
        "llc_se": [r.llc_se for r in rows],
        "rhat": [r.rhat for r in rows],
        "ess": [r.ess for r in rows],
        "llc_verdict": [r.verdict for r in rows],
        "llc_verdict_reason": [r.reason for r in rows],
        "baseline_loss": baselines,
        "llc_chain": n_beta * (draws.mean(-1) - baselines[:, None]),
        "chain_health": health,
        "loss_trace": draws,
        "burn_in_loss": traces[:, :, :burn_in],
    }
    result = trajectory.dataset(
        {name: (DIMS.get(name, ()), value, ATTRS[name]) for name, value in values.items()},
        chain=np.arange(traces.shape[1]),
        draw=np.arange(draws.shape[-1]),
    )
    return result if finite_minimiser else result.assign_attrs(comment=EFFECTIVE)
