"""Laws of a quantity as a function of a size p, fitted to seeds: y = a g(p; s) (1 + noise).

Each law is a scale a times a shape with at most two parameters s. The scale is linear in log y, so the best shape is
found on a grid: log y = log a + log g(p; s) + normal noise with the same variance at all p. The sum of squares only
needs the mean over seeds at each p and the scatter of the seeds around it, so that a thousand bootstrap samples cost
one matrix product.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from slt_grok.errors import SltGrokError

RATIOS = np.geomspace(1e-3, 1e3, 1201)  # f(largest p) / f(smallest p) of straight lines
ROUNDING = 1e-10  # rounding error of log y
Shape = Callable[[np.ndarray], tuple[np.ndarray, dict[str, np.ndarray]]]


class Law(NamedTuple):
    """A law of growth with the size.

    Parameters
    ----------
    formula : str
        The formula, for tables and figures.
    parameters : int
        Number of parameters, including a.
    shape : callable
        Maps sizes (P,) to log g on its grid of s (S, P), and a dict of parameters at scale 1 (S,); those whose names
        start with `a` or `b` are multiplied by the scale.
    values : callable
        `(p, **parameters) -> y`, with broadcasting.
    special_cases : tuple of str, optional
        Laws contained in this one, which it cannot fit much worse.
    """

    formula: str
    parameters: int
    shape: Shape
    values: Callable[..., Any]
    special_cases: tuple[str, ...] = ()


def _fixed(exponent: float) -> Shape:
    return lambda p: (exponent * np.log(p)[None], {"a": np.ones(1)})


def _power(p: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    exponents = np.linspace(-6, 6, 2401)
    return exponents[:, None] * np.log(p), {"a": np.ones(len(exponents)), "exponent": exponents}


def _straight(axis: Callable[[np.ndarray], np.ndarray]) -> Shape:
    """Parametrize a straight line over axis(p), positive at all sizes, by the ratio of its ends."""

    def shape(p: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        x = axis(p)
        slope = (RATIOS - 1) / (x.max() - x.min())
        height = 1 - slope * x.min()
        return np.log(height[:, None] + slope[:, None] * x), {"a": height, "b": slope}

    return shape


def _saturating(p: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    half = np.geomspace(p.min() / 100, 100 * p.max(), 1201)
    return -np.log1p(half[:, None] / p), {"a": np.ones(len(half)), "half_size": half}


def _floor(p: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    exponent, share = (grid.ravel() for grid in np.meshgrid(np.geomspace(0.1, 6, 60), np.linspace(0, 1, 101)[:-1]))
    falling = (1 - share[:, None]) * (p / p.max()) ** -exponent[:, None]
    parameters = {"a": share, "b": (1 - share) * p.max() ** exponent, "exponent": exponent}
    return np.log(share[:, None] + falling), parameters


LAWS = {
    "constant": Law("a", 1, _fixed(0), lambda p, a: a + 0 * p),
    "proportional": Law("a p", 1, _fixed(1), lambda p, a: a * p),
    "quadratic": Law("a p^2", 1, _fixed(2), lambda p, a: a * p**2),
    "affine": Law("a + b p", 2, _straight(lambda p: p), lambda p, a, b: a + b * p, ("constant", "proportional")),
    "logarithmic": Law("a + b log p", 2, _straight(np.log), lambda p, a, b: a + b * np.log(p), ("constant",)),
    "power": Law(
        "a p^exponent", 2, _power, lambda p, a, exponent: a * p**exponent, ("constant", "proportional", "quadratic")
    ),
    "saturating": Law(
        "a p / (p + half_size)",
        2,
        _saturating,
        lambda p, a, half_size: a * p / (p + half_size),
        ("constant", "proportional"),
    ),
}
FLOOR = Law(  # contains every decreasing power law
    "a + b p^-exponent", 3, _floor, lambda p, a, b, exponent: a + b * p**-exponent, ("constant",)
)


class Sizes(NamedTuple):
    """Seeds grouped by size.

    Parameters
    ----------
    p : ndarray
        Sizes, ascending, (P,).
    logs : tuple of ndarray
        log y of the seeds at each size, P arrays.
    omitted : tuple of str
        A sentence for each row of the table that is omitted.
    """

    p: np.ndarray
    logs: tuple[np.ndarray, ...]
    omitted: tuple[str, ...]

    @classmethod
    def from_table(cls, table: pd.DataFrame, value: str, size: str) -> "Sizes":
        """Group the seeds of a table with one row per seed.

        Raises
        ------
        SltGrokError
            A column is missing, or no row has a positive value.
        """
        for column in (value, size):
            if column not in table:
                raise SltGrokError(f"table: expected a column {column}, but it is missing")
        values, sizes = (np.asarray(pd.to_numeric(table[name], errors="coerce"), float) for name in (value, size))
        good = np.isfinite(values) & (values > 0) & np.isfinite(sizes) & (sizes > 0)
        if not good.any():
            raise SltGrokError(f"table: expected rows with {value} and {size} above 0, found none")
        seeds = table["seed"] if "seed" in table else pd.Series(range(len(table)), index=table.index)
        rows = zip(table[size], seeds, values, good, strict=True)
        omitted = tuple(
            f"{size} {p}, seed {seed}: {value} is {'missing' if np.isnan(y) else f'{y:.4g}, not above 0'}"
            for p, seed, y, usable in rows
            if not usable
        )
        p = np.unique(sizes[good])
        return cls(p, tuple(np.log(values[good & (sizes == one_size)]) for one_size in p), omitted)

    @property
    def counts(self) -> np.ndarray:
        """Number of seeds at each size, (P,)."""
        return np.array([len(log) for log in self.logs])

    @property
    def means(self) -> np.ndarray:
        """Mean log y at each size, (P,)."""
        return np.array([log.mean() for log in self.logs])

    @property
    def scatter(self) -> float:
        """Sum of squares of the seeds around the means; 0 if it is only rounding error."""
        squares = float(sum(((log - log.mean()) ** 2).sum() for log in self.logs))
        return squares if squares > ROUNDING**2 else 0.0

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the scatter."""
        return int((self.counts - 1).sum())

    def without(self, index: int) -> "Sizes":
        """Copy with one size omitted."""
        return Sizes(np.delete(self.p, index), self.logs[:index] + self.logs[index + 1 :], ())

    def redrawn(self, count: int, generator: np.random.Generator) -> np.ndarray:
        """Draw bootstrap samples of the means, (count, P), from residuals of all sizes, with replacement.

        A residual from m seeds is too small by a factor sqrt(m / (m - 1)), which is corrected. Requires scatter.
        """
        pool = np.concatenate(
            [(log - log.mean()) * (len(log) / (len(log) - 1)) ** 0.5 for log in self.logs if len(log) > 1]
        )
        drawn = [generator.choice(pool, (count, m)).mean(1) for m in self.counts]
        return self.means + np.stack(drawn, 1)


class Fit(NamedTuple):
    """A fitted law: the weighted sum of squares around it, (...), and its parameters by name, (...)."""

    misfit: np.ndarray
    parameters: dict[str, np.ndarray]


def fit(law: Law, p: np.ndarray, counts: np.ndarray, means: np.ndarray) -> Fit:
    """Fit a law to mean logarithms by least squares.

    Parameters
    ----------
    p, counts : ndarray
        Sizes and their numbers of seeds, (P,).
    means : ndarray
        Mean log y, (..., P).
    """
    shapes, derived = law.shape(p)
    weights = counts / counts.sum()
    heights, levels = shapes @ weights, means @ weights
    shapes, means = shapes - heights[..., None], means - levels[..., None]
    squares = (means * counts) @ (-2 * shapes.T)  # the sum of squares is quadratic in both
    squares += (shapes**2) @ counts
    best = squares.argmin(-1)
    misfit = np.take_along_axis(squares, best[..., None], -1)[..., 0] + (means**2) @ counts
    scale = np.exp(levels - heights[best])
    parameters = {n: v[best] * (scale if n[0] in "ab" else 1.0) for n, v in derived.items()}
    return Fit(np.maximum(misfit, 0.0), parameters)


def predict(law: Law, parameters: dict[str, np.ndarray], p: np.ndarray) -> np.ndarray:
    """Evaluate a law (..., P) at sizes p (P,) from its parameters by name (...)."""
    return law.values(p, **{name: np.asarray(value)[..., None] for name, value in parameters.items()})
