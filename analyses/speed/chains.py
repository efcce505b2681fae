"""W1 and W2: the LLC of a trajectory by SGLD, against samplers that take one chain after the other.

Every contestant has the same checkpoints, train pairs, step size, n_beta, gamma, batch and number of draws. The cost is
linear in the number of chains, so that a peer does a few of the checkpoints in a repetition, and the time of a chain is
what is compared. Estimates are n_beta (mean loss of a chain - the full train set's loss at the checkpoint).
"""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .floor import Product, mlp_products, transformer_products
from .material import Material, of_run
from .timing import Answers, same_means
from .workload import Bench

SCRIPTS = {
    "devinterp-1.3.2": "llc_devinterp_1.py",
    "devinterp-2.0.1": "llc_devinterp_2.py",
    "canonical-interp": "llc_canonical.py",
    "torch-loop": "llc_torch_loop.py",
}


@dataclass(frozen=True)
class ChainsWorkload:
    """A workload of Langevin chains.

    Parameters
    ----------
    run : str
        Name of a configuration.
    network : str
        `mlp` or `transformer`.
    checkpoints, chains, draws, batch : int
        The whole work.
    step_size, n_beta, gamma : float
        Of SGLD.
    parts : int
        A repetition does every so many-th checkpoint, the next one those after; 1 for all.
    peers : dict[str, tuple[int, int]]
        Name -> (checkpoints, chains) of a repetition.
    target : dict[str, float], optional
        Ratios and share of the floor that are to be reached.
    """

    run: str
    network: str
    checkpoints: int
    chains: int
    draws: int
    batch: int
    step_size: float
    n_beta: float
    gamma: float
    parts: int
    peers: dict[str, tuple[int, int]]
    target: dict[str, float] = field(default_factory=dict)


W1 = ChainsWorkload(
    run="devinterp_notebook", network="mlp", checkpoints=100, chains=2, draws=500, batch=128,
    step_size=3e-3, n_beta=2.0, gamma=5.0, parts=1,
    peers={"devinterp-1.3.2": (4, 2), "devinterp-2.0.1": (3, 2), "canonical-interp": (4, 2), "torch-loop": (4, 2)},
    target={"devinterp-1.3.2": 25, "devinterp-2.0.1": 40, "canonical-interp": 4},
)  # fmt: skip
# n_beta and gamma of configs/mod113.yaml, and the SGLD step that corresponds to its integrator's: epsilon = h^2
W2 = ChainsWorkload(
    run="mod113", network="transformer", checkpoints=50, chains=4, draws=300, batch=512,
    step_size=0.00729**2, n_beta=67.4, gamma=360.0, parts=10,
    peers={"devinterp-1.3.2": (1, 1), "devinterp-2.0.1": (1, 1), "torch-loop": (1, 1)},
    target={"devinterp-1.3.2": 10, "devinterp-2.0.1": 10, "floor": 0.6},
)  # fmt: skip


def run(bench: Bench, workload: ChainsWorkload) -> dict[str, Any]:
    """Return the record of a workload."""
    w = workload
    material = of_run(w.run, w.checkpoints, bench.scratch)
    own = [list(range(part, w.checkpoints, w.parts)) for part in range(w.parts)]
    job = {
        **material.job(w.network),
        **{key: getattr(w, key) for key in ("chains", "draws", "batch", "step_size", "n_beta", "gamma")},
    }
    contestants = [("slt_grok", "llc_slt_grok.py", {**job, "checkpoints": own})]
    for name, (checkpoints, chains) in w.peers.items():
        chosen = [among(part, checkpoints, place_of(number)) for number, part in enumerate(own)]
        contestants.append((name, SCRIPTS[name], {**job, "checkpoints": chosen, "chains": chains}))
    numbers, network = material.dimension * w.draws, products(material, w.batch)
    record, answers = bench.race(contestants, lambda floor: floor.facts(network, w.draws, numbers, batched=True))
    updates = f"{w.draws} draws, batch {w.batch}"
    record |= {
        "unit": f"chain of {updates}",
        "what": (
            f"LLC of {material.source}: {w.checkpoints} x {w.chains} chains x {updates}, SGLD with step "
            f"{w.step_size:.3g}, n_beta {w.n_beta:g}, gamma {w.gamma:g}, no burn-in; a repetition of slt_grok has "
            f"{len(own[0])} checkpoints, of a peer "
            + ", ".join(f"{name} {k} x {chains} chains" for name, (k, chains) in w.peers.items())
        ),
        "target": w.target,
        "agreement": agreement(answers, material, w.n_beta),
    }
    return record


def products(material: Material, samples: int) -> list[Product]:
    """Return the matrix products of one gradient."""
    shapes = material.trajectory.network.shapes
    p, d = material.task["modulus"], shapes["W_E"][1]
    if material.model["kind"] == "mlp":
        return mlp_products(p, d, shapes["W_U"][0], samples)
    return transformer_products(p, d, shapes["b_in"][0], samples)


def place_of(number: int) -> float:
    """Return a place in [0, 1) for each repetition, spread evenly also if there are few (golden section), 1/2 first."""
    return (0.5 + number * (5**0.5 - 1) / 2) % 1


def among(rows: list[int], count: int, place: float) -> list[int]:
    """`count` of the rows, equally spaced, the first one a share `place` of the spacing from the start."""
    return [rows[int((i + place) / count * len(rows))] for i in range(count)]


def agreement(answers: Answers, material: Material, n_beta: float) -> dict[str, Any]:
    """LLC of every checkpoint that a peer did, its own and ours, and whether they agree within their errors."""
    with np.load(material.path) as file:
        baselines = file["baselines"]
    chains: dict[str, dict[str, list[float]]] = {}
    for name, rows in answers.items():
        by_checkpoint: dict[str, list[float]] = defaultdict(list)
        for answer in rows:
            for index, losses in answer["losses"].items():
                by_checkpoint[index] += [n_beta * (loss - baselines[int(index)]) for loss in losses]
        chains[name] = dict(by_checkpoint)
    ours = chains.pop("slt_grok")
    found = {}
    for name, theirs in chains.items():
        found[name] = same_means(theirs, ours) | {
            "llc": {index: [float(np.mean(theirs[index])), float(np.mean(ours[index]))] for index in sorted(theirs)}
        }
    return found
