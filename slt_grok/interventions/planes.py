"""Interventions in the planes of Fourier frequencies: what lies there at a site of a network becomes something else.

At the embedding the functions are those of a token t, at neurons and logits those of s = a + b (a - b for
subtraction). P_K projects such functions on span{cos w_k t, sin w_k t : k in K}. `change_planes` does the work,

    value' = rest + new(P_K table),

with `table` the value as a function of t or s (at neurons and logits its mean over the p cells with the same s), and
`rest` the value without P_K table, or nothing but its mean. The named interventions say what is new and what is left:

    remove               nothing in the planes                    Nanda et al. 2301.05217, sections 4.4 and 5.1
    keep                 the planes and the mean alone
    swap                 token t has the planes of token t'
    rotate               token t has those of t + shift: the plane of k turned by w_k shift
    replace_by_clock     logits mean + sum_k alpha_k cos w_k(s - c), alpha by least squares; 2301.05217, section 4.4

The site `embedding_first` is the embedding as the first of the two tokens is looked up in it: of (a, b) a alone moves.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from slt_grok import fourier
from slt_grok.errors import SltGrokError
from slt_grok.models import Model
from slt_grok.models.model import passthrough
from slt_grok.trajectories import Trajectory

Site = Literal["embedding", "embedding_first", "neurons_pre", "neurons_post", "logits"]
Change = Callable[[Tensor], Tensor]


def change_planes(
    trajectory: Trajectory, frequencies: Any, site: Site, *, new: Change, only: bool = False
) -> Trajectory:
    """Replace what lies in the planes of some frequencies at a site of every network.

    Parameters
    ----------
    trajectory : Trajectory
        Networks of this package on a modular task, p an odd prime.
    frequencies : Any
        The set K, a bool mask over 1..(p-1)/2, the same for all networks.
    site : Site
        `embedding` changes the weights, so that every measure sees it; at the other sites the value changes on its way
        through the network. Neurons and logits are changed on the whole grid of inputs, in order, alone.
    new : Change
        What lies in the planes, functions of t or s as a table (p, d) -> what is put in its place.
    only : bool, optional
        Whether nothing but the mean over tokens or over the grid is left beside.

    Returns
    -------
    Trajectory
        A trajectory with the same leading coordinates.

    Raises
    ------
    SltGrokError
        A network that is not of this package or has no task, p not an odd prime, a mask of another shape, or an unknown
        site.
    """
    module, task = trajectory.network.module, trajectory.task
    if not isinstance(module, Model):
        raise SltGrokError(f"intervention: expected a model of slt_grok.models, got {type(module).__name__}")
    if site not in get_args(Site):
        raise SltGrokError(f"intervention: expected a site among {', '.join(get_args(Site))}, got {site!r}")
    mask = torch.from_numpy(np.array(frequencies))
    count = len(fourier.frequencies(task.modulus))
    if mask.shape != (count,) or mask.dtype != torch.bool:
        raise SltGrokError(
            f"frequencies: expected a bool mask of shape ({count},), got {mask.dtype} of shape {tuple(mask.shape)}"
        )
    change = partial(changed, frequencies=mask, new=new, only=only)
    if site == "embedding":
        return replace(trajectory, parameters=_tokens_changed(trajectory, module, change))
    if site != "embedding_first":
        sign = -1 if task.operation == "subtraction" else 1
        change = partial(_on_grid, task.modulus, partial(change, sign=sign))
    before = trajectory.network.call
    earlier = before.changes if isinstance(before, ChangedCall) else ()
    call = ChangedCall((*earlier, (site, change)))
    return replace(trajectory, network=replace(trajectory.network, call=call))


def changed(values: Tensor, frequencies: Tensor, new: Change, only: bool = False, sign: int | None = None) -> Tensor:
    """Return rest + new(P_K table), as the module's docstring says, of the value at a site.

    Parameters
    ----------
    values : Tensor
        Functions of one token, (..., p, d); with `sign` functions of the grid, (..., p^2, d).
    frequencies : Tensor
        K as a bool mask ((p-1)/2,).
    new, only : Change, bool
        As for `change_planes`.
    sign : int or None, optional
        s = a + sign b.
    """
    table = values if sign is None else fourier.sum_table(values, sign)
    before = fourier.project(table, frequencies)
    planes = new(before) if only else new(before) - before
    if sign is not None:
        planes = planes[..., fourier.grid_sum(table.shape[-2], sign), :]
    return planes + (values.mean(-2, keepdim=True) if only else values)


def clock_part(table: Tensor) -> Tensor:
    """Return sum over all k of alpha_k cos w_k(s - c), alpha by least squares: functions of s and c, (..., p, p)."""
    cosines = fourier.clock(table.shape[-1])
    alpha = torch.einsum("...sc,ksc->...k", table.double(), cosines) * (2 / table.shape[-1] ** 2)
    return torch.einsum("...k,ksc->...sc", alpha, cosines).to(table.dtype)


remove = partial(change_planes, new=torch.zeros_like)
keep = partial(change_planes, new=torch.clone, only=True)
replace_by_clock = partial(change_planes, site="logits", new=clock_part, only=True)


def swap(
    trajectory: Trajectory, frequencies: Any, tokens: Sequence[int] | np.ndarray, site: Site = "embedding_first"
) -> Trajectory:
    """Token t gets the planes of tokens[t]: what those planes alone decide must be answered for (tokens[a], b)."""
    rows = torch.as_tensor(np.asarray(tokens))
    return change_planes(trajectory, frequencies, site, new=lambda table: table[..., rows, :])


def rotate(trajectory: Trajectory, frequencies: Any, shift: int, site: Site = "embedding_first") -> Trajectory:
    """Return the plane of each k turned by w_k shift, which gives token t the planes of t + shift."""
    return swap(trajectory, frequencies, np.roll(np.arange(trajectory.task.modulus), -shift), site)


# -- how a network is called --------------------------------------------------------------------------------------


def _tokens_changed(trajectory: Trajectory, module: Model, change: Change) -> dict[str, Tensor]:
    """Return the parameters with the rows of Z_p changed in each table of tokens."""
    parameters = dict(trajectory.parameters)
    for role, (name, axis) in module.token_roles().items():
        if name in parameters and not role.startswith("output"):
            tokens, rest = parameters[name].movedim(axis, -2).tensor_split([module.tokens], -2)
            parameters[name] = torch.cat([change(tokens), rest], -2).movedim(-2, axis)
    return parameters


@dataclass(frozen=True)
class ChangedCall:
    """Calls a network whose values at some sites are changed, one after the other, before anybody else sees them."""

    changes: tuple[tuple[Site, Change], ...]

    def __call__(self, module: nn.Module, parameters: Any, arguments: Any, options: Any) -> Tensor:
        """Return the outputs of the module."""
        assert isinstance(module, Model)
        after, p = options.get("at", passthrough), module.tokens
        on_first = [change for site, change in self.changes if site == "embedding_first"]

        def at(name: str, value: Tensor) -> Tensor:
            if on_first and name == "embedding":
                tokens, rest = value.tensor_split([p], -2)
                first = tokens
                for change in on_first:
                    first = change(first)
                value = torch.cat([first, tokens, rest], -2)
            for site, change in self.changes:
                value = change(value) if site == name else value
            return after(name, value)

        if on_first:  # 2p tokens: those that the first token is looked up in, and those of the second one
            module = copy.copy(module)  # shares everything but the number of its tokens
            module.tokens = 2 * p
            arguments = (arguments[0] + torch.tensor([0, p]),)
        return functional_call(module, parameters, arguments, {**options, "at": at})


def _on_grid(modulus: int, change: Change, value: Tensor) -> Tensor:
    if value.shape[-2] != modulus**2:
        raise SltGrokError(
            f"intervention: expected the whole grid of {modulus**2} inputs, since planes of a + b are functions of it, "
            f"got {value.shape[-2]}"
        )
    return change(value)
