"""Log-volume of the basin {w : L(w) - L(w*) < epsilon, |w - w*| <= R} by its radius along random directions.

After Scherlis and Belrose 2501.18812 (local volume by random directions, preconditioned by importance sampling). For a
basin that every ray from w* leaves once, V = c_d E_u[r(u)^d] with u uniform on the unit sphere, r(u) the radius along u
and c_d = pi^(d/2) / Gamma(d/2 + 1). With w - w* = P y for a matrix P, the same holds in y, where the ray of u has the
direction P u in w and ends at t(u) = r(P u / |P u|) / |P u|:

    V = c_d |det P| E_u[t(u)^d],

the change of variables is the whole weight, and no scale of P matters. The ellipsoid {|P^-1 (w - w*)| <= 1} has t = 1
for all u: no variance. The estimate is never too high on average, but where d log t varies by much more than 1 between
directions, one direction carries it all (`effective_directions` near 1) and neither it nor its standard error mean
anything. What then remains is Jensen's bound log V >= log c_d |det P| + d E_u[log t], whose error is an ordinary one.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
import xarray as xr
from scipy.optimize.elementwise import find_root
from scipy.special import logsumexp
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.landscape.basin import Basin, basins, log_unit_ball, radius_text
from slt_grok.operators.objective import Data
from slt_grok.trajectories import Trajectory

SOURCE = "arXiv:2501.18812"
SMALLEST = math.log(1e-9)  # log radius in units of R at which a search begins: there float32 weights do not move
OTHERS = 4  # random directions off the axes whose extent is taken
FAR = 30.0  # |log(excess / epsilon)| beyond which its size says nothing about where it is 0
TYPICAL_LOSSES = 13  # evaluations of a search on networks, half of it on quadratics; what `cost` reckons with


def cost(directions: int, epsilons: int, sketch: int) -> tuple[int, int]:
    """Mean losses and gradients, about, that `basin_volume` evaluates for each network."""
    searches = epsilons * (directions + 2 * sketch) + 2 * sketch
    return 1 + TYPICAL_LOSSES * searches, (2 * sketch + 1 if sketch else 0)


def radii(basin: Basin, directions: Tensor, epsilons: Sequence[float]) -> np.ndarray:
    """Where the rays from w* along some directions leave the basin, in (0, R].

    A bracketed search for the zero of log(excess / epsilon) as a function of log radius, nearly a straight line. Where
    the excess loss crosses epsilon more than once on the way to R, one of the crossings is found.

    Parameters
    ----------
    directions : Tensor
        Unit vectors (m, d).
    epsilons : Sequence[float]
        Thresholds, above 0.

    Returns
    -------
    ndarray
        Radii (m, epsilon), float64; R where the excess loss is below epsilon there.
    """
    rows, targets = (grid.ravel() for grid in np.meshgrid(np.arange(len(directions)), np.log(epsilons), indexing="ij"))

    def gap(log_radius: np.ndarray, row: np.ndarray, target: np.ndarray) -> np.ndarray:
        scale = torch.from_numpy(basin.radius * np.exp(log_radius)).to(directions.dtype)
        excess = basin.excess(directions[torch.from_numpy(row)] * scale[:, None]).numpy()
        return np.clip(np.log(np.maximum(excess, np.finfo(float).tiny)) - target, -FAR, FAR)

    at_ball = basin.excess(basin.radius * directions).log().numpy()
    inside = ~(at_ball[rows] >= targets)
    found = np.zeros(len(rows))
    if not inside.all():
        search = find_root(
            gap,
            (np.full((~inside).sum(), SMALLEST), np.zeros((~inside).sum())),
            args=(rows[~inside], targets[~inside]),
            tolerances={"xatol": max(1e-2 / basin.dimension, 1e-7), "xrtol": 0.0, "fatol": 0.0},
        )
        found[~inside] = search.x
    return basin.radius * np.exp(found).reshape(len(directions), len(epsilons))


class Ellipsoid:
    """The matrix P = p_0 (I - V V^T) + V diag(p) V^T: d - k equal semi-axes and k of their own.

    Parameters
    ----------
    axes : Tensor
        V, orthonormal columns (d, k).
    logs : Tensor
        log p, (k,).
    log_rest : float
        log p_0.
    """

    def __init__(self, axes: Tensor, logs: Tensor, log_rest: float) -> None:
        self.axes, self.ratios = axes, (logs - log_rest).exp()
        self.log_determinant = (logs - log_rest).sum().item()  # with p_0 = 1: no scale matters

    def __call__(self, directions: Tensor) -> Tensor:
        """P u / p_0 for the rows u, (m, d)."""
        along = directions @ self.axes
        return directions + (along * (self.ratios.to(along) - 1)) @ self.axes.T


def sketched_axes(basin: Basin, epsilon: float, count: int) -> Tensor:
    """Directions of large curvature at the scale of a threshold, orthonormal columns (d, count).

    Subspace iteration (Halko et al. 0909.4061, section 4.5), one step from random directions: the gradient at the
    border of the basin along v, over the radius, is H v where the loss is quadratic, with H what the basin sees and not
    the Hessian at w*, which nearly vanishes on a fitted network. Costs 2 `count` searches and 2 `count` + 1 gradients.
    """
    at_center = basin.gradient(torch.zeros_like(basin.center))
    axes = random_directions(basin, count).T
    for _ in range(2):
        lengths = radii(basin, axes.T, [epsilon])[:, 0].tolist()
        columns = [(basin.gradient(r * v) - at_center) / r for r, v in zip(lengths, axes.T, strict=True)]
        axes = torch.linalg.svd(torch.stack(columns, 1), full_matrices=False)[0]
    return axes


def sketched_ellipsoid(basin: Basin, axes: Tensor, epsilon: float) -> Ellipsoid:
    """P whose image of the sphere is spread as the basin is.

    Along an axis of extent a (the mean of both sides) the curvature is h = 2 epsilon / a^2; all directions off the axes
    share one h, of the extents of some random ones. A point of {L < epsilon} in the ball of radius R has the variance
    2 epsilon / (k h) in each of k directions that the loss confines, and R^2 / d in the others:
    p = (k h / (2 epsilon) + d / R^2)^(-1/2), with k = sum_i k h_i / (k h_i + 2 epsilon d / R^2).
    """
    others = random_directions(basin, OTHERS)
    others -= (others @ axes) @ axes.T
    others /= others.norm(dim=1, keepdim=True)
    extents = radii(basin, torch.cat([axes.T, -axes.T, others]), [epsilon])[:, 0]
    count, dimension = axes.shape[1], basin.dimension
    own = extents[: 2 * count].reshape(2, -1).mean(0) ** -2.0  # h / (2 epsilon)
    rest = float(np.exp(-2 * np.log(extents[2 * count :]).mean()))
    free, confined = dimension / basin.radius**2, float(dimension)
    for _ in range(100):
        shares = confined * own / (confined * own + free)
        confined = max(1.0, shares.sum() + (dimension - count) * confined * rest / (confined * rest + free))
    logs = torch.from_numpy(-0.5 * np.log(confined * own + free))
    return Ellipsoid(axes, logs, -0.5 * math.log(confined * rest + free))


def random_directions(basin: Basin, count: int) -> Tensor:
    """Independent uniform unit vectors (count, d) from the network's own stream."""
    drawn = torch.randn(count, basin.dimension, generator=basin.generator, dtype=torch.float64).to(basin.center.dtype)
    return drawn / drawn.norm(dim=1, keepdim=True)


def log_mean_exp(values: np.ndarray) -> tuple[float, float, float]:
    """Return the log of the mean of exp(values), its standard error and the effective number of values.

    Parameters
    ----------
    values : ndarray
        (n,), n >= 2.

    Returns
    -------
    tuple[float, float, float]
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
    sketch: int = 0,
    data: Data | None = None,
    samples: int | None = None,
    radius: float | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Log-volume of the basin of each network by its radius along random directions.

    Costs about 13 mean losses for each direction and threshold; the importance-sampled form as much again for each two
    axes, and a gradient an axis (`cost`).

    Parameters
    ----------
    trajectory : Trajectory
        The networks.
    epsilons : Sequence[float]
        Thresholds of the excess loss, rising or not, above 0.
    directions : int, optional
        Random directions, at least 2; the same for all thresholds.
    sketch : int, optional
        Axes of the ellipsoid that the directions are drawn from, see `sketched_ellipsoid`; 0 for the sphere, which
        needs no gradient.
    data : Data or None, optional
        Inputs (n, ...) and targets (n, ...); None for the task's train split.
    samples : int or None, optional
        How many of them make the loss; None for all.
    radius : float or None, optional
        R of the ball around w*; None for 0.7 |w*|.
    seed : int, optional
        Of samples and directions; the latter depend on the network's coordinates too.

    Returns
    -------
    xarray.Dataset
        Over the leading dimensions of the trajectory and `epsilon`: `radial_log_volume` (nats), `radial_log_volume_se`,
        `effective_directions`, `radial_log_volume_bound`, `radial_log_volume_bound_se`; `log_ball_volume` and
        `radial_evaluations` without `epsilon`.

    Raises
    ------
    SltGrokError
        Settings out of range, no data, a loss at a checkpoint that is not finite, or NaN around it.
    """
    thresholds = checked_epsilons(epsilons)
    dimension = sum(shape.numel() for shape in trajectory.network.shapes.values())
    if directions < 2:
        raise SltGrokError(f"directions: expected at least 2, since their spread is the error, got {directions}")
    if not 0 <= sketch < dimension:
        raise SltGrokError(f"sketch: expected 0 to {dimension - 1} axes, fewer than parameters, got {sketch}")
    table, balls, evaluations = [], [], []
    for basin in basins(trajectory, data, samples, radius, seed):
        table.append(_of_one(basin, thresholds, directions, sketch))
        balls.append(basin.log_ball)
        evaluations.append(basin.losses)
    values = np.array(table)  # (N, epsilon, 5)
    region = "{w : L(w) - L(w*) < epsilon, |w - w*| <= R}"
    matrix = f"P an ellipsoid of {sketch} own axes" if sketch else "P = I"
    terms = f"log c_d |det P| t(u)^d over {directions} directions u, {matrix}"
    described = {
        "radial_log_volume": (
            "radial log-volume of the basin",
            "nats",
            f"log of the mean of exp of {terms}; volume of {region}",
        ),
        "radial_log_volume_se": ("standard error of the log-volume", "nats", "sd(V_u) / mean(V_u) / sqrt(directions)"),
        "effective_directions": (
            "effective number of directions",
            None,
            "(sum V_u)^2 / sum V_u^2; near 1 neither the log-volume nor its standard error can be trusted",
        ),
        "radial_log_volume_bound": ("Jensen's lower bound of the log-volume", "nats", f"mean of {terms}"),
        "radial_log_volume_bound_se": ("standard error of the bound", "nats", "sd(log V_u) / sqrt(directions)"),
    }
    variables = {}
    for column, (name, (long_name, units, definition)) in enumerate(described.items()):
        attrs = {"long_name": long_name, "definition": definition, "source": SOURCE}
        variables[name] = (("epsilon",), values[:, :, column], attrs | ({"units": units} if units else {}))
    variables["log_ball_volume"] = (
        (),
        np.array(balls),
        {
            "long_name": "log-volume of the ball",
            "units": "nats",
            "definition": f"log c_d R^d, R = {radius_text(radius)}",
            "source": SOURCE,
        },
    )
    variables["radial_evaluations"] = (
        (),
        np.array(evaluations),
        {"long_name": "losses evaluated", "definition": "mean losses that the radii took", "source": SOURCE},
    )
    found = trajectory.dataset(variables, epsilon=thresholds)
    return found.assign_attrs(directions=directions, sketch=sketch)


def checked_epsilons(epsilons: Sequence[float]) -> np.ndarray:
    """Return the thresholds as a float64 array.

    Raises
    ------
    SltGrokError
        None, or one that is not a positive number.
    """
    thresholds = np.asarray(epsilons, dtype=float)
    if not thresholds.size or not (np.isfinite(thresholds) & (thresholds > 0)).all():
        raise SltGrokError(f"epsilons: expected positive numbers, got {list(epsilons)}")
    return thresholds


def _of_one(basin: Basin, epsilons: np.ndarray, directions: int, sketch: int) -> list[tuple[float, ...]]:
    """Return the row (log volume, its error, effective directions, bound, its error) of each threshold."""
    dimension, constant = basin.dimension, log_unit_ball(basin.dimension)
    drawn = random_directions(basin, directions)
    axes = sketched_axes(basin, float(np.exp(np.log(epsilons).mean())), sketch) if sketch else None
    isotropic = np.empty(0) if axes is not None else radii(basin, drawn, epsilons.tolist())
    rows = []
    for index, epsilon in enumerate(epsilons.tolist()):
        if axes is None:
            terms = constant + dimension * np.log(isotropic[:, index])
        else:
            ellipsoid = sketched_ellipsoid(basin, axes, epsilon)
            stretched = ellipsoid(drawn)
            lengths = stretched.norm(dim=1, keepdim=True)
            ends = radii(basin, stretched / lengths, [epsilon])[:, 0]
            logs = np.log(ends) - lengths[:, 0].double().log().numpy()
            terms = constant + ellipsoid.log_determinant + dimension * logs
        rows.append((*log_mean_exp(terms), terms.mean(), terms.std(ddof=1) / directions**0.5))
    return rows
