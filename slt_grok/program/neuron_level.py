"""A network neuron by neuron: each a few waves of (a, b) through the activation into waves of the answer.

A simple neuron is cos(w_k a + phi) + cos(w_k b + psi) (McCracken et al. 2505.18266). Trained transformers need more to
be imitated: attention makes products of the two waves (2301.05217, section 4.2), and every embedding has the second
harmonics 2k beside k, whose 1 to 2% of a neuron's variance carry a fifth of the logits' variance. So a neuron has the
six `WAVES` of its frequency, and of another one only where those matter (`ENTRY_SHARE`).

The pre-activations are least-squares projections. The output weights are the parts of W_L = W_out W_U at the key
frequencies, moved by a ridge regression on the logits (`RIDGE`) to make up for what the waves leave out; waves of one
token that reach the logits past the neurons (the direct path of the residual stream) are fitted with them.
"""

import numpy as np

from slt_grok.errors import SltGrokError
from slt_grok.program.program import ACTIVATIONS, ONE_TOKEN, WAVES, Neurons, answer_waves, wave_values
from slt_grok.program.reading import Reading
from slt_grok.program.rotations import checked, outside
from slt_grok.program.tokens import Tokens

# Waves of one frequency are kept in a neuron where their variance times the squared norm of the neuron's output weights
# is more than this share of the sum over all neurons and frequencies. Ours; a neuron without any is left out.
ENTRY_SHARE = 3e-6
RIDGE = 0.03  # of the neurons' mean variance


def neurons(reading: Reading, keys: np.ndarray | None = None, ridge: float | None = RIDGE) -> Neurons:
    """Return the neuron-level program of a network with one hidden layer.

    Parameters
    ----------
    reading : Reading
        A network.
    keys : ndarray or None, optional
        The frequencies; those of `Reading.keys` where left out.
    ridge : float or None, optional
        How much the output weights are held at those of W_L, as a share of the neurons' mean variance; None leaves them
        as they are read.

    Raises
    ------
    SltGrokError
        An operation without angles, no frequency, or not one hidden layer of a known activation.
    """
    keys = checked(reading, keys)
    hidden, tokens = reading.neurons, reading.tokens
    assert tokens is not None
    if hidden is None:
        raise SltGrokError("program: the neuron level needs a network with one hidden layer, ReLU, GELU or quadratic")
    a, b, rows, logits = reading.on_group
    pre = hidden.pre[rows]
    every = [_own_waves(tokens, k, keys, a, b, WAVES) for k in keys]
    design = np.concatenate([np.ones((len(a), 1)), *every], 1)
    fitted = _least_squares(design, pre)  # (1 + 12 K, width)
    coefficients = fitted[1:].reshape(len(keys), -1, pre.shape[1])
    to_logits = hidden.to_logits[:, tokens.token]
    to_logits = to_logits - to_logits.mean(-1, keepdims=True)
    variance = np.stack([(w @ c).var(0) for w, c in zip(every, coefficients, strict=True)])
    weight = variance * np.square(to_logits).sum(-1)
    kept = weight > ENTRY_SHARE * weight.sum()
    alive = kept.any(0)
    neuron, key = np.nonzero(kept[:, alive].T)
    entries = coefficients[key, :, np.flatnonzero(alive)[neuron]]
    cosine, sine = np.moveaxis(entries.reshape(len(neuron), len(WAVES), 2), -1, 0)
    size = np.hypot(cosine, sine)
    found = Neurons(
        tokens=tokens,
        outside=outside(reading),
        keys=keys,
        activation=hidden.activation,
        neuron=neuron,
        frequency=keys[key],
        amplitude=size,
        phase=np.where(size > 0, np.arctan2(-sine, cosine), 0.0),
        constant=fitted[0, alive],
        output=np.empty((alive.sum(), len(keys), 2)),
        past=np.empty((len(keys), len(ONE_TOKEN), 2, len(keys), 2)),
        shift=np.empty((len(keys), 2)),
    )
    answers = answer_waves(tokens, keys)
    norm = np.square(answers).sum(1)
    answers[norm < 1e-9 * tokens.order] = 0.0  # sin pi c
    norm = np.maximum(norm, 1.0)
    read = to_logits[alive] @ answers.T / norm
    return _with_output(found, a, b, logits @ answers.T / norm, read, ridge)


def _with_output(
    program: Neurons, a: np.ndarray, b: np.ndarray, target: np.ndarray, read: np.ndarray, ridge: float | None
) -> Neurons:
    """Return the program with output weights near those that were read, and what goes past the neurons.

    Parameters
    ----------
    target : ndarray
        Cosine and sine parts of the logits at the keys, (m, 2 K).
    read : ndarray
        Those of W_L, (width, 2 K).
    """
    post = ACTIVATIONS[program.activation](program.pre(a, b))
    waves = [_own_waves(program.tokens, k, program.keys, a, b, ONE_TOKEN) for k in program.keys]
    past = np.concatenate([np.ones((len(a), 1)), *waves], 1)
    output = read
    if ridge is not None:
        basis, size, _ = np.linalg.svd(past, full_matrices=False)
        basis = basis[:, size > 1e-9 * size[0]]
        free = post - basis @ (basis.T @ post)
        left = target - post @ read
        gram = free.T @ free
        scale = np.trace(gram) / len(gram) or 1.0  # neurons that are never on have no output weights to move
        held = ridge * scale * np.eye(len(gram))
        output = read + np.linalg.solve(gram + held, free.T @ left)
    rest = _least_squares(past, target - post @ output)
    keys = len(program.keys)
    return program.with_numbers(
        {
            "output": output.reshape(-1, keys, 2),
            "past": rest[1:].reshape(keys, len(ONE_TOKEN), 2, keys, 2),
            "shift": rest[0].reshape(keys, 2),
        }
    )


def _own_waves(
    tokens: Tokens, frequency: int, keys: np.ndarray, a: np.ndarray, b: np.ndarray, waves: tuple[tuple[int, int], ...]
) -> np.ndarray:
    """`wave_values`, with zeros for second harmonics that are another key frequency: they are counted there."""
    found = wave_values(tokens, frequency, a, b, waves).reshape(len(a), len(waves), 2)
    double = min(2 * frequency % tokens.order, -2 * frequency % tokens.order)
    if double in keys and double != frequency:
        found[:, [2 in wave for wave in waves]] = 0.0
    return found.reshape(len(a), -1)


def _least_squares(design: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the shortest solution, by the normal equations: columns are waves of the grid, orthogonal or zero."""
    return np.linalg.pinv(design.T @ design, rcond=1e-9, hermitian=True) @ (design.T @ target)
