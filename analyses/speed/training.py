"""W3 and W5: training, against plain PyTorch and JAX, and many seeds at once against one after the other."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from slt_grok import models
from slt_grok.config import load_config
from slt_grok.training.minibatches import generator

from .floor import Product, transformer_products
from .material import ROOT, Material, sections, write
from .timing import Answers
from .workload import Bench


@dataclass(frozen=True)
class TrainingWorkload:
    """Full-batch training of a transformer by the optimizer of a configuration.

    Parameters
    ----------
    config : str
        Its name.
    steps : int
        Of slt_grok in a repetition.
    peer_steps : int
        Of a peer.
    target : dict[str, float], optional
        Ratios and share of the floor that are to be reached.
    """

    config: str
    steps: int
    peer_steps: int
    target: dict[str, float] = field(default_factory=dict)


W3 = TrainingWorkload("mod113", steps=1000, peer_steps=40, target={"torch-loop": 4.5, "jax": 2.5, "floor": 0.7})
COMPARED_AFTER = 20  # steps; more would compare how training amplifies rounding
SAME_LOSS = 1e-4  # of float32 training in another order of operations
SCRIPTS = {"torch-loop": "training_torch_loop.py", "jax": "training_jax.py"}


def run(bench: Bench, workload: TrainingWorkload) -> dict[str, Any]:
    """Return the record of W3."""
    config = load_config(ROOT / "configs" / f"{workload.config}.yaml")
    material = initial(config, bench)
    training = settings_of(config)
    job = {**material.job("transformer"), "training": training, "compared_after": COMPARED_AFTER}
    own = {**job, "steps": workload.steps, "seeds": [0], "seeds_at_once": True}
    contestants = [("slt_grok", "training_slt_grok.py", own)]
    contestants += [(name, script, {**job, "steps": workload.peer_steps}) for name, script in SCRIPTS.items()]
    network = products(material)
    record, answers = bench.race(contestants, lambda floor: floor.facts(network, 1, 0, batched=False))
    record |= {
        "unit": "step",
        "what": (
            f"training the network of configs/{workload.config}.yaml, full batch of {samples(material)} pairs, AdamW, "
            f"weight decay {training['weight_decay']:g}: {workload.steps} steps of slt_grok a repetition (with its "
            f"first and last evaluation and checkpoint), {workload.peer_steps} of a peer from the same weights"
        ),
        "target": workload.target,
        "agreement": same_losses(answers),
    }
    return record


@dataclass(frozen=True)
class SeedsWorkload:
    """Training of many seeds of one network.

    Parameters
    ----------
    seeds : int
        At once.
    alone : int
        How many of them are trained one after the other in a repetition.
    steps : int
        Of each.
    modulus : int
        p.
    target : dict[str, float], optional
        The ratio to be reached.
    """

    seeds: int
    alone: int
    steps: int
    modulus: int
    target: dict[str, float] = field(default_factory=dict)


W5 = SeedsWorkload(seeds=64, alone=4, steps=100, modulus=31, target={"one-at-a-time": 4})


def run_seeds(bench: Bench, workload: SeedsWorkload) -> dict[str, Any]:
    """Return the record of W5: the network of the quickstart with another p."""
    config = load_config(ROOT / "configs" / "quickstart.yaml")
    config = config.model_copy(update={"task": replace(config.task, modulus=workload.modulus)})
    material = initial(config, bench)
    job = {**material.job("transformer"), "training": settings_of(config), "steps": workload.steps}
    job["compared_after"] = COMPARED_AFTER
    script = "training_slt_grok.py"
    network = products(material)
    record, answers = bench.race(
        [
            ("slt_grok", script, {**job, "seeds": list(range(workload.seeds)), "seeds_at_once": True}),
            ("one-at-a-time", script, {**job, "seeds": list(range(workload.alone)), "seeds_at_once": False}),
        ],
        lambda floor: floor.facts(network, 1, 0, batched=True),
    )
    record |= {
        "unit": "step of a seed",
        "what": (
            f"training {workload.seeds} seeds of the quickstart's network at p = {workload.modulus} as one batch, full "
            f"batch of {samples(material)} pairs, {workload.steps} steps, against {workload.alone} of them one after "
            f"the other by the same function"
        ),
        "target": workload.target,
        "agreement": same_losses(answers),
    }
    return record


def same_losses(answers: Answers) -> dict[str, Any]:
    """Largest relative difference of a train loss after as many steps from the same weights, by peer.

    What the warm-up of slt_grok found against the peer's.
    """
    ours = answers["slt_grok"][0]["compared_losses"]
    found = {}
    for name, rows in answers.items():
        if name != "slt_grok":
            theirs = rows[0]["compared_losses"]
            difference = max(abs(loss / ours[seed] - 1) for seed, loss in theirs.items())
            found[name] = {"relative_difference": difference, "agree": difference < SAME_LOSS}
    return found


def initial(config: Any, bench: Bench) -> Material:
    """Return the weights that `slt_grok.training.train` starts seed 0 from."""
    task, model = sections(config)
    network = models.build(tokens=task["modulus"], **model)
    network.initialize(generator(np.random.SeedSequence(0).spawn(2)[0]))
    parameters = {name: tensor.detach()[None] for name, tensor in network.named_parameters()}
    return write(parameters, task, model, "a network at initialization", bench.scratch / f"{config.name}_initial.npz")


def settings_of(config: Any) -> dict[str, Any]:
    """Optimizer settings alone: checkpoints at both ends, no stop."""
    names = {"optimizer", "learning_rate", "betas", "weight_decay", "warmup_steps"}
    return config.training.model_dump(include=names) | {"checkpoints": {}}


def samples(material: Material) -> int:
    """Pairs of the train set."""
    return len(material.trajectory.task.indices("train"))


def products(material: Material) -> list[Product]:
    """Return the matrix products of one gradient on the train set."""
    shapes = material.trajectory.network.shapes
    return transformer_products(material.task["modulus"], shapes["W_E"][1], shapes["b_in"][0], samples(material))
