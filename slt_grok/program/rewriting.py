"""Turn a program's file into a run directory with a network written for another prime."""

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
from slt_grok.store.new_run import new_run
from slt_grok.tasks import ModularTask


def write_rewritten(
    program: Path, name: str, model: Mapping[str, Any], task: Mapping[str, Any], p: int, out: Path
) -> list[str]:
    """Write a program's frequencies as float32 weights for another prime, as a run with one checkpoint at step 0.

    Parameters
    ----------
    program : Path
        File written by `slt-grok extract`; only its constants are read.
    name : str
        Name of the architecture's configuration.
    model, task : mapping of str to object
        Sections of that configuration; the task's modulus and operation are replaced.
    p : int
        The new prime, odd.
    out : Path
        Run directory to create.

    Returns
    -------
    list of str
        Sentences about the frequencies and the network's answers.

    Raises
    ------
    SltGrokError
        The program cannot be read, the architecture or the prime is unsuitable, the split lists its pairs one by one,
        or the run directory exists.
    """
    source = constants.read(program)
    if task.get("split_rule") == "listed":
        raise SltGrokError("task.split_rule: expected a rule that works for any modulus, got listed")
    settings = {**task, "modulus": p, "operation": source.operation}
    settings.pop("kind", None)
    network, transferred = rewrite(source, model, ModularTask(**settings))
    single = {key: tensor.to(torch.float32) for key, tensor in network.parameters.items()}
    values = evaluate(replace(network, parameters=single))
    mapping = [f"{k} from {origin}" if origin else f"{k} added" for k, origin in transferred.origins.items()]
    notes = [
        f"Frequencies for {p} from those for {source.p}: {', '.join(mapping)}; allowed shift {transferred.shift}.",
        f"In closed form, the worst margin is at least {transferred.margin:.3g} nats, "
        f"{transferred.nearest_margin:.3g} at the nearest frequencies.",
        f"The network answers {values['accuracy'][2]:.2%} of all {p**2} pairs correctly, with a worst margin of "
        f"{values['worst_margin']:.3g} nats.",
    ]
    config = {"name": f"{name}-p{p}", "task": settings, "model": dict(model)}
    with new_run(out) as run:
        write_run([Imported(program, "program", config, 0, single, notes=notes)], run)
    return notes
