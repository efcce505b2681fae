"""Interventions in the planes of Fourier frequencies: what lies there at a site of a network becomes something else.

At the embedding the functions are those of a token t, at neurons and logits those of the product s = a b (a + b on Z_n;
a b^-1 and a - b for subtraction). P_K projects such functions on the planes of the representations k in K, on Z_n
span{cos w_k t, sin w_k t : k in K}. `change_planes` does the work,

    value' = rest + new(P_K table),

with `table` the value as a function of t or s (at neurons and logits its mean over the n cells with the same s), and
`rest` the value without P_K table, or nothing but its mean. The named interventions say what is new and what stays:

    remove               nothing in the planes                    Nanda et al. 2301.05217, sections 4.4 and 5.1
    keep                 the planes and the mean alone
    swap                 token t has the planes of token t'
    rotate               token t has those of t + shift: on Z_n the plane of k turned by w_k shift
    replace_by_clock     logits mean + sum_k alpha_k kappa_k(s, c), alpha by least squares, kappa_k the kernel of the
                         plane, cos w_k(s - c) on Z_n; 2301.05217, section 4.4

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

from slt_grok.errors import SltGrokError
from slt_grok.groups import Group, cyclic
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
        Networks whose model declares roles and sites, on a task with a group.
    frequencies : array_like
        The set K, a bool mask over `Group.frequencies`, the same for all networks.
    site : Site
        `embedding` changes the weights, so that every measure sees it; at the other sites the value changes on its way
        through the network. Neurons and logits are changed on the whole grid of inputs, in order, alone.
    new : Change
        What lies in the planes, functions of t or s as a table (n, d) -> what is put in its place.
    only : bool, optional
        Whether only the mean over tokens or over the grid stays next to it.

    Returns
    -------
    Trajectory
        A trajectory with the same leading coordinates.

    Raises
    ------
    SltGrokError
        A model without declared roles, a task without a group, a mask of another shape, or an unknown site.
    """
    module, task = trajectory.network.module, trajectory.task
    if not isinstance(module, Model):
        raise SltGrokError(f"intervention: expected a model of slt_grok.models, got {type(module).__name__}")
    if task.group is None:
        raise SltGrokError("intervention: expected a task whose tokens form a group, this one has none")
    if site not in get_args(Site):
        raise SltGrokError(f"intervention: expected a site among {', '.join(get_args(Site))}, got {site!r}")
    mask, count = torch.from_numpy(np.array(frequencies)), len(task.group.frequencies)
    if mask.shape != (count,) or mask.dtype != torch.bool:
        raise SltGrokError(
            f"frequencies: expected a bool mask of shape ({count},), got {mask.dtype} of shape {tuple(mask.shape)}"
        )
    change = partial(changed, frequencies=mask, group=task.group, new=new, only=only)
    if site == "embedding":
        return replace(trajectory, parameters=_tokens_changed(trajectory, module, change))
    if site != "embedding_first":
        change = partial(_on_grid, task.group.order, partial(change, sign=task.sign))
    before = trajectory.network.call
    earlier = before.changes if isinstance(before, ChangedCall) else ()
    call = ChangedCall((*earlier, (site, change)))
    return replace(trajectory, network=replace(trajectory.network, call=call))


def changed(
    values: Tensor, frequencies: Tensor, group: Group, new: Change, only: bool = False, sign: int | None = None
) -> Tensor:
    """Return rest + new(P_K table), as the module's docstring says, of the value at a site.

    Parameters
    ----------
    values : Tensor
        Functions of one token, (..., n, d); with `sign` functions of the grid, (..., n^2, d).
    frequencies : Tensor
        K as a bool mask (K,).
    group : Group
        The tokens' group.
    new, only : Change, bool
        As for `change_planes`.
    sign : int or None, optional
        s = a b^sign.
    """
    table = values if sign is None else group.means_by_product(values, sign)
    before = group.project(table, frequencies)
    planes = new(before) if only else new(before) - before
    if sign is not None:
        planes = planes[..., group.products(sign), :]
    return planes + (values.mean(-2, keepdim=True) if only else values)


def clock_part(table: Tensor, group: Group | None = None) -> Tensor:
    """Return sum over all k of alpha_k kappa_k(s, c), alpha by least squares: functions of s and c, (..., n, n).

    The group is Z_n by default, where kappa_k(s, c) = cos w_k(s - c).
    """
    group = group or cyclic(table.shape[-1])
    alpha = torch.einsum("...sc,ksc->...k", table.double(), group.kernels) * (group.plane_sizes / group.order**2)
    return torch.einsum("...k,ksc->...sc", alpha, group.kernels).to(table.dtype)


remove = partial(change_planes, new=torch.zeros_like)
keep = partial(change_planes, new=torch.clone, only=True)


def replace_by_clock(trajectory: Trajectory, frequencies: Any) -> Trajectory:
    """Replace the logits by their mean and the kernels of some frequencies."""
    new = partial(clock_part, group=trajectory.task.group)
    return change_planes(trajectory, frequencies, "logits", new=new, only=True)


def swap(
    trajectory: Trajectory,
    frequencies: Any,
    tokens: Sequence[int] | np.ndarray | Tensor,
    site: Site = "embedding_first",
) -> Trajectory:
    """Token t gets the planes of tokens[t]: what those planes alone decide must be answered for (tokens[a], b)."""
    rows = torch.as_tensor(np.asarray(tokens))
    return change_planes(trajectory, frequencies, site, new=lambda table: table[..., rows, :])


def rotate(trajectory: Trajectory, frequencies: Any, shift: int, site: Site = "embedding_first") -> Trajectory:
    """Token t gets the planes of t + shift (of t times the element `shift`): on Z_n plane k is turned by w_k shift."""
    group = trajectory.task.group
    if group is None:
        raise SltGrokError("intervention: expected a task whose tokens form a group, this one has none")
    return swap(trajectory, frequencies, group.table[:, shift % group.order], site)


# -- how a network is called --------------------------------------------------------------------------------------


def _tokens_changed(trajectory: Trajectory, module: Model, change: Change) -> dict[str, Tensor]:
    """Return the parameters with the rows of the tokens changed in each table of tokens."""
    parameters = dict(trajectory.parameters)
    for role, (name, axis) in module.token_roles().items():
        if name in parameters and not role.startswith("output"):
            tokens, rest = parameters[name].movedim(axis, -2).tensor_split([module.tokens], -2)
            parameters[name] = torch.cat([change(tokens), rest], -2).movedim(-2, axis)
    return parameters


@dataclass(frozen=True)
class ChangedCall:
    """Calls a network whose values at some sites are changed, one after the other, before anything else sees them."""

    changes: tuple[tuple[Site, Change], ...]

    def __call__(self, module: nn.Module, parameters: Any, arguments: Any, options: Any) -> Tensor:
        """Return the outputs of the module."""
        assert isinstance(module, Model)
        after, n = options.get("at", passthrough), module.tokens
        on_first = [change for site, change in self.changes if site == "embedding_first"]

        def at(name: str, value: Tensor) -> Tensor:
            if on_first and name == "embedding":
                tokens, rest = value.tensor_split([n], -2)
                first = tokens
                for change in on_first:
                    first = change(first)
                value = torch.cat([first, tokens, rest], -2)
            for site, change in self.changes:
                value = change(value) if site == name else value
            return after(name, value)

        if on_first:  # 2n tokens: those that the first token is looked up in, and those of the second one
            module = copy.copy(module)  # shares everything but the number of its tokens
            module.tokens = 2 * n
            arguments = (arguments[0] + torch.tensor([0, n]),)
        return functional_call(module, parameters, arguments, {**options, "at": at})


def _on_grid(order: int, change: Change, value: Tensor) -> Tensor:
    if value.shape[-2] != order**2:
        raise SltGrokError(
            f"intervention: expected the whole grid of {order**2} inputs, which planes of products are functions of, "
            f"got {value.shape[-2]}"
        )
    return change(value)
