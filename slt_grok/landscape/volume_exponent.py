"""How the volume of a basin scales with its threshold: the learning coefficient without gradients or a temperature.

V(epsilon) = vol{w : L(w) - L(w*) < epsilon, |w - w*| <= R} ~ c epsilon^lambda (-log epsilon)^(m - 1) as epsilon -> 0,
with lambda the learning coefficient at w* and m its multiplicity (Watanabe 2009, theorem 7.1; Lau et al. 2308.12108,
section 3). V falls by many powers of ten and is found by multilevel splitting (Kahn and Harris 1951; as nested
sampling, Skilling 2006, doi:10.1214/06-BA127): walkers start uniform in the ball; again and again the half with the
largest losses dies, the death of the worst of n walkers lowering log V by 1/n on average and leaving {L - L(w*) <
epsilon} with its own excess loss as epsilon; the dead start anew at survivors, and all move uniformly below the
threshold. Populations of walkers are independent but for the lines along which they move, and their spread is the
standard error. It knows nothing of a bias: walkers that move too little between two thresholds lose the rare, most
singular parts of a basin, and log V comes out too low. More walkers and more sweeps must not change it: up to some 30
weights the defaults pass that test, while a transformer with 56,512 still gains 5 to 6 nats from 16 to 48 sweeps.
"""

import math
from collections.abc import Sequence

import numpy as np
import xarray as xr

from slt_grok.errors import SltGrokError
from slt_grok.landscape.basin import Basin, basins, radius_text
from slt_grok.landscape.hit_and_run import LOSSES_A_MOVE, Populations
from slt_grok.landscape.objective import Data
from slt_grok.landscape.volume import checked_epsilons
from slt_grok.trajectories import Trajectory

SOURCE = "Watanabe 2009, theorem 7.1; doi:10.1214/06-BA127"


def cost(populations: int, walkers: int, sweeps: int, levels: int) -> int:
    """Mean losses, about, that `volume_exponent` evaluates for each network that needs all its levels.

    A network needs 1.44 levels for each nat from the volume of the ball to that of the smallest threshold, some
    1.44 lambda log(E / epsilon) with E the loss in the ball.
    """
    return round(populations * walkers * (1 + LOSSES_A_MOVE * sweeps * levels))


def splitting(
    basin: Basin, smallest: float, populations: int, walkers: int, sweeps: int, levels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Thresholds and the log-volumes below them.

    Parameters
    ----------
    basin : Basin
        The excess loss.
    smallest : float
        It ends where every population is below this threshold.
    populations, walkers, sweeps, levels : int
        As for `volume_exponent`.

    Returns
    -------
    tuple[ndarray, ndarray]
        Excess losses (populations, k), falling; log of the share of the ball's volume that lies below each, (k,).
    """
    swarm = Populations(basin, populations, walkers)
    lowered = np.cumsum(1 / np.arange(walkers, walkers - walkers // 2, -1))
    thresholds, logs = [], []
    for level in range(levels):
        thresholds.append(swarm.kill())
        logs.append(-level * lowered[-1] - lowered)
        if (swarm.level <= smallest).all():
            break
        for _ in range(sweeps):
            swarm.sweep()
    return np.concatenate(thresholds, 1), np.concatenate(logs)


def volume_exponent(
    trajectory: Trajectory,
    epsilons: Sequence[float],
    *,
    populations: int = 4,
    walkers: int = 128,
    sweeps: int = 16,
    levels: int = 400,
    multiplicity: int = 1,
    data: Data | None = None,
    samples: int | None = None,
    radius: float | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """Log-volume of the basin of each network by multilevel splitting, and its slope against log epsilon.

    Costs up to `cost(populations, walkers, sweeps, levels)` mean losses for each network.

    Parameters
    ----------
    trajectory : Trajectory
        The networks.
    epsilons : Sequence[float]
        Thresholds of the excess loss, at least two and above 0; the slope is that of a straight line through all that
        every population reached.
    populations : int, optional
        Independent repetitions, an even number of at least 4.
    walkers : int, optional
        Of each population, even and at least 4; log V has a variance of at least |log V| / walkers in each.
    sweeps : int, optional
        Moves of each walker from one threshold to the next.
    levels : int, optional
        Halvings of the volume after which it ends.
    multiplicity : int, optional
        m, where it is known: (m - 1) / log(E / epsilon) is added to the slope, with the geometric mean of the epsilons
        and E the median excess loss in the ball.
    data : Data or None, optional
        Inputs (n, ...) and targets (n, ...); None for the task's train split.
    samples : int or None, optional
        How many of them make the loss; None for all.
    radius : float or None, optional
        R of the ball around w*; None for 0.7 |w*|.
    seed : int, optional
        Of samples and walkers; the latter depend on the network's coordinates too.

    Returns
    -------
    xarray.Dataset
        Over the leading dimensions of the trajectory: `log_volume` (epsilon) in nats and `log_volume_se`, NaN where not
        every population got there; `volume_exponent`, `volume_exponent_se`, NaN with fewer than two thresholds left;
        `log_ball_volume`, `median_ball_loss`, `volume_evaluations`.

    Raises
    ------
    SltGrokError
        Settings out of range, no data, a loss at a checkpoint that is not finite, or NaN around it.
    """
    grid = np.sort(checked_epsilons(epsilons))[::-1]
    _check(grid, populations, walkers, sweeps, levels, multiplicity)
    columns: dict[str, list] = {
        name: [] for name in ("volume", "volume_se", "exponent", "exponent_se", "ball", "loss", "evaluations")
    }
    for basin in basins(trajectory, data, samples, radius, seed):
        thresholds, logs = splitting(basin, float(grid[-1]), populations, walkers, sweeps, levels)
        curves = np.array([_interpolated(row, logs, grid) for row in thresholds])  # (populations, epsilon)
        middle = float(np.median(thresholds[:, : walkers // 2].min(1)))
        exponents = _slopes(curves, grid) + _correction(multiplicity, middle, grid, basin.name)
        columns["volume"].append(basin.log_ball + curves.mean(0))
        columns["volume_se"].append(curves.std(0, ddof=1) / populations**0.5)
        columns["exponent"].append(exponents.mean())
        columns["exponent_se"].append(exponents.std(ddof=1) / populations**0.5)
        columns["ball"].append(basin.log_ball)
        columns["loss"].append(middle)
        columns["evaluations"].append(basin.losses)
    region = "{w : L(w) - L(w*) < epsilon, |w - w*| <= R}"
    how = f"multilevel splitting, {populations} populations of {walkers} walkers, {sweeps} sweeps a level"
    spread = "standard deviation over populations / sqrt(populations)"
    slope = "slope of log V against log epsilon, a straight line through all epsilon"
    if multiplicity > 1:
        slope += f", + (m - 1) / log(E / epsilon) with m = {multiplicity}"
    described = {
        "log_volume": ("volume", ("epsilon",), "log-volume of the basin", "nats", f"log V of {region}; {how}"),
        "log_volume_se": ("volume_se", ("epsilon",), "standard error of the log-volume", "nats", spread),
        "volume_exponent": ("exponent", (), "volume exponent", None, slope),
        "volume_exponent_se": ("exponent_se", (), "standard error of the volume exponent", None, spread),
        "log_ball_volume": ("ball", (), "log-volume of the ball", "nats", f"log c_d R^d, R = {radius_text(radius)}"),
        "median_ball_loss": ("loss", (), "median excess loss in the ball", "nats", "E: half of the ball is below it"),
        "volume_evaluations": ("evaluations", (), "losses evaluated", None, "mean losses that the splitting took"),
    }
    variables = {}
    for name, (column, dims, long_name, units, definition) in described.items():
        attrs = {"long_name": long_name, "definition": definition, "source": SOURCE} | (
            {"units": units} if units else {}
        )
        variables[name] = (dims, np.array(columns[column], dtype=float), attrs)
    found = trajectory.dataset(variables, epsilon=grid)
    return found.assign_attrs(populations=populations, walkers=walkers, sweeps=sweeps, multiplicity=multiplicity)


def _check(grid: np.ndarray, populations: int, walkers: int, sweeps: int, levels: int, multiplicity: int) -> None:
    if len(np.unique(grid)) < 2:
        raise SltGrokError(f"epsilons: expected at least two different thresholds, got {grid.tolist()}")
    if populations < 4 or populations % 2:
        raise SltGrokError(f"populations: expected an even number of at least 4, got {populations}")
    if walkers < 4 or walkers % 2:
        raise SltGrokError(f"walkers: expected an even number of at least 4, got {walkers}")
    for name, value in (("sweeps", sweeps), ("levels", levels), ("multiplicity", multiplicity)):
        if value < 1:
            raise SltGrokError(f"{name}: expected at least 1, got {value}")


def _interpolated(thresholds: np.ndarray, logs: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Return log V at the thresholds of the grid, linear in log epsilon.

    0 above the first death, NaN below the last.
    """
    finite = np.finfo(float)
    rising = np.log(np.clip(thresholds, finite.tiny, finite.max))[::-1]
    return np.interp(np.log(grid), rising, logs[::-1], left=np.nan, right=0.0)


def _slopes(curves: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Least-squares slope of each population's curve (populations, epsilon) against log epsilon."""
    reached = np.isfinite(curves).all(0)
    if reached.sum() < 2:
        return np.full(len(curves), np.nan)
    return np.polyfit(np.log(grid[reached]), curves[:, reached].T, 1)[0]


def _correction(multiplicity: int, middle: float, grid: np.ndarray, name: str) -> float:
    if multiplicity == 1:
        return 0.0
    below = math.log(middle) - np.log(grid).mean()
    if below <= 0:
        raise SltGrokError(
            f"epsilons: expected below the median excess loss in the ball, {middle:.3g} for {name}, "
            "where a multiplicity has a meaning"
        )
    return (multiplicity - 1) / below
