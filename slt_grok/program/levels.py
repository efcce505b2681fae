"""Least-squares programs of a network's centered logits over all pairs: clock, pizza and neurons.

Clocks of different frequencies are orthogonal on the grid, and so are pizzas, so each frequency is fitted separately to
y_k(a, b) of `slt_grok.program.reading`. Sources: Nanda et al. 2301.05217, section 4.1 (logits as sum_k alpha_k cos
w_k(a + b - c)); Zhong et al. 2306.17844, sections 3 and 5 (|cos w_k(a - b)/2|, and the accompanying circle of frequency
2k with distance factor |cos w_k(a - b)|).

A simple neuron is cos(w_k a + phi) + cos(w_k b + psi) (McCracken et al. 2505.18266). Trained transformers need more:
attention multiplies the two waves (2301.05217, section 4.2), and every embedding contains the second harmonic 2k along
with k; it makes up only 1 to 2% of a neuron's variance but a fifth of the logits' variance. A neuron therefore has the
six `WAVES` of its main frequency, and waves of other frequencies only where they matter (`ENTRY_SHARE`). The
pre-activations are least-squares projections. The output weights are the components of W_L = W_out W_U at the key
frequencies, adjusted by a ridge regression on the logits (`RIDGE`) to compensate for what the waves omit. Waves of one
token that bypass the neurons (the direct path of the residual stream) are fitted jointly.
"""

from dataclasses import replace
from typing import TypeVar

import numpy as np

from slt_grok.errors import SltGrokError
from slt_grok.program.activations import ACTIVATIONS
from slt_grok.program.program import Clock, Neurons, Pizza, Rotations
from slt_grok.program.reading import Reading
from slt_grok.program.tokens import ONE_TOKEN, WAVES, Tokens, Waves

R = TypeVar("R", bound=Rotations)

# A neuron keeps the waves of a frequency if their variance times the squared norm of the neuron's output weights
# exceeds this fraction of the sum over all neurons and frequencies. Ours; a neuron that keeps none is omitted.
ENTRY_SHARE = 3e-6
RIDGE = 0.03  # pull of the output weights toward W_L, relative to the mean variance of the neurons


def clock(reading: Reading, keys: np.ndarray | None = None) -> Clock:
    """Fit sum_k alpha_k cos w_k(s - c), alpha_k = 2 mean over a, b, c of L cos w_k(s - c).

    Parameters
    ----------
    reading : Reading
        A network.
    keys : ndarray or None, optional
        Frequencies to fit; by default `Reading.keys`.

    Raises
    ------
    SltGrokError
        The operation has no angles, or no frequency is given.
    """
    return _rotations(Clock, reading, keys)


def pizza(reading: Reading, keys: np.ndarray | None = None) -> Pizza:
    """Fit sum_k (alpha_k + beta_k |cos w_k d/2| + gamma_k |cos w_k d|) cos w_k(s - c); see `clock`."""
    return _rotations(Pizza, reading, keys)


def neurons(reading: Reading, keys: np.ndarray | None = None) -> Neurons:
    """Fit the neuron-level program of a network with one hidden layer.

    Parameters
    ----------
    reading : Reading
        A network.
    keys : ndarray or None, optional
        Frequencies to fit; by default `Reading.keys`.

    Raises
    ------
    SltGrokError
        An operation without angles, no frequencies, more than one hidden layer, or an unknown activation.
    """
    tokens, keys = _angles(reading, keys)
    hidden = reading.neurons
    if hidden is None:
        raise SltGrokError("program: the neuron level needs a network with one hidden layer, ReLU, GELU or quadratic")
    a, b, rows, logits = reading.on_group
    pre = hidden.pre[rows]
    waves = [_waves(tokens, k, keys, a, b, WAVES) for k in keys]
    design = np.concatenate([np.ones((len(a), 1)), *waves], 1)  # (m, 1 + 12 K)
    constant, *coefficients = _least_squares(design, pre)
    coefficients = np.reshape(coefficients, (len(keys), -1, pre.shape[1]))
    to_logits = hidden.to_logits[:, tokens.token]
    to_logits = to_logits - to_logits.mean(-1, keepdims=True)
    variance = np.stack([(w @ c).var(0) for w, c in zip(waves, coefficients, strict=True)])
    weight = variance * np.square(to_logits).sum(-1)
    kept = weight > ENTRY_SHARE * weight.sum()
    alive = kept.any(0)
    neuron, key = np.nonzero(kept[:, alive].T)
    entries = coefficients[key, :, np.flatnonzero(alive)[neuron]]
    cosine, sine = np.moveaxis(entries.reshape(len(neuron), len(WAVES), 2), -1, 0)
    size = np.hypot(cosine, sine)
    program = Neurons(
        tokens=tokens,
        outside=_outside(reading),
        keys=keys,
        activation=hidden.activation,
        neuron=neuron,
        frequency=keys[key],
        amplitude=size,
        phase=np.where(size > 0, np.arctan2(-sine, cosine), 0.0),
        constant=constant[alive],
        output=np.empty((alive.sum(), len(keys), 2)),
        past=np.empty((len(keys), len(ONE_TOKEN), 2, len(keys), 2)),
        shift=np.empty((len(keys), 2)),
    )
    answers = tokens.answer_waves(keys)
    norm = np.square(answers).sum(1)
    answers[norm < 1e-9 * tokens.order] = 0.0  # sin pi c
    norm = np.maximum(norm, 1.0)
    return _with_output(program, a, b, logits @ answers.T / norm, to_logits[alive] @ answers.T / norm)


def _rotations(kind: type[R], reading: Reading, keys: np.ndarray | None) -> R:
    tokens, keys = _angles(reading, keys)
    a, b, _, _ = reading.on_group
    _, d, _ = tokens.sums(a, b)
    fits = [np.linalg.lstsq(tokens.distance_factors(k, d)[:, : kind.factors], reading.along_clock(k)) for k in keys]
    return kind(tokens, _outside(reading), keys, np.array([coefficients for coefficients, *_ in fits]))


def _angles(reading: Reading, keys: np.ndarray | None) -> tuple[Tokens, np.ndarray]:
    """Get the angles of the tokens, and the frequencies to fit in ascending order."""
    if reading.tokens is None:
        raise SltGrokError("program: the labels are not the sum of angles of their tokens")
    keys = reading.keys if keys is None else np.sort(np.asarray(keys, dtype=np.int64))
    if not len(keys):
        raise SltGrokError("program: no frequency's clock explains more than a thousandth of the logits' variance")
    return reading.tokens, keys


def _outside(reading: Reading) -> np.ndarray:
    """Mean logit of the class 0 minus that of the other classes, for pairs with angles and for the others."""
    lead = reading.logits[:, 0] - reading.logits[:, 1:].mean(-1)
    inside = np.isin(np.arange(len(lead)), reading.on_group[2])
    return np.zeros(2) if inside.all() else np.array([lead[inside].mean(), lead[~inside].mean()])


def _with_output(program: Neurons, a: np.ndarray, b: np.ndarray, target: np.ndarray, read: np.ndarray) -> Neurons:
    """Fit the output weights, near those that were read, and the waves that bypass the neurons.

    Parameters
    ----------
    target : ndarray
        Cosine and sine components of the logits at the keys, (m, 2 K).
    read : ndarray
        The same components of W_L, (width, 2 K).
    """
    post = ACTIVATIONS[program.activation].function(program.pre(a, b))
    waves = [_waves(program.tokens, k, program.keys, a, b, ONE_TOKEN) for k in program.keys]
    past = np.concatenate([np.ones((len(a), 1)), *waves], 1)
    basis, size, _ = np.linalg.svd(past, full_matrices=False)
    basis = basis[:, size > 1e-9 * size[0]]
    free = post - basis @ (basis.T @ post)
    gram = free.T @ free
    scale = np.trace(gram) / len(gram) or 1.0  # neurons that are never active have no output weights to adjust
    held = RIDGE * scale * np.eye(len(gram))
    output = read + np.linalg.solve(gram + held, free.T @ (target - post @ read))
    rest = _least_squares(past, target - post @ output)
    return replace(
        program,
        output=output.reshape(program.output.shape),
        past=rest[1:].reshape(program.past.shape),
        shift=rest[0].reshape(program.shift.shape),
    )


def _waves(tokens: Tokens, frequency: int, keys: np.ndarray, a: np.ndarray, b: np.ndarray, waves: Waves) -> np.ndarray:
    """Compute `Tokens.waves`, with zeros for second harmonics that are also key frequencies, which count there."""
    values = tokens.waves(frequency, a, b, waves).reshape(len(a), len(waves), 2)
    double = min(2 * frequency % tokens.order, -2 * frequency % tokens.order)
    if double in keys and double != frequency:
        values[:, [2 in wave for wave in waves]] = 0.0
    return values.reshape(len(a), -1)


def _least_squares(design: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Compute the least-norm solution by the normal equations; columns are waves on the grid, orthogonal or zero."""
    return np.linalg.pinv(design.T @ design, rcond=1e-9, hermitian=True) @ (design.T @ target)
