"""Log-volume of the basin {w : L(w) - L(w*) < epsilon, |w - w*| <= R} from its radius along random directions.

After Scherlis and Belrose 2501.18812. For a basin that every ray from w* leaves once, V = c_d E_u[r(u)^d] with u
uniform on the unit sphere, r(u) the radius along u and c_d = pi^(d/2) / Gamma(d/2 + 1). The estimate is never too high
on average, but if d log r varies by much more than 1 between directions, a single direction dominates
(`effective_directions` near 1) and neither the estimate nor its standard error is meaningful. Jensen's bound
log V >= log c_d + d E_u[log r] remains valid, and has an ordinary standard error.

The ball of radius R around the checkpoint represents the neighborhood: without it, directions in which the loss does
not rise would be unbounded. The default R = sqrt(rho) |w*| is the radius sqrt(d / gamma) of the LLC's rule
gamma = d / (rho |w*|^2), with the same rho.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from scipy.optimize.elementwise import find_root
from scipy.special import logsumexp
from torch import Tensor

from slt_grok.batching import at_a_time
from slt_grok.errors import SltGrokError
from slt_grok.landscape.common import declared
from slt_grok.measurement import Variable
from slt_grok.operators.objective import Data, batches, network_seed
from slt_grok.rules import RHO
from slt_grok.trajectories import Network, Parameters, Trajectory

SAMPLES_AT_ONCE = 2**14  # single-sample losses per forward pass: about 200 MB of activations at d_mlp = 512
NUMBERS_AT_ONCE = 2**25  # numbers per forward pass, weights included
SMALLEST = math.log(1e-9)  # log radius, in units of R, at which a search begins, too small to move float32 weights
FAR = 30.0  # |log(excess / epsilon)| beyond which its magnitude is not informative about its zero


def _variable(long_name: str, definition: str, *dims: str, units: str = "nats") -> Variable:
    return Variable(dims, long_name, definition, "arXiv:2501.18812", units)


TERMS = "log c_d r(u)^d over random directions u"
REGION = "{w : L(w) - L(w*) < epsilon, |w - w*| <= R}"
EFFECTIVE = "(sum V_u)^2 / sum V_u^2; near 1 neither the log-volume nor its standard error can be trusted"
VARIABLES = {
    "radial_log_volume": _variable(
        "radial log-volume of the basin", f"log of the mean of exp of {TERMS}; volume of {REGION}", "epsilon"
    ),
    "radial_log_volume_se": _variable(
        "standard error of the log-volume", "sd(V_u) / mean(V_u) / sqrt(directions)", "epsilon"
    ),
    "effective_directions": _variable("effective number of directions", EFFECTIVE, "epsilon", units=""),
    "radial_log_volume_bound": _variable("Jensen's lower bound on the log-volume", f"mean of {TERMS}", "epsilon"),
    "radial_log_volume_bound_se": _variable("standard error of the bound", "sd(log V_u) / sqrt(directions)", "epsilon"),
    "log_ball_volume": _variable("log-volume of the ball", f"log c_d R^d, R = sqrt({RHO}) |w*| unless given"),
}


class Basin:
    """The excess loss L(w* + offset) - L(w*) around one network, as a function of flat offsets.

    Weights keep their precision, losses are float64.

    Parameters
    ----------
    network : Network
        The network to evaluate.
    parameters : Parameters
        The parameters w*.
    data : Data
        Inputs (n, ...) and targets (n, ...) of the loss.
    radius : float or None
        R; None for sqrt(rho) |w*|.
    name : str
        Name of the network in error messages.

    Raises
    ------
    SltGrokError
        The radius is not positive, or the loss at w* is not finite.
    """

    def __init__(self, network: Network, parameters: Parameters, data: Data, radius: float | None, name: str) -> None:
        self.network, self.name = network, name
        self.shapes = {key: network.shapes[key] for key in network.moving}
        self.fixed = {key: parameters[key] for key in network.fixed}
        self.center = torch.cat([parameters[key].flatten() for key in self.shapes])
        self.dimension = len(self.center)
        self.pieces = batches(data, SAMPLES_AT_ONCE)
        self.radius = RHO**0.5 * self.center.double().norm().item() if radius is None else radius
        if not 0 < self.radius < math.inf:
            raise SltGrokError(
                f"radius: expected a positive number, got {self.radius:g} for {name} (the default is "
                f"sqrt({RHO}) |w*|, so zero weights need an explicit radius)"
            )
        self.baseline = 0.0
        self.baseline = self.excess(torch.zeros_like(self.center)[None]).item()
        if not math.isfinite(self.baseline):
            raise SltGrokError(f"loss: expected a finite loss at the checkpoint, got {self.baseline} at {name}")

    def excess(self, offsets: Tensor) -> Tensor:
        """Compute L(w* + offset) - L(w*) for offsets (m, d): float64 (m,), infinite where the loss overflows.

        Raises
        ------
        SltGrokError
            A loss is NaN.
        """
        rows = len(self.pieces[0][0])
        size = min(at_a_time(rows, SAMPLES_AT_ONCE), at_a_time(self.dimension, NUMBERS_AT_ONCE))
        with torch.no_grad():
            excess = torch.cat([self._mean_loss(part) for part in offsets.split(size)]) - self.baseline
        if excess.isnan().any():
            raise SltGrokError(f"loss: expected a number around {self.name}, got NaN within radius {self.radius:g}")
        return excess

    def directions(self, count: int, seed: int) -> Tensor:
        """Draw independent uniform unit vectors (count, d)."""
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(count, self.dimension, generator=generator, dtype=torch.float64).to(self.center.dtype)
        return noise / noise.norm(dim=1, keepdim=True)

    def _mean_loss(self, offsets: Tensor) -> Tensor:
        flat = (self.center + offsets).split([shape.numel() for shape in self.shapes.values()], dim=1)
        stack = {k: part.reshape(-1, *shape) for (k, shape), part in zip(self.shapes.items(), flat, strict=True)}
        stack |= {key: tensor.expand(len(offsets), *tensor.shape) for key, tensor in self.fixed.items()}
        rows = sum(len(x) for x, _ in self.pieces)
        losses = [self.network.stacked_mean_loss(stack, x, y, own_data=False) * (len(x) / rows) for x, y in self.pieces]
        return torch.stack(losses).sum(0)


def log_unit_ball(dimension: int) -> float:
    """Compute the log of pi^(d/2) / Gamma(d/2 + 1), the volume of the unit ball in d dimensions."""
    return dimension / 2 * math.log(math.pi) - math.lgamma(dimension / 2 + 1)


def radii(basin: Basin, directions: Tensor, epsilons: np.ndarray) -> np.ndarray:
    """Find where rays from w* leave the basin, in (0, R].

    A bracketed search for the zero of log(excess / epsilon) as a function of log radius, which is nearly linear. If
    the excess loss crosses epsilon more than once on the way to R, any one of the crossings may be returned.

    Parameters
    ----------
    basin : Basin
        The excess loss.
    directions : Tensor
        Unit vectors (m, d).
    epsilons : ndarray
        Thresholds, positive.

    Returns
    -------
    ndarray
        Radii (m, epsilon), float64; R if the excess loss is below epsilon there.
    """
    rows, targets = (grid.ravel() for grid in np.meshgrid(np.arange(len(directions)), np.log(epsilons), indexing="ij"))

    def gap(log_radius: np.ndarray, row: np.ndarray, target: np.ndarray) -> np.ndarray:
        scale = torch.from_numpy(basin.radius * np.exp(log_radius)).to(directions.dtype)
        excess = basin.excess(directions[torch.from_numpy(row)] * scale[:, None]).numpy()
        return np.clip(np.log(np.maximum(excess, np.finfo(float).tiny)) - target, -FAR, FAR)

    at_ball = basin.excess(basin.radius * directions).log().numpy()
    leaves = at_ball[rows] >= targets
    log_radii = np.zeros(len(rows))
    if leaves.any():
        search = find_root(
            gap,
            (np.full(leaves.sum(), SMALLEST), np.zeros(leaves.sum())),
            args=(rows[leaves], targets[leaves]),
            tolerances={"xatol": max(1e-2 / basin.dimension, 1e-7), "xrtol": 0.0, "fatol": 0.0},
        )
        log_radii[leaves] = search.x
    return basin.radius * np.exp(log_radii).reshape(len(directions), len(epsilons))


def log_mean_exp(values: np.ndarray) -> tuple[float, float, float]:
    """Compute the log of the mean of exp(values), its standard error and the effective number of values.

    Parameters
    ----------
    values : ndarray
        (n,), n >= 2.

    Returns
    -------
    tuple of float
        log m; (sample standard deviation of exp / m) / sqrt(n); (sum exp)^2 / sum exp^2 from 1 to n.
    """
    log_mean = logsumexp(values) - math.log(len(values))
    weights = np.exp(values - log_mean)
    error, effective = weights.std(ddof=1) / len(values) ** 0.5, weights.sum() ** 2 / (weights**2).sum()
    return float(log_mean), float(error), float(effective)


def basin_volume(
    trajectory: Trajectory,
    epsilons: Sequence[float],
    *,
    directions: int = 16,
    samples: int | None = None,
    radius: float | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Measure the log-volume of each network's basin from its radius along random directions.

    The cost is about 13 mean losses per direction and threshold.

    Parameters
    ----------
    trajectory : Trajectory
        The networks.
    epsilons : sequence of float
        Thresholds of the excess loss, positive.
    directions : int, optional
        Number of random directions, at least 2; the same for all thresholds.
    samples : int, optional
        Number of train samples that define the loss, drawn once for all networks; all by default.
    radius : float, optional
        R of the ball around w*; sqrt(rho) |w*| by default.
    seed : int, optional
        Seed of samples and directions; the latter also depend on the network's coordinates.

    Raises
    ------
    SltGrokError
        A setting is out of range, or a loss is not finite at a checkpoint or is NaN around it.
    """
    thresholds = np.asarray(epsilons, dtype=float)
    if not thresholds.size or not (np.isfinite(thresholds) & (thresholds > 0)).all():
        raise SltGrokError(f"epsilons: expected positive numbers, got {list(epsilons)}")
    if directions < 2:
        raise SltGrokError(f"directions: expected at least 2, since their spread is the error, got {directions}")
    inputs, targets = trajectory.task.data("train")
    if samples is not None and samples < len(inputs):
        rows = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed))[:samples]
        inputs, targets = inputs[rows], targets[rows]
    stack, table = trajectory.stacked(), []
    for index, label in enumerate(trajectory.labels()):
        name = ", ".join(f"{dim} {value}" for dim, value in label.items()) or "the network"
        weights = {key: tensor[index] for key, tensor in stack.items()}
        basin = Basin(trajectory.network, weights, (inputs, targets), radius, name)
        rays = basin.directions(directions, network_seed(seed, label))
        constant = log_unit_ball(basin.dimension)
        terms = constant + basin.dimension * np.log(radii(basin, rays, thresholds))
        ball = constant + basin.dimension * math.log(basin.radius)
        table.append([(*log_mean_exp(t), t.mean(), t.std(ddof=1) / directions**0.5, ball) for t in terms.T])
    values = dict(zip(VARIABLES, np.moveaxis(np.array(table), -1, 0), strict=True))
    values["log_ball_volume"] = values["log_ball_volume"][:, 0]
    return declared(trajectory, VARIABLES, values, epsilon=thresholds).assign_attrs(directions=directions)
