"""Curves like those of a study, with planted events, lags and couplings, for the calibration of `slt_grok.transitions`.

Places are in x = log(1 + step). LLC: a rise, a plateau, a drop of a generalized logistic shape; noise of 1 to 5% whose
standard errors are themselves off by a log-normal factor of 0.25. Test accuracy: a logistic with binomial noise of
2,000 test pairs.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

LAST = 20_000  # step
TEST_PAIRS = 2000
ERROR_OF_ERROR = 0.25
FRACTIONS = np.array([0.1, 0.5, 0.9])


def checkpoints(count: int, spacing: str) -> np.ndarray:
    """About `count` steps from 0 to `LAST`: `log` spaced, or half of them `linear`, as the runs have them."""
    log = np.geomspace(1, LAST, count if spacing == "log" else count // 2)
    linear = np.linspace(0, LAST, count // 2) if spacing == "linear" else []
    return np.unique(np.r_[0, log, linear].round().astype(int))


@dataclass(frozen=True)
class Drops:
    """LLC curves (C, n) with standard errors, and where their events are (C, 3)."""

    values: np.ndarray
    se: np.ndarray
    events: np.ndarray


def llc_curves(
    x: np.ndarray,
    middle: np.ndarray,
    width: np.ndarray,
    asymmetry: np.ndarray,
    noise: np.ndarray,
    size: float,
    generator: np.random.Generator,
) -> Drops:
    """LLC curves from 5 to 150 to 150 - `size`; middle, width, asymmetry and relative noise are (C,)."""
    k = asymmetry[:, None]
    z = (x - middle[:, None]) / width[:, None] + logit(2 ** (-1 / k))
    rise = expit((x - np.log(80)) / 0.3)
    truth = 5 + 145 * rise - size * expit(z) ** k
    se = noise[:, None] * np.abs(truth)
    reported = se * np.exp(ERROR_OF_ERROR * generator.standard_normal(se.shape))
    reach = logit(FRACTIONS ** (1 / k)) - logit(2 ** (-1 / k))
    return Drops(truth + se * generator.standard_normal(se.shape), reported, middle[:, None] + width[:, None] * reach)


def accuracy_curves(x: np.ndarray, middle: np.ndarray, width: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Test accuracies (C, n) that rise from 1% to 100%."""
    share = 0.01 + 0.99 * expit((x - middle[:, None]) / width[:, None])
    return generator.binomial(TEST_PAIRS, share) / TEST_PAIRS


@dataclass(frozen=True)
class Coupled:
    """Increments of LLC, circuit measure (E, S, n) and covariates (E, S, 2, n)."""

    llc: np.ndarray
    circuit: np.ndarray
    covariates: np.ndarray


def coupled_increments(
    experiments: int, seeds: int, count: int, coupling: float, trend: str, generator: np.random.Generator
) -> Coupled:
    """Increments of curves that share the course of training, with a coupling of LLC and circuit in each seed.

    All four curves are a logistic in x; log loss and weight norm take part of it, and each curve wanders by itself
    with noise that is larger while the transition lasts. `coupling` is the share of the LLC's and the circuit's own
    movement that is the same. `trend`: `shared` (the same place in all seeds), `own` (places scatter over seeds by
    0.25 in log step) or `none`.
    """
    x = np.log1p(checkpoints(count, "linear"))
    scatter = {"shared": 0.0, "own": 0.25, "none": 0.0}[trend]
    middle = 7.5 + scatter * generator.standard_normal((experiments, seeds, 1))
    course = expit((x - middle) / 0.25)
    bump = 4 * course * (1 - course)
    amount = 0.0 if trend == "none" else 1.0

    def own() -> np.ndarray:
        return generator.standard_normal(course.shape)

    active = 0.02 * (0.3 + amount * bump)  # what wanders, wanders where things happen
    common, of_llc, of_circuit, of_loss, of_norm = (active * own() for _ in range(5))
    part = np.sqrt(coupling)
    rest = np.sqrt(1 - coupling)
    moves = [part * common + rest * of_llc, part * common + rest * of_circuit, of_loss, of_norm]
    curves = [amount * course + move.cumsum(2) for move in moves]
    llc, circuit, loss, norm = (np.diff(one, axis=2) for one in curves)
    return Coupled(llc, circuit, np.stack([loss, norm], axis=2))
