"""Losses of the samples along chains: running moments, so that one set of draws serves many measurements.

Means, variances and covariances are kept chain by chain by Welford's recursion and merged by that of Chan, Golub &
LeVeque 1983 (The American Statistician 37, 242-247, equation 2.1), so that a chain that turns out to be unhealthy can
be left out afterwards. Everything is float64. Of several temperatures, only the chains at the largest n_beta count.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.func import vmap

from slt_grok.errors import SltGrokError
from slt_grok.llc.chains import WORKING_MEMORY, Starts
from slt_grok.llc.diagnostics import HEALTHY
from slt_grok.llc.samplers import State
from slt_grok.models.network import Network

COVARIANCE_MEMORY = 2 << 30  # bytes that the covariances of all chains together may take
BLOCK = 32  # draws of a chain that enter its covariance together


def losses_of_outputs(network: Network, outputs: Tensor, targets: Tensor) -> Tensor:
    """Loss of each sample, float64 (n,), from outputs (n, ...): what the network's loss says of the sample alone.

    Their mean over the samples is the network's mean loss, whether its loss gives one number a sample or their mean.
    """

    def one(output: Tensor, target: Tensor) -> Tensor:
        return network.loss(output[None], target[None]).double().mean()

    return vmap(one)(outputs.double(), targets)


def sample_losses(network: Network, stack: Mapping[str, Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
    """Loss of each sample under each of N networks, float64 (N, n)."""
    outputs = network.stacked_outputs(stack, inputs)
    return vmap(lambda one: losses_of_outputs(network, one, targets))(outputs)


@dataclass(frozen=True)
class Moments:
    """Moments of the samples' losses over draws, for some networks and, before `pooled`, each of their chains.

    Parameters
    ----------
    count : draws, (network, chain) or (network,), and so the leading dimensions of all the others.
    mean : of each sample's loss, in nats, (..., n).
    scatter : sum over draws of (l_i - mean_i)^2, (..., n).
    training_scatter : sum over draws of (l_i - mean_i)(L - mean of L), L the mean loss over `trained`, (..., n).
    log_sum : log of the sum over draws of exp(-l_i), (..., n).
    co_scatter : sum over draws of (l_i - mean_i)(l_j - mean_j), (..., n, n); None where it was not asked for.
    trained : which of the n samples make up the training loss L.
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
        SltGrokError : it was not asked for.
        """
        if self.co_scatter is None:
            raise SltGrokError("covariance: expected moments that were taken with covariance=True")
        return self.co_scatter / _degrees(self.count)[..., None, None]

    @property
    def training_loss(self) -> np.ndarray:
        """Mean over draws of the training loss L, in nats, (...)."""
        return self.mean[..., self.trained].mean(-1)

    @property
    def log_mean_likelihood(self) -> np.ndarray:
        """log of the mean over draws of exp(-l_i), (..., n)."""
        return self.log_sum - np.log(self.count)[..., None]

    def pooled(self, kept: np.ndarray | None = None) -> "Moments":
        """All draws of a network as one set: (network, chain, ...) -> (network, ...).

        Parameters
        ----------
        kept : which chains, bool (network, chain); all where None. NaN for a network of which none is kept.
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


def healthy_chains(result: xr.Dataset) -> np.ndarray:
    """Which chains of an estimate are averaged, bool (network, chain) in the order of the estimate's networks."""
    return (result.chain_health == HEALTHY).values.reshape(-1, result.sizes["chain"])


class SampleObserver(ABC):
    """An observer (`slt_grok.llc.chains.Observer`) of the losses of all samples at every n-th draw.

    Parameters
    ----------
    network : the function and its loss.
    inputs, targets : the samples, which need not be those that the chains sample on.
    trained : places of the samples whose mean is the training loss L; all where None.
    every : draws from one look to the next.

    Raises
    ------
    SltGrokError : no sample, or a place that is none.
    """

    def __init__(
        self, network: Network, inputs: Tensor, targets: Tensor, *, trained: Tensor | None = None, every: int = 1
    ) -> None:
        if len(inputs) != len(targets) or not len(inputs):
            raise SltGrokError(f"data: expected as many targets as inputs, got {len(inputs)} and {len(targets)}")
        self.network, self.inputs, self.targets, self.every = network, inputs, targets, every
        self.trained = torch.arange(len(inputs)) if trained is None else trained
        if not len(self.trained) or self.trained.min() < 0 or self.trained.max() >= len(inputs):
            raise SltGrokError(f"trained: expected at least one place among the {len(inputs)} samples")
        self._sample_bytes = 0

    def begin(self, starts: Starts) -> None:
        """Chains are about to start; those at the largest n_beta are looked at."""
        coldest = starts.n_beta[:, 0] == starts.n_beta.max()
        self._row = torch.where(coldest, coldest.cumsum(0) - 1, -1)
        self._sample_bytes = 0
        self._start(int(coldest.sum()))

    def observe(self, chains: slice, state: State, stack: Mapping[str, Tensor]) -> None:
        """A draw of some of the chains."""
        rows = self._row[chains]
        seen = rows >= 0
        if seen.any():
            self._add(rows[seen], self._losses({name: tensor[seen] for name, tensor in stack.items()}))

    @abstractmethod
    def _start(self, count: int) -> None:
        """That many chains will be looked at."""

    @abstractmethod
    def _add(self, rows: Tensor, losses: Tensor) -> None:
        """A draw of the chains in these rows: losses (rows, n)."""

    def _losses(self, stack: Mapping[str, Tensor]) -> Tensor:
        """In pieces that fit into the working memory, (chains, n)."""
        dtype = next(iter(stack.values())).dtype
        inputs = self.inputs.to(dtype) if self.inputs.is_floating_point() else self.inputs
        if not self._sample_bytes:
            self._sample_bytes = _sample_bytes(self.network, stack, inputs)
        at_once = max(1, WORKING_MEMORY // self._sample_bytes)  # samples times chains
        width = min(at_once, len(inputs))
        height = max(1, at_once // width)
        chains = len(next(iter(stack.values())))
        return torch.cat(
            [
                torch.cat(
                    [
                        sample_losses(
                            self.network,
                            {name: tensor[i : i + height] for name, tensor in stack.items()},
                            inputs[j : j + width],
                            self.targets[j : j + width],
                        )
                        for j in range(0, len(inputs), width)
                    ],
                    dim=1,
                )
                for i in range(0, chains, height)
            ]
        )


def _sample_bytes(network: Network, stack: Mapping[str, Tensor], inputs: Tensor) -> int:
    """Bytes that one sample takes in one network's forward pass, by what backward would keep; no less than it."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    count = min(256, len(inputs))
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        one = {name: tensor[:1].detach().requires_grad_() for name, tensor in stack.items()}
        outputs = network.stacked_outputs(one, inputs[:count]).double()
    return (2 * sum(kept.values()) + 4 * outputs.nbytes) // count + 1


class LossMoments(SampleObserver):
    """Running moments of the samples' losses.

    Parameters
    ----------
    network, inputs, targets, trained, every : see `SampleObserver`.
    covariance : whether the n x n covariance is kept too, at 8 n^2 bytes a chain.

    Raises
    ------
    SltGrokError : as `SampleObserver`; once chains start, covariances of more than 2 GiB.

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
                f"covariance: expected at most {COVARIANCE_MEMORY >> 30} GiB, {n} samples and {count} chains take "
                f"{8 * count * n * n >> 30}; give fewer samples, or fewer networks at a time"
            )
        self._count = torch.zeros(count, dtype=torch.int64)
        self._mean, self._scatter, self._training_scatter = torch.zeros(3, count, n, dtype=torch.float64)
        self._log_sum = torch.full((count, n), -torch.inf, dtype=torch.float64)
        # sums over draws of (l - l at the chain's first draw), and of their products: exact after a shift to the mean
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
        """The moments so far of each chain of each network, (network, chain, ...)."""
        self._multiply()
        co_scatter = None
        if self._products is not None:
            shift = self._mean - self._first
            co_scatter = self._products - self._count[:, None, None] * shift[:, :, None] * shift[:, None, :]
        arrays = (self._count, self._mean, self._scatter, self._training_scatter, self._log_sum, co_scatter)
        leading = [None if array is None else array.unflatten(0, (networks, -1)).numpy() for array in arrays]
        return Moments(*leading, trained=self.trained.numpy())  # pyright: ignore[reportArgumentType]

    def pooled(self, result: xr.Dataset) -> Moments:
        """The moments of each network over the healthy chains of the estimate that was observed, (network, ...)."""
        healthy = healthy_chains(result)
        return self.by_chain(len(healthy)).pooled(healthy)


class SampleDraws(SampleObserver):
    """Every draw's losses of the samples, for what needs the draws themselves; 8 n bytes a draw and chain.

    Parameters
    ----------
    network, inputs, targets, trained, every : see `SampleObserver`.
    """

    def _start(self, count: int) -> None:
        self._draws: list[list[Tensor]] = [[] for _ in range(count)]

    def _add(self, rows: Tensor, losses: Tensor) -> None:
        for row, draw in zip(rows.tolist(), losses, strict=True):
            self._draws[row].append(draw)

    def by_chain(self, networks: int = 1) -> np.ndarray:
        """The draws so far of each chain of each network, float64 (network, chain, draw, n)."""
        return torch.stack([torch.stack(chain) for chain in self._draws]).unflatten(0, (networks, -1)).numpy()
