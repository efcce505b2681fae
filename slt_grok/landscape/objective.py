"""The train loss as a float64 function of the parameters, for every network of a trajectory.

L(w) = mean over the train set of loss(f_w(x), y). Everything in it is float64: parameters, buffers, inputs and
losses, since gradients and curvature of a network that fits everything are far below what float32 resolves.
"""

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.tasks import Split
from slt_grok.trajectories import Network, Parameters, Trajectory

Data = tuple[Tensor, Tensor]

ROWS = 2048  # samples at a time: what larger pieces allocate is given back and faulted in anew at each use


def as_floats(inputs: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the inputs that hold real numbers in the precision of the weights.

    Tokens and other integers as they are.
    """
    return inputs.to(dtype) if inputs.is_floating_point() else inputs


def batches(data: Data, rows: int) -> list[Data]:
    """Return the samples in consecutive pieces of at most `rows`."""
    inputs, targets = data
    return list(zip(inputs.split(rows), targets.split(rows), strict=True))


def check_finite_loss(loss: float, index: int) -> None:
    """Refuse to measure around a network whose loss is not a number.

    Raises
    ------
    SltGrokError
        The loss is NaN or infinite.
    """
    if not math.isfinite(loss):
        raise SltGrokError(f"network {index} of the trajectory: expected a finite mean loss, got {loss}")


def loss_and_gradient(network: Network, parameters: Parameters, data: Data) -> tuple[float, dict[str, Tensor]]:
    """Return the mean loss over all samples and its gradient, ROWS of them at a time."""
    stack = {name: tensor[None] for name, tensor in parameters.items()}
    loss, gradient = 0.0, {name: torch.zeros_like(tensor) for name, tensor in parameters.items()}
    for inputs, targets in batches(data, ROWS):
        share = len(inputs) / len(data[0])
        values, slopes = network.stacked_loss_and_gradient(stack, inputs, targets, own_data=False, wanted=stack)
        loss += values.item() * share
        for name, total in gradient.items():
            total += slopes[name][0] * share
    return loss, gradient


def split_data(trajectory: Trajectory, splits: Sequence[Split], data: Data | None = None) -> dict[Split, Data | None]:
    """Return the inputs and targets of each split, None where it has no samples; with `data` only `train` has some.

    Raises
    ------
    SltGrokError
        A split that is none of `train`, `test`, `all`.
    """
    unknown = [split for split in splits if split not in ("train", "test", "all")]
    if unknown or not splits:
        raise SltGrokError(f"splits: expected some of train, test, all, got {', '.join(unknown) or 'none'}")
    if data is not None:
        given = as_floats(data[0], torch.float64), data[1]
        return {split: given if split == "train" else None for split in splits}
    return {split: trajectory.task.data(split) if len(trajectory.task.indices(split)) else None for split in splits}


@dataclass(frozen=True)
class Objective:
    """The train loss of N networks.

    Parameters
    ----------
    network : Network
        The function, its buffers in float64.
    stack : dict[str, Tensor]
        The parameters in float64, every tensor with a leading N.
    data : Data
        Train inputs (n, ...) and targets (n, ...).
    """

    network: Network
    stack: dict[str, Tensor]
    data: Data

    @classmethod
    def of(cls, trajectory: Trajectory, data: Data | None = None) -> "Objective":
        """Return the train loss of a trajectory's networks, on `data` or else on the train split of its task.

        Raises
        ------
        SltGrokError
            Neither data nor a task is given, or inputs and targets differ in number.
        """
        inputs, targets = trajectory.task.data("train") if data is None else data
        if len(inputs) != len(targets) or not len(inputs):
            raise SltGrokError(
                f"data: expected as many targets as inputs and at least one, got {len(targets)} and {len(inputs)}"
            )
        network = trajectory.network
        double = Network(deepcopy(network.module).double(), network.task, network.loss)
        return cls(double, trajectory.stacked(torch.float64), (as_floats(inputs, torch.float64), targets))

    def __len__(self) -> int:
        """Return the number of networks, N."""
        return len(next(iter(self.stack.values())))
