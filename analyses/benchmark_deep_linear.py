"""The default estimator against devinterp's two samplers on deep linear networks whose learning coefficient is known.

24 networks of 1e3 to 1e6 parameters, each at its most singular minimum, where Aoyagi 2023 gives the truth. Every run of
every method has the same number of full gradients: those that `slt_grok.llc.estimate` took, its pilots, power
iterations and Hessian included. devinterp's optimizers (SGLD, RMSprop-SGLD) move four chains, its default number, at
its documented defaults (its README's lr and n_beta, its own default localization, every step averaged) and over two
small sweeps of the learning rate: around these defaults, and at the temperature n / log n of Lau et al. 2308.12108. The
sweeps are not counted against it, and what is best in them, with or without the first half of the steps, is chosen with
knowledge of the truth, once for all networks and once for each network. The first is the comparison that counts, fixed
before the run: a person can take such a setting. The second needs each network's truth; it is shown as the bound that
no choice of a learning rate beats.

Usage: python analyses/benchmark_deep_linear.py [--only 0 5 11] [--out runs/benchmark_deep_linear]

Every run is a line of OUT/runs.jsonl; starting again does what is missing. The table is printed, and written with the
figure under analyses/results/ when all networks are there (under OUT with --only).
"""

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from deep_linear_table import SWEEPS, figure, run_name, show, summarize, table
from runs_below import RESULTS, picture
from torch import Tensor, nn

from slt_grok.llc import estimate
from slt_grok.llc.chains import BatchLoss
from slt_grok.llc.exact import deep_linear
from slt_grok.llc.regular import LARGEST
from slt_grok.store.files import write_json
from slt_grok.zoo.deep_linear import DeepLinearNetwork

NAME = "benchmark_deep_linear"

# (widths, rank, updates and chains of the default estimator); lambda grows by 5% or more from one to the next
NETWORKS: list[tuple[tuple[int, ...], int, int, int]] = [
    ((15, 20, 20, 15, 15), 5, 8000, 2),
    ((16, 40, 16, 20), 4, 8000, 2),
    ((20, 30, 20), 5, 8000, 2),
    ((24, 24, 24), 8, 8000, 2),
    ((40, 15, 40), 6, 8000, 2),
    ((30, 30, 30, 30), 10, 8000, 2),
    ((50, 20, 50), 3, 8000, 2),
    ((30, 100, 100, 40), 10, 8000, 2),
    ((40, 40, 40, 40, 40), 20, 8000, 2),
    ((40, 50, 42), 12, 8000, 2),
    ((45, 60, 40), 10, 8000, 2),
    ((60, 30, 60), 20, 8000, 2),
    ((100, 20, 80), 12, 8000, 2),
    ((50, 100, 60), 20, 8000, 2),
    ((60, 300, 300, 60), 20, 2500, 2),
    ((64, 64, 68), 24, 8000, 2),
    ((30, 400, 400, 400, 144), 20, 800, 2),
    ((60, 200, 200, 80), 30, 3000, 2),
    ((80, 80, 80, 80), 20, 6000, 2),
    ((100, 100, 100, 100), 40, 5000, 2),
    ((100, 150, 150, 150, 100), 50, 3000, 2),
    ((200, 100, 120), 30, 5000, 2),
    ((150, 150, 150), 60, 4000, 2),
    ((60, 600, 600, 600, 400), 40, 400, 2),
]

CHAINS = 4  # num_chains of devinterp's SamplerConfig


class Product(nn.Module):
    """W_1 ... W_L: the outputs of the deep linear network on the standard basis."""

    def __init__(self, layers: Sequence[Tensor]) -> None:
        super().__init__()
        self.layers = nn.ParameterList([nn.Parameter(layer) for layer in layers])

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the product, whatever the inputs."""
        return reduce(torch.matmul, list(self.layers))


def half_squared_distance(outputs: Tensor, targets: Tensor) -> Tensor:
    """|W_1 ... W_L - W|^2 / 2, the population loss for inputs of covariance I."""
    return 0.5 * (outputs - targets).square().sum()


def parameters(index: int) -> int:
    """Return the number of weights of a network."""
    return sum(a * b for a, b in pairwise(NETWORKS[index][0]))


def layers_of(index: int) -> list[Tensor]:
    """w* of a network: each layer has exactly the true map's rank."""
    widths, rank, _, _ = NETWORKS[index]
    module = DeepLinearNetwork(widths, rank).problem(torch.Generator().manual_seed(index)).module
    return [parameter.detach() for parameter in module.parameters()]


@contextmanager
def counted() -> Iterator[list[int]]:
    """Gradients that the estimator takes inside the block, of every chain and for every purpose."""
    count, again = [0], BatchLoss.again

    def counting(self: BatchLoss, position: Tensor) -> tuple[Tensor, Tensor]:
        count[0] += len(position)
        return again(self, position)

    with patch.object(BatchLoss, "again", counting):
        yield count


def ours(index: int) -> dict[str, Any]:
    """Run the default estimator: its number of updates and chains is all that is said."""
    module, (_, _, updates, chains) = Product(layers_of(index)), NETWORKS[index]
    target = module(torch.empty(0)).detach()
    with counted() as count:
        found = estimate(
            module, (torch.zeros(len(target), 1), target), loss=half_squared_distance, updates=updates, chains=chains,
            dtype=torch.float32, seed=index,
        )  # fmt: skip
    d = found.attrs["dimension"]
    return {
        "estimate": found.llc.item(),
        "low": found.llc_low.item(),
        "high": found.llc_high.item(),
        "status": found.llc_status.item(),
        "reason": found.llc_status_reason.item(),
        "n_beta": found.attrs["n_beta"],
        "gamma": found.attrs["gamma"],
        "gradients": count[0] + (2 * d if d <= LARGEST else 0),  # a product with the Hessian costs two
    }


def theirs(index: int, sampler: str, lr: float, n_beta: float, localization: float, steps: int) -> dict[str, Any]:
    """Return devinterp's optimizer on full gradients.

    Its update acts on every number alone, so that parameters of shape (chains, H, H') are chains of their own. Given
    are its own average over all steps (`compute_llc`), and the one that leaves out the first half.
    """
    layers = layers_of(index)
    target = reduce(torch.matmul, layers).float()
    weights = [nn.Parameter(layer.float().repeat(CHAINS, 1, 1)) for layer in layers]
    from devinterp.optim import SGMCMC

    torch.manual_seed(index)
    optimizer = getattr(SGMCMC, sampler)(weights, lr=lr, nbeta=n_beta, localization=localization)
    losses = np.full((steps, CHAINS), np.nan)
    with torch.no_grad():
        for step in range(steps):
            losses[step] = loss_and_gradients(weights, target)
            if not (n_beta * losses[step] < 1e9).all():
                return {"estimate": None, "estimate_half": None, "diverged_at": step}
            optimizer.step()
    excess = n_beta * losses
    return {"estimate": excess.mean(), "estimate_half": excess[steps // 2 :].mean()}


def loss_and_gradients(weights: Sequence[nn.Parameter], target: Tensor) -> np.ndarray:
    """`half_squared_distance` of each chain, float64, with its gradients put in place."""
    products = [weights[0].data]
    for weight in weights[1:]:
        products.append(products[-1] @ weight)
    back = products[-1] - target
    loss = 0.5 * back.double().square().sum((1, 2)).numpy()
    for i in range(len(weights) - 1, 0, -1):
        weights[i].grad = products[i - 1].mT @ back
        back = back @ weights[i].mT
    weights[0].grad = back
    return loss


def measure(index: int, folder: Path, say: Callable[[str], None]) -> None:
    """Every run of one network that is not there yet."""
    widths, rank, _, _ = NETWORKS[index]
    truth = deep_linear(widths, rank)
    facts = {
        "network": index,
        "widths": widths,
        "rank": rank,
        "parameters": parameters(index),
        "truth": truth.value,
        "multiplicity": truth.multiplicity,
    }
    runs = {run["run"]: run for run in read(folder) if run["network"] == index}

    def once(name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if name not in runs:
            start = time.perf_counter()
            runs[name] = {**facts, "run": name, **make(), "seconds": round(time.perf_counter() - start, 2)}
            with open(folder / "runs.jsonl", "a") as file:
                file.write(json.dumps(runs[name]) + "\n")
            value = runs[name]["estimate"]
            error = "diverged" if value is None else f"{100 * (value / truth.value - 1):+7.2f}%"
            say(f"{index:2} {widths} rank {rank}  {name:44} {error}  {runs[name]['seconds']:.1f} s")
        return runs[name]

    steps = -(-once("slt_grok", lambda: ours(index))["gradients"] // CHAINS)
    for sampler, setting in every_setting():
        once(
            run_name(sampler, setting),
            lambda sampler=sampler, setting=setting: {
                "lr": setting[0], "n_beta": setting[1], "localization": setting[2], "gradients": steps * CHAINS,
                **theirs(index, sampler, *setting, steps),
            },
        )  # fmt: skip


def every_setting() -> Iterator[tuple[str, tuple[float, float, float]]]:
    """Each sampler with each of its settings."""
    for sampler, sweeps in SWEEPS.items():
        for settings in sweeps.values():
            yield from ((sampler, setting) for setting in settings)


def read(folder: Path) -> list[dict[str, Any]]:
    """Return the runs that are there."""
    path = folder / "runs.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def main() -> None:
    """Run what is missing, then tabulate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", type=int, nargs="+", help="networks of the table, counted from 0")
    parser.add_argument("--out", type=Path, default=Path("runs") / NAME)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", module="devinterp")
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    chosen = sorted(arguments.only or range(len(NETWORKS)), key=parameters)
    start = time.perf_counter()
    for done, index in enumerate(chosen):

        def say(line: str, done: int = done) -> None:
            print(f"[{time.perf_counter() - start:6.0f} s, {done}/{len(chosen)} networks] {line}", flush=True)

        measure(index, arguments.out, say)
    runs = [run for run in read(arguments.out) if run["network"] in chosen]
    rows = table(runs)
    summary = summarize(rows)
    show(summary)
    folder = RESULTS if arguments.only is None else arguments.out
    content = {
        "command": f"python analyses/{NAME}.py",
        "summary": summary,
        "seconds": round(sum(run["seconds"] for run in runs)),
        "networks": rows,
        "runs": runs,
    }
    write_json(folder / f"{NAME}.json", content)
    print(picture(figure(rows, summary), folder, NAME))


if __name__ == "__main__":
    main()
