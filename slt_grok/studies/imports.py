"""Import checkpoints as a run: of a published format, or of a person's own module with its data."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from slt_grok.config import parse_config, read_yaml
from slt_grok.errors import SltGrokError
from slt_grok.format import step as at_step
from slt_grok.llc.choice import gamma_by_rule
from slt_grok.llc.problem import Problem
from slt_grok.measurement import declare
from slt_grok.models import Adapter
from slt_grok.rules import RHO
from slt_grok.store import RunDirectory, code
from slt_grok.store.importers import SourceFile, read_checkpoints
from slt_grok.store.importers.importer import run_name
from slt_grok.studies.context import milestones
from slt_grok.studies.run import TRAINING, Run
from slt_grok.tasks import SPLITS
from slt_grok.training.result import Training
from slt_grok.trajectories import Network, Trajectory


def import_custom(
    files: Sequence[Path],
    out: Path,
    module: str,
    data: str | None = None,
    loss: str | None = None,
    task: Path | None = None,
    sites: Path | None = None,
    step_from: str | None = None,
) -> list[str]:
    """Write checkpoints of a person's own module as a run directory.

    Parameters
    ----------
    files : sequence of Path
        Files of one network, or folders of them, see `slt_grok.store.importers.read_checkpoints`.
    out : Path
        A new folder.
    module : str
        FILE.py:FUNCTION that returns the module.
    data, loss : str, optional
        FILE.py:FUNCTION, see `slt_grok.tasks.custom`.
    task : Path, optional
        YAML file with the section `task` of a configuration, instead of data: one of our tasks.
    sites : Path, optional
        YAML file with sites, roles and options of `slt_grok.models.Adapter`, so that circuits can be measured.
    step_from : str, optional
        Where the steps come from, see `read_checkpoints`.

    Returns
    -------
    list of str
        Sentences on what was read and assumed; the manifest contains them too.

    Raises
    ------
    SltGrokError
        The person's code, the data and the checkpoints do not fit together, or `out` already holds a run.
    """
    directory = RunDirectory(out)
    if directory.exists:
        raise SltGrokError(f"{out}: expected a new folder, but it already holds a run")
    if (data is None) == (task is None):
        raise SltGrokError("import: expected either --data FILE.py:FUNCTION or --task FILE.yaml for --module")
    if loss is not None and data is None:
        raise SltGrokError("--loss: expected --data too; the loss on a --task is cross-entropy")
    model = {"kind": "custom", "build": code.name(module, "--module"), **_mapping(sites, "--sites")}
    content = _mapping(task, "--task") if data is None else {"kind": "custom", "samples": code.name(data, "--data")}
    if loss is not None:
        content["loss_function"] = code.name(loss, "--loss")
    config = {"name": run_name(out.resolve().name), "seeds": [0], "task": content, "model": model, "training": None}
    network = parse_config(config, "import").network
    checkpoints = read_checkpoints(files, step_from)
    trajectory = Trajectory.stack(network.module, _states(network, checkpoints), network.task, network.loss)
    Problem.from_inputs(trajectory)  # module, data and loss fit together, and every loss is finite
    for step, parameters in zip(trajectory.coords["step"].tolist(), _by_step(trajectory), strict=True):
        directory.write_checkpoint(step, parameters)
    paths = [str(checkpoint.path) for checkpoint in checkpoints]
    notes = list(dict.fromkeys(note for checkpoint in checkpoints for note in checkpoint.notes))
    directory.write_measurement(TRAINING, _training(trajectory), {"source": "custom", "files": paths})
    source = {"format": "custom", "files": paths, "settings": {}, "notes": notes}
    steps = trajectory.coords["step"].tolist()
    directory.write_manifest(
        {"config": {**config, "source": source}, "stages": {"import": {"files": paths, "steps": steps}}}
    )
    return notes


def choose_window(out: Path) -> str:
    """Add an LLC section to an imported run, with gamma by the rule of `slt_grok.llc.choice`, and say so.

    The checkpoints from memorization on count, or from a third of the run if there is no accuracy that shows it.
    """
    run = Run(out)
    trajectory = run.trajectory.isel(seed=[0])
    steps = trajectory.coords["step"]
    memorized = milestones(run.data.get(TRAINING), run.config.transitions, run.config.seeds[0])[0]
    first = next(iter(trajectory.first_from(memorized)), (len(steps) - 1) // 3)
    gammas, gamma = gamma_by_rule(trajectory.isel(step=slice(first, None)))
    config = {**run.config.content, "llc": {"gamma": gamma}}
    run.directory.write_manifest({**run.manifest, "config": config})
    return (
        f"LLC: gamma = {gamma:g}, the largest d / ({RHO:g} |w*|^2) over the {gammas.sizes['step']} checkpoints from "
        f"step {at_step(int(steps[first]))} on; other settings: slt-grok calibrate {out}, or --config."
    )


def _mapping(path: Path | None, option: str) -> dict[str, Any]:
    content = {} if path is None else read_yaml(path)
    if not isinstance(content, Mapping):
        raise SltGrokError(f"{option}: {path}: expected a mapping, got {content!r}")
    return dict(content)


def _states(network: Network, checkpoints: Sequence[SourceFile]) -> dict[int, dict[str, torch.Tensor]]:
    """Collect the state dicts by step, under the network's names."""
    states: dict[int, dict[str, torch.Tensor]] = {}
    for checkpoint in checkpoints:
        step = 0 if checkpoint.step is None and len(checkpoints) == 1 else checkpoint.step
        if step is None:
            raise checkpoint.unknown_step()
        if step in states:
            raise checkpoint.error(f"expected one checkpoint per step, got another one of step {step}")
        state = dict(checkpoint.state)
        if any(checkpoint.prefix + name in network.shapes for name in state):  # part of the module's own names
            state = {checkpoint.prefix + name: tensor for name, tensor in state.items()}
        states[step] = network.module.named(state) if isinstance(network.module, Adapter) else state
    return states


def _by_step(trajectory: Trajectory) -> list[dict[str, torch.Tensor]]:
    """Get the parameters at each step, with a leading seed."""
    stack = trajectory.stacked(torch.float32)
    return [{name: tensor[i : i + 1] for name, tensor in stack.items()} for i in range(len(trajectory))]


def _training(trajectory: Trajectory) -> xr.Dataset:
    """Compute losses at the checkpoints, and accuracies of a classifier; NaN for an absent test set."""
    network, task, stack = trajectory.network, trajectory.task, trajectory.stacked(torch.float64)
    shape = (len(trajectory), 1)
    values = {name: np.full(shape, np.nan) for name in Training.variables}
    for split in SPLITS:
        inputs, targets = task.data(split)
        inputs = inputs.double() if inputs.is_floating_point() else inputs
        for i in range(len(trajectory) if len(inputs) and split != "all" else 0):
            parameters = {name: tensor[i] for name, tensor in stack.items()}
            with torch.no_grad():
                outputs = network.outputs(parameters, inputs)
                values[f"{split}_loss"][i] = network.loss(outputs, targets).double().mean().item()
                if not targets.is_floating_point() and outputs.ndim == 2 and targets.ndim == 1:
                    values[f"{split}_accuracy"][i] = (outputs.argmax(-1) == targets).double().mean().item()
    coords = {"step": trajectory.coords["step"], "seed": [0]}
    variables = declare(Training.variables, values)
    return xr.Dataset({k: (("step", "seed"), v, a) for k, (_, v, a) in variables.items()}, coords)
