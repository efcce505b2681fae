"""Mode connectivity: the barrier along a trained quadratic Bezier curve between two networks.

phi(t) = (1 - t)^2 w_1 + 2 t (1 - t) theta + t^2 w_2 with min over the control point theta of E_t L(phi(t)), t uniform
on [0, 1] (Garipov et al. 1802.10026, section 3, equation 2). theta is trained by Adam, with one t and one minibatch per
update. It starts at the midpoint, where the curve is the straight line, plus a little noise, because the gradient
vanishes there on a ridge that is symmetric about the line.

A curve with a low barrier proves that the two ends are connected below it. A high barrier proves nothing: training may
have been too short, or one bend may not suffice. The null is the straight line itself.
"""

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from slt_grok.landscape.barriers import BARRIER, ERROR, along_curves
from slt_grok.landscape.common import declared, paired_stacks, timed
from slt_grok.measurement import Variable
from slt_grok.operators.objective import Data
from slt_grok.progress import ProgressCallback, ignore, stretch
from slt_grok.trajectories import Network, Parameters, Trajectory

NOISE = 1e-3  # initial noise, as a fraction of the distance between the two ends
BATCH = 512  # number of samples per update, without replacement
LEARNING_RATE = 1e-2  # initial learning rate of Adam, which decays to 0 along a cosine
POSITIONS = 17  # positions t at which a trained curve is measured, including both ends
TOGETHER = 8  # number of curves trained simultaneously

CURVE = "phi(t) = (1 - t)^2 w_1 + 2 t (1 - t) theta + t^2 w_2"
SOURCE = "arXiv:1802.10026, section 3"
VARIABLES = {
    "curve_loss": Variable(
        ("split", "position"),
        "loss along a Bezier curve",
        f"mean loss at {CURVE}, t the position",
        SOURCE,
        of_loss=True,
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
    first: Trajectory, second: Trajectory, *, updates: int = 400, seed: int = 0, on_progress: ProgressCallback = ignore
) -> xr.Dataset:
    """Measure the loss along a trained curve from each network of one trajectory to its partner in another.

    Parameters
    ----------
    first, second : Trajectory
        Equally many networks of the same shapes. Task, loss and coordinates are those of `first`.
    updates : int, optional
        Number of updates of the control point, on the train split.
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
        The trajectories have different numbers of networks.
    """
    starts, ends = paired_stacks(first, second)
    count, data, curves = len(first), first.task.data("train"), {}
    for begin in range(0, count, TOGETHER):
        end = min(begin + TOGETHER, count)
        start, stop = ({name: tensor[begin:end] for name, tensor in stack.items()} for stack in (starts, ends))
        part = stretch(on_progress, begin / count, end / count)
        control = train_control(first.network, start, stop, data, updates, seed, part)
        for i in range(begin, end):
            points = {name: [w[i], control[name][i - begin], ends[name][i]] for name, w in starts.items()}
            curves[i] = {name: torch.stack(tensors) for name, tensors in points.items()}
    dataset = along_curves(first, VARIABLES, curves, bernstein(np.linspace(0, 1, POSITIONS)))
    bends = declared(
        first,
        VARIABLES,
        {"curve_bend": [_bend({name: points[name] for name in first.network.moving}) for points in curves.values()]},
    )
    return dataset.merge(bends).assign_attrs(updates=updates, learning_rate=LEARNING_RATE, batch=BATCH, seed=seed)


def train_control(
    network: Network,
    starts: Parameters,
    ends: Parameters,
    data: Data,
    updates: int,
    seed: int,
    on_progress: ProgressCallback = ignore,
) -> dict[str, Tensor]:
    """Train the control points theta; each parameter has the leading N of `starts` and `ends`.

    Frozen tensors such as running averages are half way between the two ends.
    """
    generator = np.random.default_rng(seed)
    noise_generator = torch.Generator().manual_seed(seed)
    size = sum(network.shapes[name].numel() for name in network.moving)
    squares = [(ends[name] - starts[name]).square().reshape(len(ends[name]), -1).sum(1) for name in network.moving]
    scale = NOISE * (torch.stack(squares).sum(0) / size).sqrt()
    theta, fixed = {}, {name: (starts[name] + ends[name]) / 2 for name in network.fixed}
    for name in network.moving:
        start = starts[name]
        noise = torch.randn(start.shape[1:], generator=noise_generator, dtype=start.dtype).to(start.device)
        theta[name] = ((start + ends[name]) / 2 + scale.reshape(-1, *[1] * noise.ndim) * noise).requires_grad_()
    optimizer = torch.optim.Adam(theta.values(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    inputs, targets = data
    for update in range(updates):
        rows = torch.from_numpy(generator.permutation(len(inputs))[:BATCH])
        a, b, c = bernstein(generator.uniform())
        control = theta | fixed
        points = {name: a * start + b * control[name] + c * ends[name] for name, start in starts.items()}
        optimizer.zero_grad()
        network.stacked_mean_loss(points, inputs[rows], targets[rows], own_data=False).sum().backward()
        gradients = [w.grad for w in theta.values() if w.grad is not None]
        finite = torch.stack([g.isfinite().reshape(len(g), -1).all(1) for g in gradients]).all(0)
        for gradient in gradients:
            gradient[~finite] = 0
        optimizer.step()
        schedule.step()
        on_progress((update + 1) / updates)
    return {name: tensor.detach() for name, tensor in (theta | fixed).items()}


def bezier_seconds(trajectory: Trajectory, curves: int, *, updates: int = 400) -> float:
    """Predict the seconds of training a number of curves from five updates of one; measuring them is extra."""
    start = {name: tensor[:1] for name, tensor in trajectory.stacked().items()}
    data = trajectory.task.data("train")
    return timed(train_control, trajectory.network, start, start, data, 5, 0) / 5 * updates * curves


def _bend(points: Parameters) -> float:
    first, control, last = torch.cat([tensor.reshape(len(tensor), -1) for tensor in points.values()], 1)
    length = (last - first).double().norm()
    return ((control - (first + last) / 2).double().norm() / length).item() if length else 0.0
