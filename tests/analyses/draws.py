"""Draws of the samples' losses, kept one by one to check their moments, and exact draws in place of chains."""

from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr
from loss_moments import LossMoments
from torch import Tensor

from slt_grok.llc.sampling import Starts
from tests.llc.regression import Posterior


class SampleDraws(LossMoments):
    """The losses of all samples at every draw."""

    def _start(self, count: int) -> None:
        self._draws: list[list[Tensor]] = [[] for _ in range(count)]

    def _add(self, rows: Tensor, losses: Tensor) -> None:
        for row, draw in zip(rows.tolist(), losses, strict=True):
            self._draws[row].append(draw)

    def losses(self, networks: int = 1) -> np.ndarray:
        """The draws of each chain of each network, float64 (network, chain, draw, n)."""
        return torch.stack([torch.stack(chain) for chain in self._draws]).unflatten(0, (networks, -1)).numpy()


def show(observer: LossMoments, posterior: Posterior, chains: int, draws: int, n_beta: float, seed: int) -> None:
    """Independent draws of the posterior, given to an observer as if chains had made them."""
    d = len(posterior.mean)
    generator = torch.Generator().manual_seed(seed)
    values, vectors = torch.linalg.eigh(posterior.covariance)
    root = vectors * values.clamp(min=0).sqrt()
    ones = torch.ones(chains, 1, dtype=torch.float64)
    observer.begin(Starts({"weight": torch.zeros(chains, 1, d)}, n_beta * ones, ones, [None] * chains))  # pyright: ignore
    for _ in range(draws):
        z = torch.randn(chains, d, generator=generator, dtype=torch.float64)
        observer.observe(slice(0, chains), None, {"weight": (posterior.mean + z @ root.T)[:, None]})  # pyright: ignore


def independent(n_beta: float, chains: int) -> xr.Dataset:
    """What an estimate says of chains, for draws that `show` made: all healthy."""
    names = ("chain", np.full(chains, "healthy"))
    return xr.Dataset({"llc": ((), 0.0), "chain_health": names}, attrs={"n_beta": n_beta, "gamma": 1.0})


def devinterp_tree(result: xr.Dataset, observed: Mapping[str, SampleDraws]) -> xr.DataTree:
    """One network's draws as devinterp 2 stores them, with [a, b, answer] as the tokens of a pair."""
    losses = result.loss_trace.values.reshape(result.sizes["chain"], -1)
    variables = {
        "init_loss": (("chain", "token_pos"), np.full((len(losses), 1), result.baseline_loss.item())),
        "sampling_loss_micro": (("chain", "step", "batch_sampling", "token_pos"), losses[:, :, None, None]),
    }
    for name, draws in observed.items():
        tokens = torch.cat([draws.inputs, draws.targets[:, None]], 1).numpy()
        variables[f"loss_{name}"] = (("chain", "draw", f"batch_{name}", "token_pos"), draws.losses()[0][..., None])
        variables[f"input_ids_{name}"] = ((f"batch_{name}", "token"), tokens)
    sampler = {
        "n_beta": float(result.attrs["n_beta"]),
        "localization": float(result.attrs["gamma"]),
        "num_chains": len(losses),
        "num_draws": losses.shape[1],
        "num_burnin_steps": 0,
    }
    return xr.DataTree(xr.Dataset(variables, attrs={"metadata": {"config": {"sampler": sampler}}}))
