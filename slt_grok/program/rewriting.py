"""A program's file and another prime -> a run directory with the written network, which every measurement works on."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from slt_grok.errors import SltGrokError
from slt_grok.interventions.weights import evaluate
from slt_grok.program import constants
from slt_grok.program.other_primes import rewrite
from slt_grok.store.importers.imported import Imported
from slt_grok.store.importers.run import write_run
from slt_grok.tasks import ModularTask


def write_rewritten(
    program: Path, name: str, model: Mapping[str, Any], task: Mapping[str, Any], p: int, out: Path
) -> list[str]:
    """Write a program's frequencies as weights for another prime, float32, as a run with one checkpoint at step 0.

    Parameters
    ----------
    program : Path
        What `slt-grok extract` wrote; only its constants are read.
    name : str
        Of the architecture's configuration.
    model, task : mapping of str to object
        Its sections; the task's modulus and operation are replaced.
    p : int
        An odd prime.
    out : Path
        The run directory to make.

    Returns
    -------
    list of str
        Sentences on the frequencies and on the network's answers.

    Raises
    ------
    SltGrokError
        A program that cannot be read, an architecture or a prime that it cannot be written for, a split that is
        listed pair by pair, or an existing run directory.
    """
    found = constants.read(program)
    if task.get("split_rule") == "listed":
        raise SltGrokError("task.split_rule: expected a rule that splits the pairs of any modulus, got listed")
    settings = {**task, "modulus": p, "operation": found.operation}
    settings.pop("kind", None)
    network, transferred = rewrite(found, model, ModularTask(**settings))
    single = {key: tensor.to(torch.float32) for key, tensor in network.parameters.items()}
    about = evaluate(replace(network, parameters=single))
    came = [f"{k} from {origin}" if origin else f"{k} added" for k, origin in transferred.origins.items()]
    notes = [
        f"Frequencies of {p} and of {found.p}: {', '.join(came)}; they might shift by {transferred.shift}.",
        f"By the closed form the worst margin is at least {transferred.margin:.3g} nats, "
        f"{transferred.nearest_margin:.3g} at the nearest frequencies.",
        f"The network answers {about['accuracy'][2]:.2%} of all {p**2} pairs right, with a worst margin of "
        f"{about['worst_margin']:.3g} nats.",
    ]
    config = {"name": f"{name}-p{p}", "task": settings, "model": dict(model)}
    write_run([Imported(program, "program", config, 0, single, notes=notes)], out)
    return notes
