"""Mode connectivity: the barrier along a trained quadratic Bezier curve between two networks.

phi(t) = (1 - t)^2 w_1 + 2 t (1 - t) theta + t^2 w_2 with min over the control point theta of E_t L(phi(t)), t uniform
on [0, 1] (Garipov et al. 1802.10026, section 3, equation 2). theta is trained by Adam, with one t and one minibatch per
update. It starts at the midpoint, where the curve is the straight line, plus a little noise, because the gradient
vanishes there on a ridge that is symmetric about the line.

A curve with a low barrier proves that the two ends are connected below it. A high barrier proves nothing: training may
have been too short, or one bend may not suffice. The null is the straight line itself.
"""

import time

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.landscape.alignment import check_same_shapes
from slt_grok.landscape.barriers import BARRIER, ERROR, barrier_with_error, positions_between
from slt_grok.landscape.declared import declared
from slt_grok.landscape.evaluation import SPLITS, Samples, losses_at, splits
from slt_grok.measurement import Variable
from slt_grok.operators.objective import Data
from slt_grok.progress import ProgressCallback, ignore, stretch
from slt_grok.trajectories import Network, Parameters, Trajectory

NOISE = 1e-3  # initial noise, as a fraction of the distance between the two ends
TOGETHER = 8  # number of curves trained simultaneously

CURVE = "phi(t) = (1 - t)^2 w_1 + 2 t (1 - t) theta + t^2 w_2"
SOURCE = "arXiv:1802.10026, section 3"
VARIABLES = {
    "curve_loss": Variable(
        ("split", "position"), "loss along a Bezier curve", f"mean loss at {CURVE}, t the position", SOURCE, "nats"
    ),
    "curve_barrier": BARRIER._replace(
        long_name="loss barrier along a Bezier curve",
        definition=f"max over t of L(t) - (1 - t) L(0) - t L(1) on {CURVE}, theta trained",
    ),
    "curve_barrier_se": ERROR._replace(long_name="standard error of the curve's barrier"),
    "curve_bend": Variable(
        (), "bend of the curve", "|theta - (w_1 + w_2) / 2| / |w_2 - w_1|; 0 is the straight line", SOURCE
    ),
}


def bernstein(t: np.ndarray | float) -> np.ndarray:
    """Evaluate the weights (1 - t)^2, 2 t (1 - t), t^2 of w_1, theta and w_2 at each t, (..., 3)."""
    return np.stack([(1 - t) ** 2, 2 * t * (1 - t), t**2], -1)


def bezier(
    first: Trajectory,
    second: Trajectory,
    *,
    data: Data | None = None,
    updates: int = 400,
    learning_rate: float = 1e-2,
    batch: int = 512,
    positions: int = 17,
    rows: int | None = None,
    seed: int = 0,
    on_progress: ProgressCallback = ignore,
) -> xr.Dataset:
    """Measure the loss along a trained curve from each network of one trajectory to its partner in another.

    Parameters
    ----------
    first, second : Trajectory
        Networks of the same shapes; `second` has as many as `first`, or one. Task, loss and coordinates are those of
        `first`.
    data : Data, optional
        Train inputs (n, ...) and targets (n, ...) for networks without a task. Curves are trained on the train split.
    updates : int, optional
        Number of updates of the control point.
    learning_rate : float, optional
        Initial learning rate of Adam; it decays to 0 along a cosine.
    batch : int, optional
        Number of samples per update, without replacement.
    positions : int, optional
        Number of positions t at which the trained curve is measured, including both ends.
    rows : int, optional
        Number of samples of each split for measuring the curve; all by default.
    seed : int, optional
        Seed of noise, t and minibatches, which are the same for every curve.
    on_progress : callable, optional
        Called with the completed fraction of updates.

    Returns
    -------
    xarray.Dataset
        Over the dimensions of `first`: `curve_loss` (split, position), `curve_barrier` and `curve_barrier_se` (split),
        and `curve_bend`. An update whose gradient is not finite is skipped; a barrier is NaN if a loss on its curve
        is not finite, and for a split without samples.

    Raises
    ------
    SltGrokError
        Shapes or numbers of networks differ, there is no task and no data, or a setting is out of range.
    """
    check_same_shapes(first, second)
    if min(updates, batch) < 1 or not learning_rate > 0:
        raise SltGrokError(
            f"bezier: expected positive updates, batch and learning_rate, got {updates}, {batch}, {learning_rate:g}"
        )
    t = positions_between(positions)
    chosen = splits(first, data, rows, seed)
    whole = splits(first, data)["train"]
    starts, ends = first.stacked(), second.stacked()
    ends = {name: ends[name].to(tensor).expand_as(tensor) for name, tensor in starts.items()}
    curves = np.full((len(first), len(SPLITS), positions), np.nan)
    barriers, errors = np.full((2, len(first), len(SPLITS)), np.nan)
    bends = np.full(len(first), np.nan)
    for begin in range(0, len(first), TOGETHER):
        end = min(begin + TOGETHER, len(first))
        one, other = ({name: tensor[begin:end] for name, tensor in stack.items()} for stack in (starts, ends))
        part = stretch(on_progress, begin / len(first), end / len(first))
        control = train_control(first.network, one, other, whole, updates, learning_rate, batch, seed, part)
        for i, row in enumerate(range(begin, end)):
            points = {name: torch.stack([w[i], control[name][i], other[name][i]]) for name, w in one.items()}
            bends[row] = _bend(points)
            for split, samples in chosen.items():
                k = SPLITS.index(split)
                losses = losses_at(first.network, points, bernstein(t), samples)
                curves[row, k] = losses @ samples.weights
                barriers[row, k], errors[row, k] = barrier_with_error(losses, t, samples)
    values = dict(zip(VARIABLES, (curves, barriers, errors, bends), strict=True))
    found = declared(first, VARIABLES, values, split=list(SPLITS), position=t)
    return found.assign_attrs(updates=updates, learning_rate=learning_rate, batch=batch, seed=seed)


def train_control(
    network: Network,
    starts: Parameters,
    ends: Parameters,
    samples: Samples,
    updates: int,
    learning_rate: float,
    batch: int,
    seed: int,
    on_progress: ProgressCallback = ignore,
) -> dict[str, Tensor]:
    """Train the control points theta; each parameter has the leading N of `starts` and `ends`."""
    generator = np.random.default_rng(seed)
    noise = torch.Generator().manual_seed(seed)
    size = sum(shape.numel() for shape in network.shapes.values())
    squares = [(ends[name] - w).flatten(1).square().sum(1) for name, w in starts.items()]
    scale = NOISE * (torch.stack(squares).sum(0) / size).sqrt()
    theta = {}
    for name, start in starts.items():
        drawn = torch.randn(start.shape[1:], generator=noise, dtype=start.dtype).to(start.device)
        theta[name] = ((start + ends[name]) / 2 + scale.reshape(-1, *[1] * drawn.ndim) * drawn).requires_grad_()
    optimizer = torch.optim.Adam(theta.values(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    inputs, targets = (torch.cat(parts) for parts in zip(*samples.blocks, strict=True))
    for update in range(updates):
        rows = torch.from_numpy(generator.permutation(len(inputs))[:batch])
        a, b, c = bernstein(generator.uniform())
        points = {name: a * start + b * theta[name] + c * ends[name] for name, start in starts.items()}
        optimizer.zero_grad()
        network.stacked_mean_loss(points, inputs[rows], targets[rows], own_data=False).sum().backward()
        gradients = [w.grad for w in theta.values() if w.grad is not None]
        finite = torch.stack([g.isfinite().flatten(1).all(1) for g in gradients]).all(0)
        for gradient in gradients:
            gradient[~finite] = 0
        optimizer.step()
        schedule.step()
        on_progress((update + 1) / updates)
    return {name: tensor.detach() for name, tensor in theta.items()}


def bezier_seconds(
    trajectory: Trajectory, curves: int, *, data: Data | None = None, updates: int = 400, batch: int = 512
) -> float:
    """Predict the seconds of training a number of curves from five updates of one; measuring them is extra."""
    one = {name: tensor[:1] for name, tensor in trajectory.stacked().items()}
    samples = splits(trajectory, data)["train"]
    times: list[float] = []
    watch = lambda fraction, note="": times.append(time.perf_counter())  # noqa: E731
    train_control(trajectory.network, one, one, samples, 6, 1e-3, batch, 0, watch)
    return (times[-1] - times[0]) / 5 * updates * curves


def _bend(points: Parameters) -> float:
    middle, length = 0.0, 0.0
    for first, control, last in points.values():
        middle += (control - (first + last) / 2).double().square().sum().item()
        length += (last - first).double().square().sum().item()
    return (middle / length) ** 0.5 if length else 0.0
