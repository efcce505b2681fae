"""The mean loss as a float64 function of the parameters, for every network of a trajectory.

L(w) = mean over the samples of loss(f_w(x), y). Parameters, buffers, inputs and losses are float64, since gradients
and curvature of a network that fits all samples are far below float32 resolution.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.models.network import as_floats
from slt_grok.trajectories import Network, Parameters, Trajectory

Data = tuple[Tensor, Tensor]

ROWS = 2048  # number of samples at a time: larger tensors are returned to the system, which costs page faults


def network_seed(seed: int, coordinates: Mapping[str, Any]) -> int:
    """Derive the random seed of one network, so that a shard of a trajectory draws the same as the whole.

    Parameters
    ----------
    seed : int
        Seed of the measurement.
    coordinates : mapping
        Coordinates of the network, as in `Trajectory.labels`; never its position in a stack.
    """
    values = [v if isinstance(v, int) and v >= 0 else crc32(str(v).encode()) for v in coordinates.values()]
    return int(np.random.SeedSequence([seed, *values]).generate_state(1)[0])


def batches(data: Data, rows: int) -> list[Data]:
    """Split the samples into consecutive batches of at most `rows`."""
    inputs, targets = data
    return list(zip(inputs.split(rows), targets.split(rows), strict=True))


def check_finite_loss(loss: float, index: int) -> None:
    """Check that a network's loss is finite before measuring around it.

    Raises
    ------
    SltGrokError
        The loss is NaN or infinite.
    """
    if not math.isfinite(loss):
        raise SltGrokError(f"network {index} of the trajectory: expected a finite mean loss, got {loss}")


def loss_and_gradient(
    network: Network, parameters: Parameters, data: Data, wanted: Collection[str] | None = None
) -> tuple[float, dict[str, Tensor]]:
    """Compute the mean loss over all samples and its gradient, ROWS samples at a time.

    The gradient is with respect to the wanted tensors, by default all weights that are not frozen.
    """
    stack = {name: tensor[None] for name, tensor in parameters.items()}
    wanted = network.moving if wanted is None else wanted
    loss, gradient = 0.0, {name: torch.zeros_like(parameters[name]) for name in wanted}
    for inputs, targets in batches(data, ROWS):
        fraction = len(inputs) / len(data[0])
        values, slopes = network.stacked_loss_and_gradient(stack, inputs, targets, own_data=False, wanted=wanted)
        loss += values.item() * fraction
        for name, total in gradient.items():
            total += slopes[name][0] * fraction
    return loss, gradient


@dataclass(frozen=True)
class Objective:
    """The mean loss of N networks.

    Parameters
    ----------
    network : Network
        The network, its buffers in float64.
    stack : dict of str to Tensor
        The parameters and buffers in float64, each with a leading N.
    data : Data
        Inputs (n, ...) and targets (n, ...).
    """

    network: Network
    stack: dict[str, Tensor]
    data: Data

    @classmethod
    def of(cls, trajectory: Trajectory, data: Data | None = None) -> "Objective":
        """Build the mean loss of a trajectory's networks on `data`, by default on the train split of its task.

        Raises
        ------
        SltGrokError
            Neither data nor a task is given.
        """
        data = trajectory.task.data("train") if data is None else data
        network = replace(trajectory.network)  # a copy
        network.module.double()
        return cls(network, trajectory.stacked(torch.float64), data).on(data)

    def weights(self, index: int) -> dict[str, Tensor]:
        """Get the parameters and buffers of one network."""
        return {name: tensor[index] for name, tensor in self.stack.items()}

    def gradient(self, index: int) -> dict[str, Tensor]:
        """Compute dL/dw at one network, by weight."""
        return loss_and_gradient(self.network, self.weights(index), self.data)[1]

    def on(self, data: Data) -> "Objective":
        """Replace the samples."""
        inputs, targets = (as_floats(tensor, torch.float64) for tensor in data)
        return replace(self, data=(inputs, targets))

    def group(self, names: Sequence[str] | None) -> list[str]:
        """List the weights of a group in the network's own order; None for all that are not frozen.

        Raises
        ------
        SltGrokError
            The group is empty, or contains a name that the network does not have, or that is frozen.
        """
        known = self.network.moving
        unknown = [name for name in names or [] if name not in known]
        if unknown or names == []:
            raise SltGrokError(f"group: expected some of {', '.join(known)}, got {', '.join(unknown) or 'none'}")
        return [name for name in known if names is None or name in names]

    def size(self, names: Sequence[str] | None = None) -> int:
        """Count the weights in a group."""
        return sum(self.network.shapes[name].numel() for name in self.group(names))
