"""Programs: what a network computes, as formulas of few numbers that can be run.

    Rotations   logits sum_k (alpha_k + beta_k |cos w_k d/2| + gamma_k |cos w_k d|) cos w_k(s - c), with s = a + b and
                d = a - b. With alpha alone it is the ideal clock (Nanda et al. 2301.05217, section 4.1), with the rest
                the pizza and its accompanying circle of frequency 2k (Zhong et al. 2306.17844, sections 3 and 5)
    Neurons     neuron by neuron: waves of one frequency through the activation into cos w_k c and sin w_k c
                (McCracken et al. 2505.18266; Gromov 2301.02679)
    Table       answers of listed pairs, beside another program for all other pairs or alone (`slt_grok.program.table`)

    >>> program.logits(a, b)          # float64 (..., p), of integer arrays a and b of one shape
    >>> program.answer(a, b)          # int64, the class of the largest logit
    >>> program.numbers               # name -> array: every real number that stands in it, in the order of its fields
    >>> program.with_numbers({...})   # the same program with other ones: rounding, surgery
    >>> program.relabeled(m)         # the program of the network whose tokens t are renamed m t

Angles are those of `slt_grok.program.tokens`: the discrete logarithm for multiplication, a minus sign for subtraction.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from scipy.special import erf

from slt_grok.errors import SltGrokError
from slt_grok.program.tokens import Tokens

ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "quadratic": np.square,
    "gelu": lambda x: x * (1 + erf(x / math.sqrt(2))) / 2,
}
# Arguments i j_a + j sign j_b of the waves that a neuron may have, in this order: the pair of cosines, the products
# that attention makes of them, the second harmonics.
WAVES = ((1, 0), (0, 1), (1, 1), (1, -1), (2, 0), (0, 2))
ONE_TOKEN = ((1, 0), (0, 1), (2, 0), (0, 2))


@dataclass(frozen=True)
class Program(ABC):
    """A formula for the logits of a network.

    Parameters
    ----------
    tokens : Tokens
        Modulus and operation.
    """

    NUMBERS: ClassVar[tuple[str, ...]] = ()  # fields that hold real numbers

    tokens: Tokens

    @property
    @abstractmethod
    def level(self) -> str:
        """`clock`, `pizza`, `neurons`, or `table`, `clock and table`, ..."""

    @property
    @abstractmethod
    def frequencies(self) -> np.ndarray:
        """The frequencies that are in it, ascending, int64."""

    @abstractmethod
    def logits(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Logits of all p answers, float64 (..., p); their mean over the answers means nothing."""

    def answer(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the answer with the largest logit, int64 like a; the least one of equals."""
        return self.logits(a, b).argmax(-1)

    def grid(self) -> np.ndarray:
        """Logits of all pairs in lexicographic order, (p^2, p)."""
        return self.logits(*pairs(self.tokens.modulus))

    @property
    def numbers(self) -> dict[str, np.ndarray]:
        """Name -> every real number of that name in the program."""
        return {name: np.asarray(getattr(self, name)) for name in self.NUMBERS}

    def with_numbers(self, numbers: Mapping[str, np.ndarray]) -> Self:
        """Return the same program with other numbers of the same shapes; those not named stay."""
        return replace(self, **numbers)

    @abstractmethod
    def relabeled(self, factor: int) -> "Program":
        """Return the program of the network whose tokens and answers t are renamed factor t (addition and subtraction).

        Frequency k becomes k factor^-1 mod p; nothing else changes, but the sign of phases where that is over p/2.

        Raises
        ------
        SltGrokError
            Multiplication, where this renaming is none of the group.
        """

    def renamed(self, factor: int) -> tuple[np.ndarray, np.ndarray]:
        """Return new frequencies in 1..(p-1)/2, in the order of `frequencies`, and signs (-1 where p - k is taken)."""
        p = self.tokens.modulus
        if self.tokens.operation == "multiplication":
            raise SltGrokError(
                "program: expected addition or subtraction to rename tokens t -> m t, got multiplication"
            )
        moved = self.frequencies * pow(factor, -1, p) % p
        return np.minimum(moved, p - moved), np.where(moved > p - moved, -1, 1)


def pairs(modulus: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a and b of all pairs in lexicographic order, int64 (p^2,) each."""
    a, b = np.divmod(np.arange(modulus**2), modulus)
    return a, b


@dataclass(frozen=True)
class _OnGroup(Program):
    """A program on the elements of the group, with a rule for the token that has no angle (0 of multiplication).

    Parameters
    ----------
    outside : ndarray
        (logit of the class 0 beside the mean of the others, for pairs in the group and for pairs with a 0); of no
        consequence where all tokens have angles.
    """

    outside: np.ndarray

    def logits(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Logits (..., p), see the class."""
        a, b = np.broadcast_arrays(a, b)
        _, _, inside = self.tokens.sums(a, b)
        found = np.zeros((*a.shape, self.tokens.modulus))
        if self.tokens.order < self.tokens.modulus:
            found[..., 0] = np.where(inside, *self.outside)
        found[inside[..., None] & (self.tokens.position >= 0)] = self._of_group(a[inside], b[inside])[
            :, self.tokens.position[self.tokens.position >= 0]
        ].ravel()
        return found

    @abstractmethod
    def _of_group(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Logits of the elements j = 0..n-1 for m pairs in the group, (m, n)."""


@dataclass(frozen=True)
class Rotations(_OnGroup):
    """sum_k u_k(d) cos w_k(s - c), u_k(d) = alpha_k + beta_k |cos w_k d/2| + gamma_k |cos w_k d|.

    Parameters
    ----------
    keys : ndarray
        The frequencies k, int64 (K,), ascending.
    amplitude : ndarray
        alpha_k, and for a pizza beta_k and gamma_k beside, (K, 1) or (K, 3), in the logits' unit.
    """

    NUMBERS = ("amplitude",)

    keys: np.ndarray
    amplitude: np.ndarray

    @property
    def level(self) -> str:
        """`clock` or `pizza`."""
        return "clock" if self.amplitude.shape[1] == 1 else "pizza"

    @property
    def frequencies(self) -> np.ndarray:
        """The keys."""
        return self.keys

    def _of_group(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        s, d, _ = self.tokens.sums(a, b)
        c = np.arange(self.tokens.order)
        found = np.zeros((len(a), len(c)))
        for k, amplitude in zip(self.keys, self.amplitude, strict=True):
            size = distance_factors(self.tokens, k, d)[:, : len(amplitude)] @ amplitude
            angle_s, angle_c = self.tokens.angle(k, s), self.tokens.angle(k, c)
            found += (size * np.cos(angle_s))[:, None] * np.cos(angle_c)
            found += (size * np.sin(angle_s))[:, None] * np.sin(angle_c)
        return found

    def answer(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """See `Program`; a clock's answer depends on the sum alone and is looked up."""
        if self.level != "clock":
            return super().answer(a, b)
        a, b = np.broadcast_arrays(a, b)
        s, _, inside = self.tokens.sums(a, b)
        of_sum = super().answer(self.tokens.token, self.tokens.token[:1])
        return np.where(inside, of_sum[s], super().answer(np.zeros(1, int), np.zeros(1, int)))

    def relabeled(self, factor: int) -> "Rotations":
        """See `Program`."""
        keys, _ = self.renamed(factor)
        order = keys.argsort()
        return replace(self, keys=keys[order], amplitude=self.amplitude[order])


def distance_factors(tokens: Tokens, frequency: int, d: np.ndarray) -> np.ndarray:
    """1, |cos w_k d/2| and |cos w_k d|, (..., 3)."""
    angle = tokens.angle(frequency, d)
    return np.stack([np.ones_like(angle), np.abs(np.cos(angle / 2)), np.abs(np.cos(angle))], -1)


@dataclass(frozen=True)
class Neurons(_OnGroup):
    """logits = sum_n act(h_n) W_n(c) + D(c), every neuron a sum of waves of (a, b).

    h_n = constant_n + sum_k sum_ij A cos(w_k(i a + j b) + phi), mostly of one frequency k; W_n(c) = sum_K (out_nK0
    cos w_K c + out_nK1 sin w_K c); D are the waves of one token, (1, 0), (0, 1), (2, 0), (0, 2) of `WAVES`, that reach
    the logits past the neurons.

    Parameters
    ----------
    keys : ndarray
        The frequencies K, int64 (K,), ascending.
    activation : str
        `relu`, `quadratic` or `gelu`.
    neuron, frequency : ndarray
        Of each entry, int64 (entry,): neuron n has waves of frequency k.
    amplitude, phase : ndarray
        A and phi of each entry, (entry, wave) in the order of `WAVES`; phases in (-pi, pi].
    constant : ndarray
        (width,).
    output : ndarray
        (width, K, 2).
    past : ndarray
        D, cosine and sine part of w_K c for cosine and sine of each wave of w_k, (K, 4, 2, K, 2).
    shift : ndarray
        What every pair has in its cosine and sine parts of w_K c, (K, 2).
    """

    NUMBERS = ("constant", "amplitude", "phase", "output", "past", "shift")

    keys: np.ndarray
    activation: str
    neuron: np.ndarray
    frequency: np.ndarray
    amplitude: np.ndarray
    phase: np.ndarray
    constant: np.ndarray
    output: np.ndarray
    past: np.ndarray
    shift: np.ndarray

    @property
    def level(self) -> str:
        """`neurons`."""
        return "neurons"

    @property
    def frequencies(self) -> np.ndarray:
        """The keys."""
        return self.keys

    def pre(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Pre-activations of m pairs in the group, (m, width)."""
        found = np.tile(self.constant, (len(a), 1))
        for k in np.unique(self.frequency):
            own = np.flatnonzero(self.frequency == k)
            size = np.stack([np.cos(self.phase[own]), -np.sin(self.phase[own])], -1) * self.amplitude[own, :, None]
            found[:, self.neuron[own]] += wave_values(self.tokens, k, a, b) @ size.reshape(len(own), -1).T
        return found

    def _of_group(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        post = ACTIVATIONS[self.activation](self.pre(a, b))
        parts = post @ self.output.reshape(len(self.output), -1) + self.shift.ravel()
        for k, past in zip(self.keys, self.past, strict=True):
            waves = wave_values(self.tokens, k, a, b, ONE_TOKEN)
            parts += waves @ past.reshape(waves.shape[1], -1)
        return parts @ answer_waves(self.tokens, self.keys)

    def relabeled(self, factor: int) -> "Neurons":
        """See `Program`."""
        keys, sign = self.renamed(factor)
        order, place = keys.argsort(), np.searchsorted(self.keys, self.frequency)
        flip = np.stack([np.ones_like(sign), sign], 1)  # of cosine and sine
        return replace(
            self,
            keys=keys[order],
            frequency=keys[place],
            phase=self.phase * sign[place][:, None],
            output=(self.output * flip)[:, order],
            past=(self.past * flip[:, None, :, None, None] * flip)[order][:, :, :, order],
            shift=(self.shift * flip)[order],
        )


def wave_values(
    tokens: Tokens, frequency: int, a: np.ndarray, b: np.ndarray, waves: tuple[tuple[int, int], ...] = WAVES
) -> np.ndarray:
    """Return cos and sin of w_k(i j_a + j sign j_b) for each wave (i, j) in turn: (m, 2 waves)."""
    first, second = tokens.position[a], tokens.sign * tokens.position[b]
    angle = np.stack([tokens.angle(frequency, i * first + j * second) for i, j in waves], -1)
    return np.stack([np.cos(angle), np.sin(angle)], -1).reshape(len(a), -1)


def answer_waves(tokens: Tokens, frequencies: np.ndarray) -> np.ndarray:
    """Return cos w_K c and sin w_K c for each frequency in turn: (2 K, n)."""
    angle = tokens.angle(frequencies[:, None], np.arange(tokens.order))
    return np.stack([np.cos(angle), np.sin(angle)], 1).reshape(2 * len(frequencies), -1)
