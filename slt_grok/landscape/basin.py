"""The excess loss around one checkpoint as a function of flat offsets, many at a time: what volumes are made of.

The basin of a checkpoint w* at a threshold epsilon is {w : L(w) - L(w*) < epsilon, |w - w*| <= R}. The ball of
radius R, centered at the checkpoint, stands for the neighborhood: without one, directions in which the loss does not
rise would have no end. Its default R = 0.7 |w*| is the one that the LLC's rule gamma = d / (0.7 |w*|)^2 means.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.operators.objective import Data, as_floats, batches
from slt_grok.operators.objective import network_seed
from slt_grok.trajectories import Network, Trajectory

RADIUS_SHARE = 0.7  # R / |w*|
SAMPLES_AT_ONCE = 2**14  # losses of one sample that a forward pass holds: some 200 MB of activations at d_mlp = 512
NUMBERS_AT_ONCE = 2**25  # and weights


class Basin:
    """The excess loss L(w* + offset) - L(w*) around one network.

    Weights stay in their own precision, losses are float64.

    Attributes
    ----------
    center : Tensor
        w* flat, (d,), in the order of `named_parameters`.
    radius : float or None
        R > 0.
    baseline : float
        L(w*), float64.
    generator : torch.Generator
        The network's own random stream.
    losses, gradients : int
        How many mean losses and gradients of it were evaluated.
    """

    def __init__(
        self, network: Network, parameters: dict[str, Tensor], data: Data, radius: float | None, seed: int, name: str
    ) -> None:
        self.network, self.name = network, name
        self.shapes = {key: tensor.shape for key, tensor in parameters.items()}
        self.center = torch.cat([tensor.flatten() for tensor in parameters.values()])
        self.data = (as_floats(data[0], self.center.dtype), data[1])
        self.radius = RADIUS_SHARE * self.center.double().norm().item() if radius is None else radius
        if not 0 < self.radius < math.inf:
            raise SltGrokError(
                f"radius: expected a positive number, got {self.radius:g} for {name} (the default is "
                f"{RADIUS_SHARE} |w*|, so that weights of 0 need a radius)"
            )
        self.generator = torch.Generator().manual_seed(seed)
        self.losses = self.gradients = 0
        self.baseline = 0.0
        self.baseline = self.excess(torch.zeros_like(self.center)[None]).item()

    @property
    def dimension(self) -> int:
        """Number of weights, d."""
        return len(self.center)

    @property
    def log_ball(self) -> float:
        """Return the log volume of the ball of radius R in d dimensions."""
        return log_unit_ball(self.dimension) + self.dimension * math.log(self.radius)

    def excess(self, offsets: Tensor) -> Tensor:
        """L(w* + offset) - L(w*) for each of the offsets (m, d): float64 (m,), infinite where the loss overflows.

        Raises
        ------
        SltGrokError
            A loss that is no number.
        """
        pieces = batches(self.data, SAMPLES_AT_ONCE)
        size = max(1, min(SAMPLES_AT_ONCE // len(pieces[0][0]), NUMBERS_AT_ONCE // self.dimension))
        with torch.no_grad():
            found = torch.cat([self._mean_loss(part, pieces) for part in offsets.split(size)]) - self.baseline
        self.losses += len(offsets)
        if found.isnan().any():
            raise SltGrokError(f"loss: expected a number around {self.name}, got NaN within radius {self.radius:g}")
        return found

    def gradient(self, offset: Tensor) -> Tensor:
        """Gradient of L at w* + offset, (d,) -> (d,)."""
        self.gradients += 1
        leaf = offset.detach().clone().requires_grad_()
        total = torch.zeros_like(leaf)
        for piece in batches(self.data, SAMPLES_AT_ONCE):
            (part,) = torch.autograd.grad(self._mean_loss(leaf[None], [piece]).sum(), leaf)
            total += part * (len(piece[0]) / len(self.data[0]))
        return total

    def _mean_loss(self, offsets: Tensor, pieces: list[Data]) -> Tensor:
        flat = (self.center + offsets).split([shape.numel() for shape in self.shapes.values()], dim=1)
        stack = {
            name: part.unflatten(1, shape) if shape else part[:, 0]
            for (name, shape), part in zip(self.shapes.items(), flat, strict=True)
        }
        rows = sum(len(x) for x, _ in pieces)
        losses = [self.network.stacked_mean_loss(stack, x, y, own_data=False) * (len(x) / rows) for x, y in pieces]
        return torch.stack(losses).sum(0)


def basins(
    trajectory: Trajectory, data: Data | None, samples: int | None, radius: float | None, seed: int
) -> Iterator[Basin]:
    """Yield the basin of each network of a trajectory.

    Parameters
    ----------
    data : Data or None
        Inputs (n, ...) and targets (n, ...); None for the task's train split.
    samples : int or None
        How many of them make the loss, drawn once for all networks; None for all.
    radius : float or None
        Of the ball; None for 0.7 |w*|.
    seed : int
        Of the samples and, with the network's coordinates, of what is drawn around it.

    Raises
    ------
    SltGrokError
        Neither data nor a task, a loss at the checkpoint that is not finite, a radius that is not positive.
    """
    inputs, targets = trajectory.task.data("train") if data is None else data
    if len(inputs) != len(targets) or not len(inputs):
        raise SltGrokError(
            f"data: expected as many targets as inputs and at least one, got {len(targets)} and {len(inputs)}"
        )
    if samples is not None and samples < len(inputs):
        rows = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed))[:samples]
        inputs, targets = inputs[rows], targets[rows]
    stack = trajectory.stacked()
    for index, label in enumerate(trajectory.labels()):
        name = ", ".join(f"{dim} {value}" for dim, value in label.items()) or "the network"
        own = {key: tensor[index] for key, tensor in stack.items()}
        basin = Basin(trajectory.network, own, (inputs, targets), radius, network_seed(seed, label), name)
        if not math.isfinite(basin.baseline):
            raise SltGrokError(f"loss: expected a finite loss at the checkpoint, it is {basin.baseline} at {name}")
        yield basin


def radius_text(radius: float | None) -> str:
    """Return what R is, for a definition."""
    return f"{RADIUS_SHARE} |w*|" if radius is None else f"{radius:g}"


def log_unit_ball(dimension: int) -> float:
    """Return the log of pi^(d/2) / Gamma(d/2 + 1), the volume of the unit ball in d dimensions."""
    return dimension / 2 * math.log(math.pi) - math.lgamma(dimension / 2 + 1)
