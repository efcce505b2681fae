"""Activations of programs: in numpy, in the text of a written program, and the range of their slopes."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import erf
from scipy.stats import norm

Range = tuple[np.ndarray, np.ndarray]


class Activation(NamedTuple):
    """An activation of one of the package's models.

    Parameters
    ----------
    function : callable
        The activation of an array.
    slopes : callable
        (low, high) -> the least and largest slope for inputs between these bounds, elementwise; certificates are sound
        only if no slope is outside.
    source : str
        The activation of the array `hidden`, in a written program.
    """

    function: Callable[[np.ndarray], np.ndarray]
    slopes: Callable[[np.ndarray, np.ndarray], Range]
    source: str


def _gelu_slopes(low: np.ndarray, high: np.ndarray) -> Range:
    """GELU's slope increases from -sqrt 2 to sqrt 2 and decreases outside."""
    points = [low, high, np.clip(-np.sqrt(2), low, high), np.clip(np.sqrt(2), low, high)]
    slopes = np.stack([norm.cdf(x) + x * norm.pdf(x) for x in points])
    return slopes.min(0), slopes.max(0)


ACTIVATIONS = {  # by their names in `slt_grok.models.model.ACTIVATIONS`
    "relu": Activation(
        lambda x: np.maximum(x, 0),
        lambda low, high: ((low > 0).astype(float), (high > 0).astype(float)),
        "np.maximum(hidden, 0)",
    ),
    "quadratic": Activation(np.square, lambda low, high: (2 * low, 2 * high), "hidden**2"),
    "gelu": Activation(
        lambda x: x * (1 + erf(x / math.sqrt(2))) / 2,
        _gelu_slopes,
        "(hidden * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2))) / 2)",
    ),
}
