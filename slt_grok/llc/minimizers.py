"""Whether a loss has a finite minimizer on a network that fits all samples, from what the loss does.

Right answers of growing size are passed to it: s times the one-hot logits of the labels, or s times the signs of
targets with two values. A cross-entropy then falls toward its infimum forever; a squared error or a label-smoothed
cross-entropy rises again, and a hinge loss reaches its minimum at a finite s.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from slt_grok.models.network import Loss

SIZES = 2.0 ** np.arange(-10, 30, 0.25)
SAMPLES, LARGEST_OUTPUT = 64, 1 << 17  # at most, samples and numbers of their outputs on which the loss is evaluated
ROUNDING = 1e-9  # relative to the fall of the loss
NEAR, NEARER = 1e-2, 1e-10  # remaining fractions of the fall
SLOW = 1.5  # ratio of the sizes at which they remain: 3 or more for a tail, up to 1.4 for a power up to (1 - s)^4
FALLING = 1e-3  # fraction of the fall that remains in the last doubling if there is no infimum


class LossKind(NamedTuple):
    """What a loss is like.

    Parameters
    ----------
    finite_minimizer : bool
        Whether a network that fits all samples has a finite minimizer.
    in_nats : bool
        Whether it is a cross-entropy in nats over classes: log C for equal outputs for the C classes.
    known : bool, optional
        Whether the loss could be evaluated; if not, a finite minimizer is assumed.
    """

    finite_minimizer: bool
    in_nats: bool
    known: bool = True


def loss_kind(loss: Loss, outputs: Tensor, samples: int, targets: Tensor) -> LossKind:
    """Find out what a loss does for right answers of growing size.

    Parameters
    ----------
    loss : Loss
        (outputs, targets) -> losses of the samples, or their mean.
    outputs, samples : Tensor, int
        Outputs of the network for that number of samples: their shape counts, and whether they are logits,
        log-probabilities or probabilities.
    targets : Tensor
        Targets of all samples. If they are neither integers nor of two values, the loss has a finite minimizer.
    """
    count = max(1, min(SAMPLES, len(targets), LARGEST_OUTPUT * samples // max(1, outputs.numel())))
    rows = torch.linspace(0, len(targets) - 1, count).long()
    answers = _right_answers(outputs, samples, targets, rows)
    if answers is None:
        return LossKind(finite_minimizer=True, in_nats=False)
    direction, axis = answers
    classes = 2 if axis is None else direction.shape[axis]
    for produced in _produced(outputs, axis):
        try:
            with torch.no_grad():
                start, *values = [
                    loss(produced(size * direction), targets[rows]).double().mean().item() for size in (0.0, *SIZES)
                ]
        except Exception:  # a loss that takes no such outputs
            continue
        if math.isfinite(start + values[0]):
            in_nats = math.isclose(start, math.log(classes), rel_tol=1e-6)
            return LossKind(not _falls_forever(start, np.array(values)), in_nats)
    return LossKind(finite_minimizer=True, in_nats=False, known=False)


def _right_answers(outputs: Tensor, samples: int, targets: Tensor, rows: Tensor) -> tuple[Tensor, int | None] | None:
    """Build right answers of size 1 for some samples, with the axis of the classes, None for two values."""
    if not outputs.ndim or len(outputs) % samples:
        return None
    chosen, each = targets[rows], len(outputs) // samples
    if each > 1:  # a sample's positions follow each other
        chosen = chosen.flatten()
    shape = (len(rows) * each, *outputs.shape[1:])
    if chosen.numel() == math.prod(shape):
        low, high = targets.min().item(), targets.max().item()
        if (low, high) not in ((0, 1), (-1, 1)) or not ((targets == low) | (targets == high)).all():
            return None
        return (2.0 * (chosen == high) - 1).double().reshape(shape), None
    if targets.is_floating_point() or len(shape) != chosen.ndim + 1:
        return None
    for axis in (1, len(shape) - 1):
        if shape[:axis] + shape[axis + 1 :] == chosen.shape:
            known = (chosen >= 0) & (chosen < shape[axis])  # others are ignored
            answers = one_hot(chosen * known, shape[axis]) * known[..., None]
            return answers.movedim(-1, axis).double(), axis
    return None


def _produced(outputs: Tensor, axis: int | None) -> list[Callable[[Tensor], Tensor]]:
    """List maps from logits to what the network may produce, the first that the loss takes to be used."""
    if axis is None:
        return [torch.clone, torch.sigmoid]
    ones = torch.ones_like(outputs.sum(axis))
    if torch.allclose(outputs.logsumexp(axis).exp(), ones, rtol=1e-4):
        return [partial(torch.log_softmax, dim=axis)]
    if (outputs >= 0).all() and torch.allclose(outputs.sum(axis), ones, rtol=1e-4):
        return [partial(torch.softmax, dim=axis)]
    return [torch.clone]


def _falls_forever(start: float, values: np.ndarray) -> bool:
    """Return whether values at `SIZES` never rise, and have a tail rather than an end at a finite size."""
    broken = ~np.isfinite(values)
    values = values[: broken.argmax()] if broken.any() else values
    if len(values) < 5 or not start > values[-1]:
        return False
    fall = start - values[-1]
    if (np.diff(values, prepend=start) > ROUNDING * fall).any():
        return False
    left = (values - values[-1]) / fall
    near, nearer = SIZES[(left <= NEAR).argmax()], SIZES[(left <= NEARER).argmax()]
    return bool(nearer > SLOW * near or left[-5] > FALLING)
