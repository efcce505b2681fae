"""Export an estimate's draws as trees for other tools: devinterp 2 and ArviZ.

devinterp 2.0.1 averages over all steps, so only draws after burn-in from healthy chains are exported. Its names:
`sampling_loss_micro` (chain, step, batch_sampling, token_pos) are the losses of the updates, `init_loss` (chain,
token_pos) is L(w*), `loss_NAME` (chain, draw, batch_NAME, token_pos) are the losses of observed samples and
`input_ids_NAME` (batch_NAME, token) their sequences; n_beta is in the attribute `metadata`. Nothing here imports
devinterp or ArviZ.
"""

from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.llc.diagnostics import HEALTHY
from slt_grok.llc.sample_losses import SampleDraws


def sequences(inputs: Tensor, targets: Tensor) -> Tensor:
    """Convert the samples to sequences of tokens, int64 (n, tokens): [a, b, answer].

    If the data are not tokens, the sequence is the sample's index, repeated.

    Parameters
    ----------
    inputs, targets : Tensor
        Samples, (n, ...) and (n,).
    """
    if inputs.is_floating_point() or targets.is_floating_point():
        return torch.arange(len(inputs))[:, None].expand(-1, 2)
    return torch.cat([inputs.reshape(len(inputs), -1), targets.reshape(len(targets), -1)], 1)


def devinterp_tree(result: xr.Dataset, observed: Mapping[str, SampleDraws] | None = None) -> xr.DataTree:
    """Convert one network's draws to a devinterp 2 tree.

    It is accepted by devinterp's `compute_llc`, `compute_bif` and `compute_susceptibilities`.

    Parameters
    ----------
    result : xarray.Dataset
        Result of `slt_grok.llc.estimate` for one network.
    observed : Mapping[str, SampleDraws] or None, optional
        Name -> draws of samples' losses, taken by observers of the estimate; `compute_bif` uses all names,
        `compute_susceptibilities` expects the training samples under the name of its `sampling_task`.

    Returns
    -------
    xarray.DataTree
        A tree with one token position, that of the answer, in float64.

    Raises
    ------
    SltGrokError
        There are several networks, no healthy chain, or a name that is not an identifier.

    Examples
    --------
    >>> draws = SampleDraws(networks.network, *networks.task.data("train"))
    >>> result = estimate(networks.isel(step=[-1]), n_beta=30, gamma=100, observers=[draws])
    >>> devinterp.slt.llc.compute_llc(devinterp_tree(result, {"train": draws}))
    """
    losses, healthy = _healthy_losses(result)
    variables: dict[str, tuple[tuple[str, ...], np.ndarray]] = {
        "init_loss": (("chain", "token_pos"), np.full((len(losses), 1), result.baseline_loss.item())),
        "sampling_loss_micro": (("chain", "step", "batch_sampling", "token_pos"), losses[:, :, None, None]),
    }
    for name, draws in (observed or {}).items():
        if not name.isidentifier():
            raise SltGrokError(f"observed: expected names that are identifiers, got {name!r}")
        samples = draws.by_chain()[0][healthy]
        variables[f"loss_{name}"] = (("chain", "draw", f"batch_{name}", "token_pos"), samples[..., None])
        variables[f"input_ids_{name}"] = ((f"batch_{name}", "token"), sequences(draws.inputs, draws.targets).numpy())
    sampler = {
        "n_beta": float(result.attrs["n_beta"]),
        "localization": float(result.attrs["gamma"]),
        "num_chains": len(losses),
        "num_draws": losses.shape[1],
        "num_burnin_steps": 0,
    }
    return xr.DataTree(xr.Dataset(variables, attrs={"metadata": {"config": {"sampler": sampler}}}))


def arviz_tree(result: xr.Dataset, draws: SampleDraws | None = None) -> xr.DataTree:
    """Convert one network's draws to an ArviZ tree.

    Parameters
    ----------
    result : xarray.Dataset
        Result of `slt_grok.llc.estimate` for one network.
    draws : SampleDraws or None, optional
        Losses of samples, taken by an observer of the estimate.

    Returns
    -------
    xarray.DataTree
        A tree with the group `posterior`: `loss` (chain, draw); with `draws`, also `log_likelihood`: `loss` (chain,
        draw, observation), the samples' -l_i.

    Raises
    ------
    SltGrokError
        There are several networks, or no healthy chain.
    """
    losses, healthy = _healthy_losses(result)
    groups = {"posterior": xr.Dataset({"loss": (("chain", "draw"), losses)}, _numbers(losses))}
    if draws is not None:
        samples = -draws.by_chain()[0][healthy]
        groups["log_likelihood"] = xr.Dataset({"loss": (("chain", "draw", "observation"), samples)}, _numbers(samples))
    return xr.DataTree.from_dict(groups)


def _numbers(values: np.ndarray) -> dict[str, np.ndarray]:
    return {"chain": np.arange(values.shape[0]), "draw": np.arange(values.shape[1])}


def _healthy_losses(result: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Select the draws' losses from healthy chains, (chain, draw), and the mask of these chains."""
    if result.llc.size != 1:
        raise SltGrokError(
            f"tree: expected the estimate of one network, got {result.llc.size}; select one, as by isel(step=-1)"
        )
    healthy = (result.chain_health == HEALTHY).values.ravel()
    if not healthy.any():
        raise SltGrokError(f"tree: expected at least one healthy chain, got {result.chain_health.values.ravel()[0]}")
    return result.loss_trace.values.reshape(len(healthy), -1)[healthy], healthy
