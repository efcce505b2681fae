"""The ideal clock and the pizza of a network, by least squares on its centered logits over all pairs.

Clocks of different frequencies are orthogonal on the grid, and so are the pizzas: each frequency is fitted alone, on
y_k(a, b) of `slt_grok.program.reading`. Sources: Nanda et al. 2301.05217, section 4.1 (logits as sum_k alpha_k
cos w_k(a + b - c)); Zhong et al. 2306.17844, sections 3 and 5 (|cos w_k(a - b)/2|, and the accompanying circle of
frequency 2k, whose distance factor is |cos w_k(a - b)|).
"""

import numpy as np

from slt_grok.errors import SltGrokError
from slt_grok.program.program import Rotations, distance_factors
from slt_grok.program.reading import Reading


def clock(reading: Reading, keys: np.ndarray | None = None) -> Rotations:
    """sum_k alpha_k cos w_k(s - c), alpha_k = 2 mean over a, b, c of L cos w_k(s - c).

    Parameters
    ----------
    reading : Reading
        A network.
    keys : ndarray or None, optional
        The frequencies; those of `Reading.keys` where left out.

    Raises
    ------
    SltGrokError
        An operation without angles, or no frequency.
    """
    return _rotations(reading, keys, 1)


def pizza(reading: Reading, keys: np.ndarray | None = None) -> Rotations:
    """sum_k (alpha_k + beta_k |cos w_k d/2| + gamma_k |cos w_k d|) cos w_k(s - c); as `clock`."""
    return _rotations(reading, keys, 3)


def _rotations(reading: Reading, keys: np.ndarray | None, factors: int) -> Rotations:
    keys = checked(reading, keys)
    tokens = reading.tokens
    assert tokens is not None
    a, b, _, _ = reading.on_group
    _, d, _ = tokens.sums(a, b)
    amplitude = np.empty((len(keys), factors))
    for i, k in enumerate(keys):
        amplitude[i] = np.linalg.lstsq(distance_factors(tokens, k, d)[:, :factors], reading.along_clock(k))[0]
    return Rotations(tokens, outside(reading), keys, amplitude)


def checked(reading: Reading, keys: np.ndarray | None) -> np.ndarray:
    """Return the frequencies to take, ascending.

    Raises
    ------
    SltGrokError
        An operation without angles, or no frequency.
    """
    if reading.tokens is None:
        raise SltGrokError(f"program: {reading.task.operation} is the sum of no angles of its tokens")
    keys = reading.keys if keys is None else np.sort(np.asarray(keys, dtype=np.int64))
    if not len(keys):
        raise SltGrokError("program: no frequency's clock holds more than a thousandth of the logits' variance")
    return keys


def outside(reading: Reading) -> np.ndarray:
    """Mean logit of the class 0 less that of the other classes, for pairs that have angles and those that have not."""
    assert reading.tokens is not None
    if reading.tokens.order == reading.modulus:
        return np.zeros(2)
    lead = reading.logits[:, 0] - reading.logits[:, 1:].mean(-1)
    inside = np.zeros(len(lead), dtype=bool)
    inside[reading.on_group[2]] = True
    return np.array([lead[inside].mean(), lead[~inside].mean()])
