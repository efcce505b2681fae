"""Running moments of the samples' losses along chains, so that one set of draws serves many measurements.

Means, variances and covariances are updated within each chain by Welford's recursion and merged by that of Chan, Golub
& LeVeque 1983 (The American Statistician 37, 242-247, equation 2.1), so that an unhealthy chain can be omitted
afterwards. Everything is float64. With several temperatures, only the chains at the largest n_beta count.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.func import vmap

from slt_grok.errors import SltGrokError
from slt_grok.llc.chains import WORKING_MEMORY, saved_for_backward
from slt_grok.llc.diagnostics import HEALTHY
from slt_grok.llc.sample_losses import losses_of_outputs
from slt_grok.llc.samplers.sampler import State
from slt_grok.llc.sampling import Starts
from slt_grok.measurement import Variable
from slt_grok.models.network import Network

COVARIANCE_MEMORY = 2 << 30  # bytes for the covariances of all chains
BLOCK = 32  # draws per chain that enter the covariance at once


@dataclass(frozen=True)
class Moments:
    """Moments of the samples' losses over draws, for several networks and, before `pooled`, each of their chains.

    Parameters
    ----------
    count : ndarray
        Number of draws, (network, chain) or (network,); its shape is the leading shape of all others.
    mean : ndarray
        Mean of each sample's loss, in nats, (..., n).
    scatter : ndarray
        Sum over draws of (l_i - mean_i)^2, (..., n).
    training_scatter : ndarray
        Sum over draws of (l_i - mean_i)(L - mean of L), with L the mean loss over `trained`, (..., n).
    log_sum : ndarray
        Log of the sum over draws of exp(-l_i), (..., n).
    co_scatter : ndarray or None
        Sum over draws of (l_i - mean_i)(l_j - mean_j), (..., n, n); None if not recorded.
    trained : ndarray
        Indices of the samples that make up the training loss L.
    """

    count: np.ndarray
    mean: np.ndarray
    scatter: np.ndarray
    training_scatter: np.ndarray
    log_sum: np.ndarray
    co_scatter: np.ndarray | None
    trained: np.ndarray

    @property
    def variance(self) -> np.ndarray:
        """Variance of each sample's loss over draws, (..., n), >= 0; NaN for fewer than two draws."""
        return self.scatter / _degrees(self.count)[..., None]

    @property
    def covariance(self) -> np.ndarray:
        """Covariance of the samples' losses over draws, (..., n, n).

        Raises
        ------
        SltGrokError
            The covariance was not recorded.
        """
        if self.co_scatter is None:
            raise SltGrokError("covariance: expected moments that were taken with covariance=True")
        return self.co_scatter / _degrees(self.count)[..., None, None]

    @property
    def training_loss(self) -> np.ndarray:
        """Mean of the training loss L over draws, in nats, (...)."""
        return self.mean[..., self.trained].mean(-1)

    @property
    def log_mean_likelihood(self) -> np.ndarray:
        """Compute the log of the mean over draws of exp(-l_i), (..., n)."""
        return self.log_sum - np.log(self.count)[..., None]

    def pooled(self, kept: np.ndarray | None = None) -> "Moments":
        """Pool the draws of each network's chains: (network, chain, ...) -> (network, ...).

        Parameters
        ----------
        kept : ndarray or None, optional
            Mask of the chains to pool, bool (network, chain); None for all. NaN for a network with none.
        """
        kept = np.ones(self.count.shape, bool) if kept is None else kept
        count = np.where(kept, self.count, 0)
        total = np.where(count.any(1), count.sum(1), np.nan)

        def summed(values: np.ndarray) -> np.ndarray:
            chosen = kept.reshape(*kept.shape, *[1] * (values.ndim - 2))
            return np.where(chosen, values, 0.0).sum(1)

        mean = summed(count[..., None] * self.mean) / total[:, None]
        apart = np.where(kept[..., None], self.mean - mean[:, None], 0.0)  # of the chains' means from their mean
        weighted = count[..., None] * apart
        co_scatter = None
        if self.co_scatter is not None:
            co_scatter = summed(self.co_scatter) + np.einsum("nci,ncj->nij", weighted, apart)
        highest = np.where(kept[..., None], self.log_sum, -np.inf).max(1)
        with np.errstate(divide="ignore", invalid="ignore"):
            log_sum = highest + np.log(summed(np.exp(self.log_sum - highest[:, None])))
        missing = np.where(np.isnan(total), np.nan, 0.0)[:, None]
        return Moments(
            count=total,
            mean=mean,
            scatter=summed(self.scatter) + (weighted * apart).sum(1) + missing,
            training_scatter=summed(self.training_scatter)
            + (weighted * apart[..., self.trained].mean(-1, keepdims=True)).sum(1)
            + missing,
            log_sum=log_sum + missing,
            co_scatter=co_scatter if co_scatter is None else co_scatter + missing[..., None],
            trained=self.trained,
        )


def _degrees(count: np.ndarray) -> np.ndarray:
    return np.where(count > 1, count - 1, np.nan)


class LossMoments:
    """Observer (`slt_grok.llc.sampling.Observer`) of the running moments of the samples' losses.

    Parameters
    ----------
    network : Network
        The function and its loss.
    inputs, targets : Tensor
        Samples to evaluate, which may differ from those that the chains train on.
    trained : Tensor or None, optional
        Indices of the samples whose mean is the training loss L; None for all.
    every : int, optional
        Number of draws between evaluations.
    covariance : bool, optional
        Whether to record the n x n covariance, at 8 n^2 bytes per chain.

    Raises
    ------
    SltGrokError
        There are no samples, or an index is invalid; also, when chains start, covariances of more than 2 GiB.

    Examples
    --------
    >>> inputs, targets = networks.task.data("train")
    >>> losses = LossMoments(networks.network, inputs, targets, every=5)
    >>> result = estimate(networks, n_beta=30, gamma=100, observers=[losses])
    >>> losses.pooled(result).variance
    """

    def __init__(
        self,
        network: Network,
        inputs: Tensor,
        targets: Tensor,
        *,
        trained: Tensor | None = None,
        every: int = 1,
        covariance: bool = False,
    ) -> None:
        if len(inputs) != len(targets) or not len(inputs):
            raise SltGrokError(f"data: expected as many targets as inputs, got {len(inputs)} and {len(targets)}")
        self.network, self.inputs, self.targets, self.every = network, inputs, targets, every
        self.trained = torch.arange(len(inputs)) if trained is None else trained
        if not len(self.trained) or self.trained.min() < 0 or self.trained.max() >= len(inputs):
            raise SltGrokError(f"trained: expected at least one index below the {len(inputs)} samples")
        self.covariance = covariance

    def begin(self, starts: Starts) -> None:
        """Prepare for new chains; those at the largest n_beta are observed."""
        coldest = starts.n_beta[:, 0] == starts.n_beta.max()
        self._row = torch.where(coldest, coldest.cumsum(0) - 1, -1)
        self._sample_bytes = 0
        self._start(int(coldest.sum()))

    def observe(self, chains: slice, state: State, stack: Mapping[str, Tensor]) -> None:
        """Record a draw of some of the chains."""
        rows = self._row[chains]
        observed = rows >= 0
        if observed.any():
            self._add(rows[observed], self._losses({name: tensor[observed] for name, tensor in stack.items()}))

    def _losses(self, stack: Mapping[str, Tensor]) -> Tensor:
        """Compute the losses in pieces that fit into the working memory, (chains, n)."""
        first = next(iter(stack.values()))
        inputs = self.inputs.to(first.dtype) if self.inputs.is_floating_point() else self.inputs
        if not self._sample_bytes:
            self._sample_bytes = _sample_bytes(self.network, stack, inputs)
        at_once = max(1, WORKING_MEMORY // self._sample_bytes)  # samples times chains
        width = min(at_once, len(inputs))
        height = max(1, at_once // width)
        rows = []
        for i in range(0, len(first), height):
            some = {name: tensor[i : i + height] for name, tensor in stack.items()}
            pieces = zip(inputs.split(width), self.targets.split(width), strict=True)
            rows.append(torch.cat([sample_losses(self.network, some, x, y) for x, y in pieces], dim=1))
        return torch.cat(rows)

    def _start(self, count: int) -> None:
        n = len(self.inputs)
        if self.covariance and 8 * count * n * n > COVARIANCE_MEMORY:
            raise SltGrokError(
                f"covariance: expected at most {COVARIANCE_MEMORY >> 30} GiB, but {n} samples and {count} chains take "
                f"{8 * count * n * n >> 30}; give fewer samples, or fewer networks at a time"
            )
        self._count = torch.zeros(count, dtype=torch.int64)
        self._mean, self._scatter, self._training_scatter = torch.zeros(3, count, n, dtype=torch.float64)
        self._log_sum = torch.full((count, n), -torch.inf, dtype=torch.float64)
        # sums over draws of (l - l at the chain's first draw), and of their products; centered exactly later
        self._first = torch.zeros(count, n, dtype=torch.float64)
        self._products = torch.zeros(count, n, n, dtype=torch.float64) if self.covariance else None
        self._waiting: list[Tensor] = []
        self._waiting_rows = torch.empty(0, dtype=torch.int64)

    def _add(self, rows: Tensor, losses: Tensor) -> None:
        self._count[rows] += 1
        before = losses - self._mean[rows]
        self._mean[rows] += before / self._count[rows, None]
        after = losses - self._mean[rows]
        self._scatter[rows] += before * after
        self._training_scatter[rows] += before[:, self.trained].mean(1, keepdim=True) * after
        self._log_sum[rows] = torch.logaddexp(self._log_sum[rows], -losses)
        if self._products is not None:
            new = self._count[rows] == 1
            self._first[rows[new]] = losses[new]
            if not torch.equal(rows, self._waiting_rows) or len(self._waiting) == BLOCK:
                self._multiply()
            self._waiting.append(losses - self._first[rows])
            self._waiting_rows = rows

    def _multiply(self) -> None:
        if self._products is None or not self._waiting:
            return
        for row, draws in zip(self._waiting_rows, torch.stack(self._waiting, 1), strict=True):
            self._products[row].addmm_(draws.T, draws)
        self._waiting = []

    def by_chain(self, networks: int = 1) -> Moments:
        """Get the current moments of each chain of each network, (network, chain, ...)."""
        self._multiply()
        co_scatter = None
        if self._products is not None:
            shift = self._mean - self._first
            co_scatter = self._products - self._count[:, None, None] * shift[:, :, None] * shift[:, None, :]
        arrays = (self._count, self._mean, self._scatter, self._training_scatter, self._log_sum, co_scatter)
        leading = [None if array is None else array.unflatten(0, (networks, -1)).numpy() for array in arrays]
        return Moments(*leading, trained=self.trained.numpy())  # pyright: ignore[reportArgumentType]

    def pooled(self, result: xr.Dataset) -> Moments:
        """Pool the moments of each network over the healthy chains of the observed estimate, (network, ...)."""
        healthy = healthy_chains(result)
        return self.by_chain(len(healthy)).pooled(healthy)


def sample_losses(network: Network, stack: Mapping[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
    """Compute the loss of each sample under each of N networks, float64 (N, n)."""
    outputs = network.stacked_outputs(stack, inputs)
    return vmap(lambda rows: losses_of_outputs(network, rows, targets))(outputs)


def healthy_chains(result: xr.Dataset) -> np.ndarray:
    """Mask of the averaged chains of an estimate, bool (network, chain), in the order of the estimate's networks."""
    return (result.chain_health == HEALTHY).values.reshape(-1, result.sizes["chain"])


def mean_and_error(values: np.ndarray, healthy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average over each network's healthy chains, with the standard error of the mean.

    Parameters
    ----------
    values : ndarray
        Values of each chain, (network, chain, ...).
    healthy : ndarray
        Mask of the chains to average, bool (network, chain).

    Returns
    -------
    tuple of ndarray
        Means, NaN without a healthy chain, and their errors, NaN for fewer than two, each (network, ...).
    """
    dims = ("network", "chain", *(f"axis_{i}" for i in range(2, values.ndim)))
    chains = xr.DataArray(values, dims=dims).where(xr.DataArray(healthy, dims=dims[:2]))
    errors = chains.std("chain", ddof=1) / chains.notnull().sum("chain") ** 0.5
    return chains.mean("chain").values, errors.values


def estimate_dataset(
    result: xr.Dataset, variables: Mapping[str, Variable], values: Mapping[str, np.ndarray], **coords: Any
) -> xr.Dataset:
    """Build a dataset over the networks of an estimate, with its n_beta and gamma as attributes.

    Parameters
    ----------
    result : xarray.Dataset
        Result of `slt_grok.llc.estimate`.
    variables : Mapping[str, Variable]
        Declarations of the variables.
    values : Mapping[str, ndarray]
        Values by name, (network, ...).
    **coords
        Values of further dimensions.
    """
    llc = result.llc
    arrays = {
        name: ((*llc.dims, *variables[name].dims), value.reshape(llc.shape + value.shape[1:]), variables[name].attrs)
        for name, value in values.items()
    }
    attrs = {key: result.attrs[key] for key in ("n_beta", "gamma")}
    return xr.Dataset(arrays, {**llc.coords, **coords}, attrs)


def _sample_bytes(network: Network, stack: Mapping[str, Tensor], inputs: Tensor) -> int:
    """Bound the bytes that one sample needs in one network's forward pass, by what backward would save."""
    count = min(256, len(inputs))
    with torch.enable_grad(), saved_for_backward() as saved:
        leaves = {name: tensor[:1].detach().requires_grad_() for name, tensor in stack.items()}
        outputs = network.stacked_outputs(leaves, inputs[:count]).double()
    return (2 * sum(saved.values()) + 4 * outputs.nbytes) // count + 1
