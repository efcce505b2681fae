"""What the machine allows: operations that a workload must do, over the rates at which this machine does them.

A network's matrix products are listed as (rows, inner, columns) of the forward pass. Each costs
2 x rows x inner x columns operations, and twice that again backward, for the gradients of both factors; so
FLOPs = 6 sum rows inner columns. Element-wise work, softmax and loss are not counted: the floor is what no
implementation with these products goes below. A quantity that depends on one token is computed once for each of the p
tokens. The floor of a gradient is the sum of the times of its products, each measured at its own shape, one network or
a batch of them, whichever is faster; that of a Langevin update adds its normal numbers at the measured rate.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch

BATCHES = (1, 4, 16, 64)  # networks in one batched product: the fastest counts
CACHE_NUMBERS = 1 << 16  # normal numbers drawn at a time, which stay in the cache
SHORTEST = 0.05  # seconds of one measurement, of which the fastest of several counts
TRIES = 3


class Product(NamedTuple):
    """A matrix product of the forward pass: (rows, inner) times (inner, columns)."""

    rows: int
    inner: int
    columns: int

    @property
    def flops(self) -> int:
        """Operations forward and backward."""
        return 6 * self.rows * self.inner * self.columns


def mlp_products(p: int, d_embed: int, d_mlp: int, samples: int) -> list[Product]:
    """Return the notebook's MLP: E W_left and E W_right once a token, the unembedding once a sample."""
    return [Product(p, d_embed, d_mlp)] * 2 + [Product(samples, d_mlp, p)]


def transformer_products(p: int, d_model: int, d_mlp: int, samples: int) -> list[Product]:
    """Return the transformer on [a, b, =] with heads of d_model together, at the answer's position.

    Keys and values of p tokens and of three positions (they are linear in both), one query, and for each sample
    W_O, W_in, W_out and W_U.
    """
    tables = [Product(p + 3, d_model, d_model)] * 2 + [Product(1, d_model, d_model)]
    attention = Product(samples, d_model, d_model)
    neurons = [Product(samples, d_model, d_mlp), Product(samples, d_mlp, d_model)]
    return [*tables, attention, *neurons, Product(samples, d_model, p)]


def flops(products: Sequence[Product]) -> int:
    """Operations of one gradient of one network."""
    return sum(product.flops for product in products)


class Floor:
    """The rates of this machine with a number of threads, at this time; each is measured once."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.seconds_of: dict[tuple[Product, bool], float] = {}
        self.normals: dict[str, float] = {}

    def gradient_seconds(self, products: Sequence[Product], batched: bool) -> float:
        """Seconds of the products of one gradient of one network, out of a batch of networks where there are many."""
        torch.set_num_threads(self.threads)
        for product in products:
            if (product, batched) not in self.seconds_of:
                batches = BATCHES if batched else (1,)
                self.seconds_of[product, batched] = min(_product_seconds(product, batch) for batch in batches)
        return sum(self.seconds_of[product, batched] for product in products)

    def normal_rate(self) -> float:
        """Return standard normal numbers a second in float32, the faster of torch's generator and numpy's SFC64."""
        if not self.normals:
            self.normals = {name: _normal_rate(make, self.threads) for name, make in NORMALS.items()}
        return max(self.normals.values())

    def facts(self, products: Sequence[Product], gradients: float, numbers: float, batched: bool) -> dict[str, Any]:
        """Return the floor of a piece of work.

        Parameters
        ----------
        products : Sequence[Product]
            Of one gradient of one network.
        gradients : float
            Of one network, in this piece of work.
        numbers : float
            Normal numbers in it.
        batched : bool
            Whether networks may share a product.
        """
        products_seconds = gradients * self.gradient_seconds(products, batched)
        noise = numbers / self.normal_rate() if numbers else 0.0
        work = gradients * flops(products)
        return {
            "gflop": work / 1e9,
            "gflop_per_second": work / products_seconds / 1e9,
            "normals": numbers,
            "normals_per_second": self.normal_rate() if numbers else None,
            "seconds": products_seconds + noise,
            "products": [list(product) for product in products],
        }


def _product_seconds(product: Product, batch: int) -> float:
    """Seconds of a product and its two backward ones, of one of `batch` networks."""
    rows, inner, columns = product
    left, right = torch.randn(batch, rows, inner), torch.randn(batch, inner, columns)
    back = torch.randn(batch, rows, columns)
    if batch == 1:
        left, right, back = left[0], right[0], back[0]
    out = [torch.empty_like(back), torch.empty_like(left), torch.empty_like(right)]

    def work() -> None:
        torch.matmul(left, right, out=out[0])
        torch.matmul(back, right.mT, out=out[1])
        torch.matmul(left.mT, back, out=out[2])

    return _fastest(work) / batch


def _torch_normals(seed: int) -> Callable[[], Any]:
    numbers, generator = torch.empty(CACHE_NUMBERS), torch.Generator().manual_seed(seed)
    return lambda: numbers.normal_(generator=generator)


def _numpy_normals(seed: int) -> Callable[[], Any]:
    numbers, generator = np.empty(CACHE_NUMBERS, np.float32), np.random.Generator(np.random.SFC64(seed))
    return lambda: generator.standard_normal(dtype=np.float32, out=numbers)


NORMALS: Mapping[str, Callable[[int], Callable[[], Any]]] = {"torch": _torch_normals, "numpy SFC64": _numpy_normals}


def _normal_rate(make: Callable[[int], Callable[[], Any]], threads: int) -> float:
    fills = [make(seed) for seed in range(threads)]

    def many(fill: Callable[[], Any]) -> None:
        for _ in range(16):
            fill()

    with ThreadPoolExecutor(threads) as pool:
        return threads * 16 * CACHE_NUMBERS / _fastest(lambda: list(pool.map(many, fills)))


def _fastest(work: Callable[[], Any]) -> float:
    """Seconds of one call: the fastest of several measurements of at least `SHORTEST` seconds."""
    work()
    calls, best = 1, float("inf")
    tries = 0
    while tries < TRIES:
        start = time.perf_counter()
        for _ in range(calls):
            work()
        seconds = time.perf_counter() - start
        if seconds < SHORTEST:
            calls *= max(2, int(1.2 * SHORTEST / max(seconds, 1e-7)))
            continue
        best, tries = min(best, seconds / calls), tries + 1
    return best
