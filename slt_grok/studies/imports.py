"""Import checkpoints as a run: of a published format, or of a user-supplied module with its data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from slt_grok import user_code
from slt_grok.config import parse_config, read_yaml
from slt_grok.errors import SltGrokError
from slt_grok.format import first_line, listing
from slt_grok.format import step as at_step
from slt_grok.llc.choice import gamma_by_rule
from slt_grok.llc.measurement import LLC
from slt_grok.llc.problem import Problem
from slt_grok.models import Adapter
from slt_grok.models.network import as_floats
from slt_grok.rules import RHO
from slt_grok.store.importers import Imported, SourceFile, read_checkpoints, read_run
from slt_grok.store.importers.curves import curves_in
from slt_grok.store.importers.importer import run_name, stored_losses
from slt_grok.store.importers.run import write_run
from slt_grok.store.importers.splits import settle
from slt_grok.store.new_run import new_run
from slt_grok.studies.context import milestones
from slt_grok.studies.costs import forecast
from slt_grok.studies.run import TRAINING, Run
from slt_grok.tasks import ModularTask, Task
from slt_grok.tasks.custom import PARTS, CustomTask
from slt_grok.trajectories import Network, Trajectory

COMPARED = 64  # samples on which modules from two calls of a function are compared


def import_published(
    files: Sequence[Path],
    out: Path,
    format: str | None = None,
    step_from: str | None = None,
    train_indices: Path | None = None,
) -> list[str]:
    """Write checkpoints of a published format as a run directory.

    Parameters
    ----------
    files, format, step_from, train_indices
        See `slt_grok.store.importers.read_run`.
    out : Path
        A new folder.

    Returns
    -------
    list of str
        Sentences on what was read, assumed, or contradictory; the manifest and the page contain them too.

    Raises
    ------
    SltGrokError
        As in `slt_grok.store.importers.read_run`, or two files are of one step, or `out` already holds a run.
    """
    with new_run(out) as run:
        networks, notes = read_run(files, format, step_from, train_indices)
        return [*write_run(networks, run, notes), *_prepare(run.path, out)]


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
    """Write checkpoints of a user-supplied module as a run directory.

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
        YAML file with the section `task` of a configuration, instead of data: a built-in task.
    sites : Path, optional
        YAML file with sites, roles and options of `slt_grok.models.Adapter`, so that circuits can be measured.
    step_from : str, optional
        Where the steps come from, see `read_checkpoints`.

    Returns
    -------
    list of str
        See `import_published`.

    Raises
    ------
    SltGrokError
        The user's code, the data and the checkpoints do not fit together, or `out` already holds a run.
    """
    if (data is None) == (task is None):
        raise SltGrokError("import: expected either --data FILE.py:FUNCTION or --task FILE.yaml for --module")
    if loss is not None and data is None:
        raise SltGrokError("--loss: expected --data too; the loss on a --task is cross-entropy")
    model = {"kind": "custom", "build": user_code.permit(module, "--module"), **_mapping(sites, "--sites")}
    content = (
        _mapping(task, "--task") if data is None else {"kind": "custom", "samples": user_code.permit(data, "--data")}
    )
    if loss is not None:
        content["loss_function"] = user_code.permit(loss, "--loss")
    config = {"name": run_name(out.resolve().name), "seeds": [0], "task": content, "model": model, "training": None}
    with new_run(out) as run:
        networks, notes = _read_custom(files, config, module, data or str(task), step_from)
        return [*write_run(networks, run, notes), *_prepare(run.path, out)]


def _read_custom(
    files: Sequence[Path], content: dict[str, Any], module: str, data: str, step_from: str | None
) -> tuple[list[Imported], list[str]]:
    """Read the networks of a configuration; `module` and `data` are its parts in error messages."""
    config = parse_config(content, "import")
    network, task = config.network, config.task
    if task.loss is None and task.labels.is_floating_point():
        raise SltGrokError(f"{data}: cross-entropy expects integer targets; name a loss by --loss FILE.py:FUNCTION")
    again = replace(network, module=config.model.construct(tokens=task.tokens, classes=task.classes))
    _check_structure(network, again, module)
    checkpoints = [_under_names_of(network, file) for file in read_checkpoints(files, step_from)]
    states = {f"{file.path}, checkpoint {i}": file.state for i, file in enumerate(checkpoints, 1)}
    trajectory = Trajectory.of_states(replace(network), states, range(len(states)))
    if name := _differing_constant(network, trajectory.network):
        raise SltGrokError(
            f"{checkpoints[0].path}: expected {name} as {module} makes it, since a run stores real numbers only; set "
            f"it there"
        )
    by_file = replace(trajectory, dims=("file",), coords={"file": np.array(list(states))})
    Problem.from_inputs(by_file)  # module, data and loss fit together, and every loss is finite
    state = {name: tensor[0] for name, tensor in trajectory.parameters.items()}
    with torch.no_grad():
        outputs, others = (each.outputs(state, task.inputs[:COMPARED]) for each in (network, again))
    if not torch.allclose(outputs, others, rtol=1e-4, atol=1e-6, equal_nan=True):
        raise _unstable(module, "outputs that differ at the same weights")
    if isinstance(task, CustomTask):
        content = {**content, "task": {**content["task"], "checksums": task.compute_checksums()}}
    networks = []
    for i, file in enumerate(checkpoints):
        state = {name: tensor[i] for name, tensor in trajectory.parameters.items()}
        notes = list(file.notes)
        if file.step is None:
            notes.append(file.without_step(alone=len(checkpoints) == 1))
        facts = {"curves": curves_in(file, notes), "stored": stored_losses(file, notes), "notes": notes}
        networks.append(CustomNetwork(file.path, "custom", content, file.step, state, **facts, network=network))
    try:
        networks[0].evaluate()
    except Exception as error:  # whatever the user's code raises
        raise SltGrokError(f"{data}: network or loss fails on the test set: {first_line(error)}") from error
    settled, notes = settle(networks)
    if network.frozen:
        notes.append(f"Frozen (requires_grad=False): {listing(sorted(network.frozen))} do not move in LLC estimates.")
    return settled, notes


@dataclass(frozen=True)
class CustomNetwork(Imported):
    """A checkpoint of a user-supplied module.

    Parameters
    ----------
    network : Network
        Its function, task and loss.
    """

    network: Network = field(kw_only=True)

    @property
    def task(self) -> Task:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The task with the user's data."""
        assert self.network.task is not None
        return self.network.task

    def evaluate(self, split: ModularTask | None = None) -> dict[str, float]:
        """See `Imported`: the loss of all samples of a split at once, which may weight them, as LLC estimates do.

        Samples with a negative label, which losses ignore, do not count for accuracies; NaN without classes.
        """
        return self._evaluated

    @cached_property
    def _evaluated(self) -> dict[str, float]:
        values, precise = {}, {name: tensor.double() for name, tensor in self.parameters.items()}
        for name in PARTS:
            rows = self.task.indices(name)
            inputs, targets, loss, right = self.task.inputs[rows], self.task.labels[rows], torch.nan, torch.nan
            if len(rows):
                with torch.no_grad():
                    outputs = self.network.outputs(precise, inputs).double()
                    loss = self.network.loss(outputs, as_floats(targets, torch.float64)).double().mean().item()
                if not targets.is_floating_point() and outputs.ndim == 2 and targets.ndim == 1:
                    right = (outputs.argmax(-1) == targets)[targets >= 0].double().mean().item()
            values |= {f"{name}_loss": loss, f"{name}_accuracy": right}
        return values


def choose_window(run: Run, out: Path) -> str:
    """Add an LLC section to an imported run, with gamma by the rule of `slt_grok.llc.choice`, and say so.

    The checkpoints from memorization on count, or from a third of the run if there is no accuracy that shows it.

    Parameters
    ----------
    run : Run
        The run.
    out : Path
        Where it will be.
    """
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


def _prepare(path: Path, out: Path) -> tuple[str, str]:
    """Choose the window of a run that will be at `out`, and say what measuring costs."""
    window, run = choose_window(Run(path), out), Run(path)  # with the chosen settings
    cost = forecast(run, LLC(), run.config)[1]
    return window, f"slt-grok measure: the LLC {cost}. Other measurements take further time."


def _mapping(path: Path | None, option: str) -> dict[str, Any]:
    content = {} if path is None else read_yaml(path)
    if not isinstance(content, Mapping):
        raise SltGrokError(f"{option}: {path}: expected a mapping, got {content!r}")
    return dict(content)


def _check_structure(network: Network, again: Network, module: str) -> None:
    """Check that the function that builds a module makes the same one twice, apart from its state."""
    for name in [*network.shapes, *again.shapes]:
        one, other = network.shapes.get(name), again.shapes.get(name)
        if one is None or other is None:
            raise _unstable(module, f"{name} in only one of them")
        if one != other:
            raise _unstable(module, f"{name} of shapes {tuple(one)} and {tuple(other)}")
    if name := _differing_constant(network, again):
        raise _unstable(module, f"different values in the buffer {name}, which no checkpoint stores")


def _unstable(module: str, difference: str) -> SltGrokError:
    return SltGrokError(
        f"{module}: expected the same module from every call, got two with {difference}; remove what is random, or fix "
        f"its seed"
    )


def _differing_constant(one: Network, other: Network) -> str | None:
    """Find a buffer that a run does not store, such as a mask, and that differs between two networks."""
    here, there = (dict(network.module.named_buffers()) for network in (one, other))
    constants = [name for name in here if name not in one.shapes]
    return next((name for name in constants if name not in there or not torch.equal(here[name], there[name])), None)


def _under_names_of(network: Network, file: SourceFile) -> SourceFile:
    """Rename a file's tensors to the network's, which may be a part of what was saved, such as `model.` or `net.`.

    A prefix that was stripped in reading may belong to the network's own names.
    """
    state, notes = dict(file.state), list(file.notes)
    if any(file.prefix + name in network.shapes for name in state):
        state = {file.prefix + name: tensor for name, tensor in state.items()}
    parts = dict.fromkeys(["", *(name[: i + 1] for name in state for i, letter in enumerate(name) if letter == ".")])
    part = next((part for part in parts if all(part + name in state for name in network.shapes)), "")
    if others := [name for name in state if not name.startswith(part)]:
        notes.append(f"Ignored, since outside {part}, which holds the module: {listing(others)}.")
    state = {name.removeprefix(part): tensor for name, tensor in state.items() if name.startswith(part)}
    named = network.module.named(state) if isinstance(network.module, Adapter) else state
    return replace(file, state=named, notes=notes)
