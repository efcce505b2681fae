"""Interventions on the planes of Fourier frequencies: a network's values in them are replaced at a site.

At the embedding the functions depend on a token t, at neurons and logits on the product s = a b (a + b on Z_n; a b^-1
and a - b for subtraction). P_K projects such functions on the planes of the representations k in K, on Z_n span{cos w_k
t, sin w_k t : k in K}. `change_planes` computes

    value' = rest + new(P_K table),

with `table` the value as a function of t or s (for neurons and logits, its mean over the n cells with the same s), and
`rest` either the value without P_K table, or only its mean. The named interventions choose `new` and `rest`:

    remove               nothing in the planes                    Nanda et al. 2301.05217, sections 4.4 and 5.1
    keep                 the planes and the mean only
    swap                 token t gets the planes of token t'
    rotate               token t gets those of t + shift: on Z_n the plane of k is rotated by w_k shift
    replace_by_clock     logits become mean + sum_k alpha_k kappa_k(s, c), alpha by least squares, kappa_k the kernel of
                         the plane, cos w_k(s - c) on Z_n; 2301.05217, section 4.4

The site `embedding_first` is the embedding as used for the first token: in the pair (a, b), only a changes.
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
from slt_grok.interventions.weights import group_of, model_of
from slt_grok.models import Model
from slt_grok.models.model import passthrough
from slt_grok.trajectories import Trajectory

Site = Literal["embedding", "embedding_first", "neurons_pre", "neurons_post", "logits"]
Change = Callable[[Tensor], Tensor]


def change_planes(
    trajectory: Trajectory, frequencies: Any, site: Site, *, new: Change, only: bool = False
) -> Trajectory:
    """Replace the values in the planes of some frequencies at a site of every network.

    Parameters
    ----------
    trajectory : Trajectory
        Networks whose model declares roles and sites, on a task with a group.
    frequencies : array_like
        Frequencies K, a bool mask over `Group.frequencies`, the same for all networks.
    site : Site
        `embedding` changes the weights, so every measure sees the change; at the other sites, the value changes during
        the forward pass. Neurons and logits can be changed only on the entire grid of inputs, in order.
    new : Change
        Maps the values in the planes, functions of t or s as a table (n, d), to their replacement.
    only : bool, optional
        Whether to discard everything else except the mean over tokens or over the grid.

    Returns
    -------
    Trajectory
        A trajectory with the same leading coordinates.

    Raises
    ------
    SltGrokError
        A model without declared roles, a task without a group, a mask of the wrong shape, or an unknown site.
    """
    module, group = model_of(trajectory), group_of(trajectory)
    if site not in get_args(Site):
        raise SltGrokError(f"intervention: expected a site among {', '.join(get_args(Site))}, got {site!r}")
    mask, count = torch.from_numpy(np.array(frequencies)), len(group.frequencies)
    if mask.shape != (count,) or mask.dtype != torch.bool:
        raise SltGrokError(
            f"frequencies: expected a bool mask of shape ({count},), got {mask.dtype} of shape {tuple(mask.shape)}"
        )
    change = partial(changed, frequencies=mask, group=group, new=new, only=only)
    if site == "embedding":
        return replace(trajectory, parameters=_tokens_changed(trajectory, module, change))
    if site != "embedding_first":
        change = partial(_on_grid, group.order, partial(change, sign=trajectory.task.sign))
    before = trajectory.network.call
    earlier = before.changes if isinstance(before, ChangedCall) else ()
    call = ChangedCall((*earlier, (site, change)))
    return replace(trajectory, network=replace(trajectory.network, call=call))


def changed(
    values: Tensor, frequencies: Tensor, group: Group, new: Change, only: bool = False, sign: int | None = None
) -> Tensor:
    """Compute rest + new(P_K table) for the value at a site, see the module docstring.

    Parameters
    ----------
    values : Tensor
        Functions of one token, (..., n, d), or, with `sign`, functions of the grid, (..., n^2, d).
    frequencies : Tensor
        Frequencies K as a bool mask (K,).
    group : Group
        Group of the tokens.
    new, only : Change, bool
        See `change_planes`.
    sign : int or None, optional
        Exponent in s = a b^sign.
    """
    table = values if sign is None else group.means_by_product(values, sign)
    before = group.project(table, frequencies)
    planes = new(before) if only else new(before) - before
    if sign is not None:
        planes = planes[..., group.products(sign), :]
    return planes + (values.mean(-2, keepdim=True) if only else values)


def clock_part(table: Tensor, group: Group | None = None) -> Tensor:
    """Compute the sum over all k of alpha_k kappa_k(s, c), alpha by least squares: functions of s and c, (..., n, n).

    The group is Z_n by default, where kappa_k(s, c) = cos w_k(s - c).
    """
    group = group or cyclic(table.shape[-1])
    alpha = torch.einsum("...sc,ksc->...k", table.double(), group.kernels) * (group.plane_sizes / group.order**2)
    return torch.einsum("...k,ksc->...sc", alpha, group.kernels).to(table.dtype)


remove = partial(change_planes, new=torch.zeros_like)
keep = partial(change_planes, new=torch.clone, only=True)


def replace_by_clock(trajectory: Trajectory, frequencies: Any) -> Trajectory:
    """Replace the logits by their mean and the kernels of some frequencies."""
    new = partial(clock_part, group=group_of(trajectory))
    return change_planes(trajectory, frequencies, "logits", new=new, only=True)


def swap(
    trajectory: Trajectory,
    frequencies: Any,
    tokens: Sequence[int] | np.ndarray | Tensor,
    site: Site = "embedding_first",
) -> Trajectory:
    """Give token t the planes of tokens[t]: if these planes alone decide, the answer becomes that to (tokens[a], b).

    Parameters
    ----------
    trajectory, frequencies, site : Trajectory, array_like, Site
        See `change_planes`.
    tokens : sequence of int, ndarray or Tensor
        Token whose planes each of 0..n-1 gets.
    """
    rows = torch.as_tensor(np.asarray(tokens))
    return change_planes(trajectory, frequencies, site, new=lambda table: table[..., rows, :])


def rotate(trajectory: Trajectory, frequencies: Any, shift: int, site: Site = "embedding_first") -> Trajectory:
    """Give token t the planes of t + shift (t times the element `shift`): on Z_n plane k is rotated by w_k shift."""
    group = group_of(trajectory)
    return swap(trajectory, frequencies, group.table[:, shift % group.order], site)


# -- how a network is called --------------------------------------------------------------------------------------


def _tokens_changed(trajectory: Trajectory, module: Model, change: Change) -> dict[str, Tensor]:
    """Compute the parameters with the token rows of each token table changed."""
    parameters = dict(trajectory.parameters)
    for role, (name, axis) in module.token_roles().items():
        if name in parameters and not role.startswith("output"):
            tokens, rest = parameters[name].movedim(axis, -2).tensor_split([module.tokens], -2)
            parameters[name] = torch.cat([change(tokens), rest], -2).movedim(-2, axis)
    return parameters


@dataclass(frozen=True)
class ChangedCall:
    """Call a network with the values at some sites changed, one after the other, before anything else uses them."""

    changes: tuple[tuple[Site, Change], ...]

    def __call__(self, module: nn.Module, parameters: Any, arguments: Any, options: Any) -> Tensor:
        """Compute the outputs of the module."""
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

        if on_first:  # 2n tokens: n for the first token, then n for the second
            module = copy.copy(module)  # shares everything except the number of tokens
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
