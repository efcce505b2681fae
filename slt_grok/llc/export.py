"""Draws of an estimate as trees that other tools read: devinterp 2's functions, and ArviZ.

devinterp 2.0.1 averages every step it finds, so that only draws after burn-in, of healthy chains, are exported. Its
names: `sampling_loss_micro` (chain, step, batch_sampling, token_pos) are the losses of the updates, `init_loss`
(chain, token_pos) is L(w*), `loss_NAME` (chain, draw, batch_NAME, token_pos) are the losses of observed samples and
`input_ids_NAME` (batch_NAME, token) their sequences; n_beta lies in the attribute `metadata`. Nothing here imports
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
    """Return the samples as sequences of tokens, int64 (n, tokens): [a, b, answer].

    It is the sample's number twice where the data are no tokens.

    Parameters
    ----------
    inputs, targets : Tensor
        (n, ...) and (n,).
    """
    if inputs.is_floating_point() or targets.is_floating_point():
        return torch.arange(len(inputs))[:, None].expand(-1, 2)
    return torch.cat([inputs.reshape(len(inputs), -1), targets.reshape(len(targets), -1)], 1)


def devinterp_tree(result: xr.Dataset, observed: Mapping[str, SampleDraws] | None = None) -> xr.DataTree:
    """Return one network's draws as a tree of devinterp 2.

    Its `compute_llc`, `compute_bif` and `compute_susceptibilities` take it.

    Parameters
    ----------
    result : xarray.Dataset
        What `slt_grok.llc.estimate` returned, for one network.
    observed : Mapping[str, SampleDraws] or None, optional
        Name -> draws of samples' losses that were among the estimate's observers; `compute_bif` takes all names,
        `compute_susceptibilities` wants the training samples under the name of its `sampling_task`.

    Returns
    -------
    xarray.DataTree
        A tree with one token position, the answer's, in float64.

    Raises
    ------
    SltGrokError
        Several networks, none of whose chains is healthy, or a name that is no identifier.

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
    """One network's draws as ArviZ reads them.

    Parameters
    ----------
    result : xarray.Dataset
        What `slt_grok.llc.estimate` returned, for one network.
    draws : SampleDraws or None, optional
        Losses of samples that were among the estimate's observers.

    Returns
    -------
    xarray.DataTree
        A tree with the group `posterior`: `loss` (chain, draw); with `draws` also `log_likelihood`: `loss` (chain,
        draw, observation), the samples' -l_i.

    Raises
    ------
    SltGrokError
        Several networks, or one none of whose chains is healthy.
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
    """Losses of the draws of healthy chains, (chain, draw), and which chains these are."""
    if result.llc.size != 1:
        raise SltGrokError(
            f"tree: expected the estimate of one network, got {result.llc.size}; select one, as by isel(step=-1)"
        )
    healthy = (result.chain_health == HEALTHY).values.ravel()
    if not healthy.any():
        raise SltGrokError(f"tree: expected at least one healthy chain, got {result.chain_health.values.ravel()[0]}")
    return result.loss_trace.values.reshape(len(healthy), -1)[healthy], healthy
