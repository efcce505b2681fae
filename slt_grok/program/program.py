"""Programs: runnable formulas with few numbers for what a network computes.

    Clock       logits sum_k alpha_k cos w_k(s - c), with s = a + b (Nanda et al. 2301.05217, section 4.1)
    Pizza       the same with alpha_k + beta_k |cos w_k d/2| + gamma_k |cos w_k d| and d = a - b: the pizza and its
                accompanying circle of frequency 2k (Zhong et al. 2306.17844, sections 3 and 5)
    Neurons     neuron by neuron: waves of one frequency, through the activation, into cos w_k c and sin w_k c
                (McCracken et al. 2505.18266; Gromov 2301.02679)
    Table       the answers to listed pairs, alone or with a program for all other pairs

    >>> program.logits(a, b)          # float64 (..., p), for integer arrays a and b of equal shape
    >>> program.answer(a, b)          # int64, the class of the largest logit
    >>> program.numbers               # name -> array: every real number in it, in the order of its fields

Angles are defined in `slt_grok.program.tokens`: the discrete logarithm for multiplication, a minus sign for
subtraction.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from slt_grok.program.activations import ACTIVATIONS
from slt_grok.program.tokens import ONE_TOKEN, Tokens, pairs


@dataclass(frozen=True)
class Program(ABC):
    """A formula for the logits of a network on the elements of a cyclic group.

    Parameters
    ----------
    tokens : Tokens
        Angles of the tokens.
    outside : ndarray
        Logit of the class without an angle (0 under multiplication) minus the mean of the others, for pairs in the
        group and for pairs with a 0, (2,); ignored if all tokens have angles.
    keys : ndarray
        Key frequencies, int64 (K,), ascending.
    """

    NUMBERS: ClassVar[tuple[str, ...]]  # fields that hold real numbers
    level: ClassVar[str]
    idea: ClassVar[str]
    """How the program computes, in its file's docstring; `{do}` and `{turn}` are the operation in words."""
    omitted: ClassVar[str]
    """What the level omits of a network."""

    tokens: Tokens
    outside: np.ndarray
    keys: np.ndarray

    @abstractmethod
    def _group_logits(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Logits of the elements j = 0..n-1 for m pairs in the group, (m, n)."""

    @property
    def numbers(self) -> dict[str, np.ndarray]:
        """Name -> every real number of that name in the program."""
        return {name: getattr(self, name) for name in self.NUMBERS}

    @property
    def structure_bits(self) -> int:
        """Bits that describe the program besides its frequencies and numbers."""
        return 0

    def logits(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Compute the logits of all p answers, float64 (..., p); their mean over the answers is arbitrary."""
        a, b = np.broadcast_arrays(a, b)
        _, _, inside = self.tokens.sums(a, b)
        on_group = np.zeros((inside.sum(), self.tokens.p))
        on_group[:, self.tokens.token] = self._group_logits(a[inside], b[inside])
        logits = np.zeros((*a.shape, self.tokens.p))
        logits[inside] = on_group
        if self.tokens.order < self.tokens.p:
            logits[..., 0] = np.where(inside, *self.outside)
        return logits

    def answer(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Compute the answer with the largest logit, int64 like a; ties go to the smallest."""
        return self.logits(a, b).argmax(-1)

    def grid(self) -> np.ndarray:
        """Logits of all pairs in lexicographic order, (p^2, p)."""
        return self.logits(*pairs(self.tokens.p))


@dataclass(frozen=True)
class Rotations(Program):
    """sum_k u_k(d) cos w_k(s - c), where u_k is a weighted sum of `factors` of `Tokens.distance_factors`.

    Parameters
    ----------
    amplitude : ndarray
        Weights in u_k, (K, factors), in units of the logits.
    """

    NUMBERS = ("amplitude",)
    factors: ClassVar[int]
    text: ClassVar[dict[str, str]]
    """The file's lines that depend on the level: what is listed by frequency, sums, the listed weights, and u_k."""

    amplitude: np.ndarray

    def _group_logits(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        s, d, _ = self.tokens.sums(a, b)
        c = np.arange(self.tokens.order)
        logits = np.zeros((len(a), len(c)))
        for k, amplitude in zip(self.keys, self.amplitude, strict=True):
            size = self.tokens.distance_factors(k, d)[:, : len(amplitude)] @ amplitude
            angle_s, angle_c = self.tokens.angle(k, s), self.tokens.angle(k, c)
            logits += (size * np.cos(angle_s))[:, None] * np.cos(angle_c)
            logits += (size * np.sin(angle_s))[:, None] * np.sin(angle_c)
        return logits


class Clock(Rotations):
    """u_k = alpha_k."""

    level = "clock"
    factors = 1
    idea = """
        Every number t is a hand on a few clocks: on clock k it points in the direction 2 pi k t / n. To {do} two
        numbers is to {turn}. A candidate answer c gets the score cos(angle(k, s - c)) from each clock, 1 where the
        turned hand points at c. A single clock cannot tell neighbors apart, but only at the correct answer do all
        clocks agree."""
    omitted = "the dependence of the scores on the distance of the two numbers"
    text = {"listed": "weight", "sums": "s = x + y", "amplitudes": "w", "weight": "w"}


class Pizza(Rotations):
    """u_k(d) = alpha_k + beta_k |cos w_k d/2| + gamma_k |cos w_k d|."""

    level = "pizza"
    factors = 3
    idea = """
        Every number t is a hand on a few clocks: on clock k it points in the direction 2 pi k t / n. Adding the two
        hands as arrows gives an arrow halfway between them, at half the angle of the result s, whose length
        |cos(angle(k, d) / 2)| depends on the distance d between the two numbers. So the score cos(angle(k, s - c)) of a
        candidate answer c counts more or less with d; a second clock at twice the speed gives |cos(angle(k, d))|."""
    omitted = "whatever in the scores depends on more than the sum and distance"
    text = {
        "listed": "weight alone, with |cos d/2|, with |cos d|",
        "sums": "s, d = x + y, x - y",
        "amplitudes": "(w, u, v)",
        "weight": "(w + u * np.abs(np.cos(angle(k, d) / 2)) + v * np.abs(np.cos(angle(k, d))))",
    }


@dataclass(frozen=True)
class Neurons(Program):
    """logits = sum_n act(h_n) W_n(c) + D(c), where each neuron is a sum of waves of (a, b).

    h_n = constant_n + sum_k sum_ij A cos(w_k(i a + j b) + phi), mostly at one frequency k; W_n(c) = sum_K (out_nK0 cos
    w_K c + out_nK1 sin w_K c); D consists of the waves of one token, `ONE_TOKEN`, that bypass the neurons.

    Parameters
    ----------
    activation : str
        One of `slt_grok.program.activations.ACTIVATIONS`.
    neuron, frequency : ndarray
        Neuron n and frequency k of each entry, int64 (entry,): neuron n has waves of frequency k.
    amplitude, phase : ndarray
        Amplitude A and phase phi of each entry, (entry, wave) in the order of `WAVES`; phases in (-pi, pi].
    constant : ndarray
        Constant term of each neuron, (width,).
    output : ndarray
        Output weights, (width, K, 2).
    past : ndarray
        D: cosine and sine components of w_K c for the cosine and sine of each wave of w_k, (K, 4, 2, K, 2).
    shift : ndarray
        Cosine and sine components of w_K c shared by all pairs, (K, 2).
    """

    NUMBERS = ("constant", "amplitude", "phase", "output", "past", "shift")
    level = "neurons"
    idea = """
        Every number t is a hand on a few clocks: on clock k it points in the direction 2 pi k t / n. Each neuron adds
        waves of the two hands (mostly of one clock), their products and their double angles, and passes the sum
        through the activation: the output has components cos and sin of the angle of s. Each neuron writes waves
        of the candidate answer c; together these are about cos(angle(k, s - c)), largest at the correct answer."""
    omitted = "weak neurons, higher harmonics and products of different frequencies"

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
    def structure_bits(self) -> int:
        """Bits that say which frequencies each neuron has."""
        return len(self.constant) * len(self.keys)

    def pre(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Pre-activations of m pairs in the group, (m, width)."""
        pre = np.tile(self.constant, (len(a), 1))
        for k in np.unique(self.frequency):
            entry = self.frequency == k
            phase, amplitude = self.phase[entry], self.amplitude[entry, :, None]
            coefficients = (np.stack([np.cos(phase), -np.sin(phase)], -1) * amplitude).reshape(len(phase), -1)
            pre[:, self.neuron[entry]] += self.tokens.waves(k, a, b) @ coefficients.T
        return pre

    def _group_logits(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        post = ACTIVATIONS[self.activation].function(self.pre(a, b))
        parts = post @ self.output.reshape(len(self.output), -1) + self.shift.ravel()
        for k, past in zip(self.keys, self.past, strict=True):
            waves = self.tokens.waves(k, a, b, ONE_TOKEN)
            parts += waves @ past.reshape(waves.shape[1], -1)
        return parts @ self.tokens.answer_waves(self.keys)


@dataclass(frozen=True)
class Table:
    """The answers to listed pairs, with another program for all other pairs: the program of a memorizer.

    Parameters
    ----------
    p : int
        Number of tokens.
    rows : ndarray
        a p + b of the listed pairs, int64 (m,), ascending.
    answers : ndarray
        Their answers, int64 (m,).
    rest : Program or None
        Program for the other pairs; None if every pair is listed.
    """

    idea: ClassVar[str] = "The answers are listed, pair by pair: no rule was found in this network."

    p: int
    rows: np.ndarray
    answers: np.ndarray
    rest: Program | None

    @property
    def level(self) -> str:
        """`table`, or the other program's level with `and table`."""
        return "table" if self.rest is None else f"{self.rest.level} and table"

    def answer(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the listed answer, or else the other program's, int64 like a."""
        listed = np.full(self.p**2, -1)
        listed[self.rows] = self.answers
        answer = listed[a * self.p + b]
        return answer if self.rest is None else np.where(answer >= 0, answer, self.rest.answer(a, b))
