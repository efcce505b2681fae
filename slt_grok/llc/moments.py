"""Running moments of the samples' losses along chains, so that one set of draws serves many measurements.

Means, variances and covariances are updated within each chain by Welford's recursion and merged by that of Chan, Golub
& LeVeque 1983 (The American Statistician 37, 242-247, equation 2.1), so that an unhealthy chain can be omitted
afterwards. Everything is float64. With several temperatures, only the chains at the largest n_beta count.
"""

from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.llc.sample_losses import SampleObserver, healthy_chains
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


class LossMoments(SampleObserver):
    """Observer of the running moments of the samples' losses.

    Parameters
    ----------
    network, inputs, targets, trained, every : Network, Tensor, Tensor, Tensor or None, int
        See `SampleObserver`.
    covariance : bool, optional
        Whether to record the n x n covariance, at 8 n^2 bytes per chain.

    Raises
    ------
    SltGrokError
        See `SampleObserver`; also, when chains start, covariances of more than 2 GiB.

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
        super().__init__(network, inputs, targets, trained=trained, every=every)
        self.covariance = covariance
        self._start(0)

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
