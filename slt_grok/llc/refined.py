"""Refined LLCs along training: each matrix, each head, each key frequency, the circuit against the rest.

The LLC of a component is that of `slt_grok.llc.estimate` with all other weights held at the checkpoint (weight
refinement) or on other data (data refinement), Wang et al. 2410.02984, section 3, at the same n_beta and gamma as the
LLC of all weights. On a quadratic loss with Hessian H the localized LLC is 1/2 tr f(H) with f(h) = n_beta h /
(n_beta h + gamma) concave, so that the parts of an orthogonal splitting never sum to less than the whole, and to as
much where H has no entries between them: the difference, `llc_interaction`, is how far the parts share directions.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.llc import restrictions
from slt_grok.llc.estimate import estimate
from slt_grok.llc.samplers import Sampler
from slt_grok.llc.subspaces import Subspace, everything
from slt_grok.llc.variables import ATTRS
from slt_grok.models import Model
from slt_grok.models.network import Network
from slt_grok.trajectories import Trajectory

_ESTIMATES = ("llc", "llc_se", "llc_low", "llc_high", "rhat", "ess", "llc_status", "llc_status_reason")

INTERACTIONS = {
    "llc_interaction": (("matrix",), "whole", "sum over matrices minus the LLC of all weights"),
    "llc_interaction_head": (("head",), "attention", "sum over attention heads minus their joint LLC"),
    "llc_interaction_frequency": (("frequency",), "circuit", "sum over key frequencies minus their joint LLC"),
    "llc_interaction_circuit": (("circuit", "rest"), "tables", "key plus other frequencies minus their joint LLC"),
}
"""Name -> groups whose LLCs are summed, group of the whole that is subtracted, words."""


PER_DIMENSION = {"long_name": "LLC per dimension", "definition": "llc / dimension; at most 1/2 on a quadratic loss"}


@dataclass(frozen=True)
class Component:
    """What moves, and on which data its loss is.

    Parameters
    ----------
    name : str
        Coordinate in the dataset.
    group : str
        What kind it is: `whole`, `data`, `matrix`, `head`, `attention` (all heads together); of the tables over Z_p
        `frequency` (one key frequency), `circuit` (all key ones), `rest` (the others and the constant), `tables`
        (circuit and rest together), `null frequency` and `null circuit` (as many random frequencies that are not key).
    subspace : Subspace
        The weights that move.
    data : tuple[Tensor, Tensor] or None, optional
        (inputs, targets); the task's train set where None.
    """

    name: str
    group: str
    subspace: Subspace
    data: tuple[Tensor, Tensor] | None = None


def components(network: Network, key_frequencies: Sequence[int] = (), seed: int = 0) -> list[Component]:
    """Return what refined LLCs are measured of by default.

    All weights; each parameter; each attention head, and all of them together; with key frequencies, in the tables over
    Z_p, each of them, all of them, the rest, everything, and as a null as many frequencies that are not key, drawn by
    `seed`; all weights on the test pairs and on all pairs, where the task has test pairs.

    Raises
    ------
    SltGrokError
        Key frequencies for a network that is not of this package, or that are not in 1..(p-1)/2.
    """
    module = network.module
    found = [Component("all weights", "whole", everything(network.shapes))]
    found += [Component(name, "matrix", subspace) for name, subspace in restrictions.matrices(module).items()]
    count = restrictions.heads(module)
    found += [Component(f"head {h}", "head", restrictions.head(module, h)) for h in range(count)]
    if count:
        found.append(Component("all heads", "attention", restrictions.parameters(module, *restrictions.OF_HEADS)))
    keys = [int(k) for k in key_frequencies]
    if keys:
        planes = restrictions.frequencies
        found += [Component(f"frequency {k}", "frequency", planes(module, [k])) for k in keys]
        found.append(Component("key frequencies", "circuit", planes(module, keys)))
        found.append(Component("other frequencies", "rest", restrictions.other_frequencies(module, keys)))
        found.append(Component("all frequencies", "tables", restrictions.other_frequencies(module, [])))
        assert isinstance(module, Model)
        ordinary = np.setdiff1d(np.arange(1, (module.tokens + 1) // 2), keys)
        drawn = np.random.default_rng(seed).permutation(ordinary)[: len(keys)]
        null = sorted(drawn.tolist())
        found += [Component(f"null frequency {k}", "null frequency", planes(module, [k])) for k in null]
        if null:
            found.append(Component("null frequencies", "null circuit", planes(module, null)))
    task = network.task
    if task is not None and len(task.indices("test")):
        whole = everything(network.shapes)
        found.append(Component("test pairs", "data", whole, restrictions.split(task, "test")))
        found.append(Component("all pairs", "data", whole, restrictions.split(task, "all")))
    return found


def measure(
    trajectory: Trajectory,
    parts: Sequence[Component],
    *,
    sampler: Sampler,
    n_beta: float,
    gamma: float,
    chains: int = 4,
    draws: int = 150,
    burn_in: int = 75,
    thinning: int = 1,
    batch_size: int | None = None,
    box: float | None = None,
    dtype: torch.dtype | None = None,
    device: str | None = None,
    seed: int = 0,
    on_steps: Callable[[int, float], None] = lambda steps, loss: None,
) -> xr.Dataset:
    """Return the LLC of each component at each network, all at the same n_beta, gamma and step.

    A restriction's largest curvature is at most that of all weights, so that a step which is stable for those is
    stable for every component.

    Parameters
    ----------
    trajectory : Trajectory
        Networks, over any leading dimensions.
    parts : Sequence[Component]
        What is measured, with names of their own; see `components`.
    sampler : Sampler
        See `slt_grok.llc.estimate`.
    n_beta, gamma : float
        See `slt_grok.llc.estimate`.
    chains, draws, burn_in, thinning : int, optional
        See `slt_grok.llc.estimate`.
    batch_size : int or None, optional
        See `slt_grok.llc.estimate`.
    box : float or None, optional
        See `slt_grok.llc.estimate`.
    dtype : torch.dtype or None, optional
        See `slt_grok.llc.estimate`.
    device : str or None, optional
        See `slt_grok.llc.estimate`.
    seed : int, optional
        With a component's name it fixes the random streams: a component's value does not depend on the others.
    on_steps : callable, optional
        Called with (gradients done, mean loss); every component costs as many gradients.

    Returns
    -------
    xarray.Dataset
        A dataset over the trajectory's dimensions and `component`: `llc`, `llc_se`, `llc_low`, `llc_high`, `rhat`,
        `ess`, `llc_status`, `llc_status_reason`, `baseline_loss` (of the component's own data) and `llc_per_dimension`;
        over `component` alone `dimension`, with the coordinate `group`; over the trajectory's dimensions, where the
        components for it are there, `llc_interaction`, `llc_interaction_head`, `llc_interaction_frequency`,
        `llc_interaction_circuit` and their standard errors `..._se`. Negative values are reported with the status "not
        a minimum", not clipped.

    Raises
    ------
    SltGrokError
        No component, two of one name, or a setting out of its range.

    Examples
    --------
    >>> parts = refined.components(networks.network, key_frequencies=[4, 11, 20])
    >>> found = refined.measure(networks, parts, sampler=UnderdampedLangevin(0.015, 40), n_beta=30, gamma=100)
    >>> found.llc.sel(component="frequency 4")
    """
    names = [part.name for part in parts]
    if not names or len(set(names)) < len(names):
        raise SltGrokError(f"components: expected at least one and no name twice, got {', '.join(names) or 'none'}")
    results = [
        estimate(
            trajectory,
            part.data,
            sampler=sampler,
            n_beta=n_beta,
            gamma=gamma,
            chains=chains,
            draws=draws,
            burn_in=burn_in,
            thinning=thinning,
            batch_size=batch_size,
            box=box,
            subspace=part.subspace,
            dtype=dtype,
            device=device,
            seed=_seed(seed, part.name),
            on_steps=on_steps,
        )
        for part in parts
    ]
    return _dataset(trajectory, parts, results).assign_attrs(
        {key: value for key, value in results[0].attrs.items() if key not in ("dimension", "n")} | {"seed": seed}
    )


def _seed(seed: int, name: str) -> int:
    return int(np.random.SeedSequence((seed, zlib.crc32(name.encode()))).generate_state(1)[0])


def _dataset(trajectory: Trajectory, parts: Sequence[Component], results: Sequence[xr.Dataset]) -> xr.Dataset:
    """Return the estimates of the components side by side, with what follows from them together."""
    groups = np.array([part.group for part in parts])
    sizes = np.array([part.subspace.dimension for part in parts])
    found = {
        name: np.stack([one[name].values.ravel() for one in results], -1) for name in (*_ESTIMATES, "baseline_loss")
    }
    variables: dict[str, Any] = {name: (("component",), value, ATTRS[name]) for name, value in found.items()}
    variables["llc_per_dimension"] = (("component",), found["llc"] / sizes, PER_DIMENSION)
    for name, (summed, whole, words) in INTERACTIONS.items():
        inside, outside = np.isin(groups, summed), groups == whole
        if set(summed) <= set(groups) and outside.sum() == 1:
            value = found["llc"][:, inside].sum(1) - found["llc"][:, outside][:, 0]
            error = np.sqrt((found["llc_se"][:, inside | outside] ** 2).sum(1))
            attrs = {"long_name": "interaction of the parts' LLCs", "definition": words}
            variables[name] = ((), value, attrs)
            variables[f"{name}_se"] = (
                (),
                error,
                {"long_name": "its standard error", "definition": "llc_se in squares"},
            )
    result = trajectory.dataset(
        variables, component=np.array([part.name for part in parts]), group=("component", groups)
    )
    return result.assign(dimension=("component", sizes, {"long_name": "number of coordinates that move"}))
