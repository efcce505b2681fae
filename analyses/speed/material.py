"""The networks that workloads are about, as files that every contestant can read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import slt_grok
from slt_grok import models
from slt_grok.config import RunConfig, load_config, parse_config
from slt_grok.models.network import Network
from slt_grok.store import RunDirectory
from slt_grok.studies.run import train_run
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory

ROOT = Path(__file__).parents[2]
MINUTES = {"devinterp_notebook": 2, "mod113": 8}  # of training, on two cores


class Material(NamedTuple):
    """Networks with their data in a file, and how the package calls them.

    path : npz with every parameter (checkpoint, ...), `pairs` and `labels` of the train set, and `baselines`.
    task, model : as in a configuration; without the task's kind.
    trajectory : the same networks, over `step` 0, 1, 2, ...
    source : a phrase on where they come from.
    """

    path: Path
    task: dict[str, Any]
    model: dict[str, Any]
    trajectory: Trajectory
    source: str

    @property
    def dimension(self) -> int:
        """Number of weights of a network."""
        return sum(shape.numel() for shape in self.trajectory.network.shapes.values())

    def job(self, kind: str) -> dict[str, Any]:
        """Return what every worker is told of it; `kind` names the plain network (`workers/networks.py`)."""
        return {"material": str(self.path), "task": self.task, "model": self.model, "network": kind}


def of_run(name: str, count: int, scratch: Path) -> Material:
    """`count` checkpoints of runs/NAME, equally spaced; some of them several times where there are fewer.

    A missing run is trained, without its measurements, under runs/benchmark_speed.
    """
    found = ROOT / "runs" / name
    if not found.is_dir():
        found = ROOT / "runs" / "benchmark_speed" / name
        config = load_config(ROOT / "configs" / f"{name}.yaml")
        if not (RunDirectory(found).exists and "training" in RunDirectory(found).manifest["stages"]):
            print(f"{name}: training it under {found.relative_to(ROOT)}, about {MINUTES[name]} minutes", flush=True)
            train_run(config, found)
    trajectory = slt_grok.trajectory(found).isel(seed=0)
    there = trajectory.shape[0]
    rows = spread(there, count)
    task, model = sections(parse_config(RunDirectory(found).manifest["config"], name))
    source = f"{count} checkpoints of configs/{name}.yaml"
    if there < count:
        source += f" ({there} different ones, some of them several times)"
    parameters = {key: tensor[rows, 0] for key, tensor in trajectory.parameters.items()}
    return write(parameters, task, model, source, scratch / f"{name}_{count}.npz")


def sections(config: RunConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the task and the model of a configuration as plain data; every task here is on Z_p."""
    content = config.model_dump(mode="json")
    return {key: value for key, value in content["task"].items() if key != "kind"}, content["model"]


def spread(there: int, count: int) -> list[int]:
    """`count` rows out of `there`, in order and with both ends; some of them several times where there are fewer."""
    return np.linspace(0, there - 1, count).round().astype(int).tolist()


def untrained(task: Mapping[str, Any], model: Mapping[str, Any], count: int, scratch: Path) -> Material:
    """`count` networks at initialization."""
    network = models.build(tokens=task["modulus"], **model)
    states: list[dict[str, Tensor]] = []
    for seed in range(count):
        network.initialize(torch.Generator().manual_seed(seed))
        states.append({name: tensor.detach().clone() for name, tensor in network.named_parameters()})
    parameters = {name: torch.stack([state[name] for state in states]) for name in states[0]}
    path = scratch / f"untrained_{task['modulus']}_{count}.npz"
    return write(parameters, task, model, f"{count} networks at initialization", path)


def write(
    parameters: dict[str, Tensor], task: Mapping[str, Any], model: Mapping[str, Any], source: str, path: Path
) -> Material:
    """Networks (checkpoint, ...) as a file."""
    modular = ModularTask(**task)
    network = Network(models.build(tokens=modular.modulus, **model), modular)
    count = len(next(iter(parameters.values())))
    trajectory = Trajectory(network, parameters, ("step",), {"step": np.arange(count)})
    pairs, labels = modular.data("train")
    with torch.no_grad():
        stack = trajectory.stacked(torch.float64)
        rows = ({name: tensor[i : i + 1] for name, tensor in stack.items()} for i in range(count))
        baselines = torch.cat([network.stacked_mean_loss(row, pairs, labels, own_data=False) for row in rows])
    arrays = {**parameters, "pairs": pairs, "labels": labels, "baselines": baselines}
    np.savez(path, **{name: tensor.numpy() for name, tensor in arrays.items()})  # pyright: ignore[reportArgumentType]
    return Material(path, dict(task), dict(model), trajectory, source)
