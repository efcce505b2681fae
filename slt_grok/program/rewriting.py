"""A program's file and a new modulus -> a run directory with the written network, which every measurement works on."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from slt_grok.errors import SltGrokError
from slt_grok.program import constants, surgery
from slt_grok.program.modulus import rewrite
from slt_grok.store.importers.imported import Imported
from slt_grok.store.importers.run import write_run
from slt_grok.tasks import ModularTask


def write_rewritten(
    program: Path, name: str, model: Mapping[str, Any], task: Mapping[str, Any], modulus: int, out: Path
) -> list[str]:
    """Write a program's frequencies as weights for another modulus, float32, as a run with one checkpoint at step 0.

    Parameters
    ----------
    program : Path
        What `slt-grok extract` wrote; only its constants are read.
    name : str
        Of the architecture's configuration.
    model, task : Mapping[str, Any]
        Its sections; of the task the modulus and the operation are replaced.
    modulus : int
        p', an odd prime.
    out : Path
        The run directory to make.

    Returns
    -------
    list[str]
        Sentences on the frequencies and on what the network answers.

    Raises
    ------
    SltGrokError
        A program that cannot be read, an architecture or a modulus that it cannot be written for, a split that is
        listed pair by pair, or a run directory that is there already.
    """
    found = constants.read(program)
    if task.get("split_rule") == "listed":
        raise SltGrokError("task.split_rule: expected a rule that splits the pairs of any modulus, got listed")
    settings = {**task, "modulus": modulus, "operation": found.operation}
    network, served = rewrite(found, model, ModularTask(**settings))
    single = {key: tensor.to(torch.float32) for key, tensor in network.parameters.items()}
    about = surgery.evaluate(replace(network, parameters=single))
    came = [f"{k} from {origin}" if origin else f"{k} added" for k, origin in served.origins.items()]
    notes = [
        f"Frequencies of {modulus} and of {found.modulus}: {', '.join(came)}; they might shift by {served.shift}.",
        f"By the closed form the worst margin is at least {served.margin:.3g} nats, {served.nearest_margin:.3g} at the "
        "nearest frequencies.",
        f"The network answers {about['accuracy'][2]:.2%} of all {modulus**2} pairs right, with a worst margin of "
        f"{about['worst_margin']:.3g} nats.",
    ]
    config = {"name": f"{name}-p{modulus}", "task": settings, "model": dict(model)}
    write_run([Imported(program, "program", config, 0, single, notes=notes)], out)
    return notes
