"""A lower bound on a network's accuracy from the margins of its neuron-level program and a bound on their difference.

For networks whose neurons add up their two tokens, h(a, b) = u(a) + v(b): the MLPs, the quadratic networks and
transformers with attention rate 0. Let Q be the program with the key frequencies and their second harmonics of u, v and
W_L. With D the path past the neurons,

    L - Q = [act(h) - act(h')] W' + act(h) (W - W') + D,    h' and W' the program's,

and a pair is certified where Q's answer q stands over every other answer c by more than the sum of

    neurons   sum_n slope_n (|u - u'|_n(a) + |v - v'|_n(b)) |W'_nq - W'_nc|, slope_n the activation's largest one
    output    |M_q - M_c| + sum_n r_n |(W - W')_nq - (W - W')_nc|, act(h_n) in m_n +- r_n for all b, M = m (W - W')
    past      |D_q - D_c|, which is a function of a and one of b as well

Everything is made from the network on the 2 p - 1 pairs (a, 0) and (0, b); it is run on no other pair. By the triangle
inequality the share of right and certified pairs is never above the true accuracy. Compare: bounds on a network's
accuracy from a mechanistic account of it, Gross et al. 2406.11779.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import xarray as xr

from slt_grok.errors import SltGrokError
from slt_grok.models import EmbeddingMLP, ModularNetwork, OneLayerTransformer, QuadraticNetwork
from slt_grok.models.sites import activation_name
from slt_grok.program.program import ACTIVATIONS, answer_waves
from slt_grok.program.tokens import Tokens
from slt_grok.trajectories import Trajectory

SLOPE = {"relu": 1.0, "gelu": 1.13}  # GELU's largest slope is 1.1290, at sqrt 2
LEAST = {"relu": 0.0, "quadratic": 0.0, "gelu": -0.17}  # values, taken between -1 and 0
ROUNDING = 1e-12  # of the sum of the largest |act(h_n) W_nc|, what float64 may lose

ATTRS = {
    "accuracy_bound": {
        "long_name": "certified accuracy",
        "definition": "share of all pairs that are certified and answered right by the program",
    },
    "certified": {
        "long_name": "certified pairs",
        "definition": "share of pairs whose answer is the program's for sure",
    },
    "margin": {"long_name": "mean margin of the program", "definition": "largest logit less the second one"},
    "bound": {
        "long_name": "mean bound on the difference",
        "definition": "of each part, at the program's second answer, mean over all pairs",
    },
    "tightness": {
        "long_name": "bound over margin",
        "definition": "median over all pairs of the largest bound / margin over the other answers; certified below 1",
    },
}


@dataclass(frozen=True)
class Additive:
    """A network whose neurons add up their tokens, by tables over the elements j of the group.

    Parameters
    ----------
    tokens : of its task.
    activation : its name.
    left, right : u and v, (n, width).
    output : W_L, (width, n).
    past_left, past_right : D, (n, n) each: token by answer.
    """

    tokens: Tokens
    activation: str
    left: np.ndarray
    right: np.ndarray
    output: np.ndarray
    past_left: np.ndarray
    past_right: np.ndarray

    @classmethod
    def of(cls, trajectory: Trajectory) -> "Additive":
        """From the network's values on 2 p - 1 pairs.

        Raises
        ------
        SltGrokError : more than one network, or one whose neurons do not add up their tokens.
        """
        if len(trajectory) != 1:
            raise SltGrokError(f"certificate: expected one network, got {len(trajectory)}: choose a step and a seed")
        module = trajectory.network.module
        adds = isinstance(module, EmbeddingMLP | QuadraticNetwork) or (
            isinstance(module, OneLayerTransformer) and module.attention_rate == 0
        )
        if not adds or not isinstance(module, ModularNetwork):
            raise SltGrokError(
                f"certificate: expected a network whose neurons add up their two tokens (an MLP, a quadratic network, "
                f"a transformer with attention rate 0), got {type(module).__name__}"
            )
        activation = activation_name(module.activation)
        assert activation is not None  # every module above is made with one of these
        task, stack = trajectory.task, trajectory.stacked(torch.float64)
        tokens = Tokens(task.modulus, task.operation)
        first = torch.from_numpy(tokens.token)
        zero = first[:1].expand(len(first))
        inputs = torch.cat([torch.stack([first, zero], -1), torch.stack([zero, first], -1)])
        sites = trajectory.network.stacked_sites(stack, inputs, "neurons_pre", "neurons_post", "logits")
        output = module.neuron_logit_map(stack)[0]
        past = (sites["logits"][0] - sites["neurons_post"][0] @ output).numpy()[:, tokens.token]
        pre, n = sites["neurons_pre"][0].numpy(), tokens.order
        return cls(
            tokens=tokens,
            activation=activation,
            left=pre[:n],
            right=pre[n:] - pre[n],
            output=output.numpy()[:, tokens.token],
            past_left=past[:n],
            past_right=past[n:] - past[n],
        )

    def only(self, keys: np.ndarray) -> "Additive":
        """The program: no frequencies in u and v but the keys and twice the keys, in W_L but the keys; no D."""
        n = self.tokens.order
        both = np.unique(np.concatenate([keys, 2 * keys % n]))
        waves = np.concatenate([np.ones((1, n)), answer_waves(self.tokens, both)]).T
        answers = answer_waves(self.tokens, keys)
        onto = waves @ np.linalg.pinv(waves, rcond=1e-9)
        nothing = np.zeros((n, n))
        left, right, output = onto @ self.left, onto @ self.right, self.output @ np.linalg.pinv(answers, 1e-9) @ answers
        return Additive(self.tokens, self.activation, left, right, output, nothing, nothing)

    @cached_property
    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Least and largest h_n over all pairs, (width,) each."""
        return self.left.min(0) + self.right.min(0), self.left.max(0) + self.right.max(0)

    def interval(self, j: int) -> tuple[np.ndarray, np.ndarray]:
        """Middle and radius of an interval that holds act(h_n) for all pairs with this first token, (width,) each."""
        low, high = self.left[j] + self.right.min(0), self.left[j] + self.right.max(0)
        ends = np.stack([ACTIVATIONS[self.activation](x) for x in (low, high)])
        least = np.where((low < 0) & (high > -1), np.minimum(ends.min(0), LEAST[self.activation]), ends.min(0))
        return (ends.max(0) + least) / 2, (ends.max(0) - least) / 2

    def slopes(self, other: "Additive") -> np.ndarray:
        """What |act(x) - act(y)| / |x - y| is at most, x of this network and y of the other's neuron: (width,)."""
        if self.activation == "quadratic":  # |x + y|
            return np.abs(self.bounds).max(0) + np.abs(other.bounds).max(0)
        return np.full(self.left.shape[1], SLOPE[self.activation])


def certificate(trajectory: Trajectory, keys: np.ndarray) -> xr.Dataset:
    """What the neuron-level program proves about its network.

    Parameters
    ----------
    trajectory : one network of this package on addition, subtraction or multiplication.
    keys : the frequencies of the program.

    Returns
    -------
    Variables of `ATTRS`, scalars but `bound` over `part` (neurons, output, past); pairs without angles (a 0 of
    multiplication) count as not certified.

    Raises
    ------
    SltGrokError : more than one network, or one whose neurons do not add up their tokens.
    """
    network = Additive.of(trajectory)
    program, n = network.only(keys), network.tokens.order
    slopes = network.slopes(program)
    off_left, off_right = slopes * np.abs(network.left - program.left), slopes * np.abs(network.right - program.right)
    rest = network.output - program.output
    right, certain, margins, ratios = [], [], [], []
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("neurons", "output", "past")}
    for j in range(n):  # all pairs with this first token
        middle, radius = network.interval(j)
        shift = middle @ rest
        slack = ROUNDING * ((np.abs(middle) + radius) @ np.abs(network.output)).max()
        logits = ACTIVATIONS[network.activation](program.left[j] + program.right) @ program.output
        best = logits.argmax(-1)
        past = network.past_left[j] + network.past_right
        bound = {
            "neurons": np.einsum("bn,bnc->bc", off_left[j] + off_right, _apart(program.output, best)),
            "output": np.abs(shift[best][:, None] - shift) + np.einsum("n,bnc->bc", radius, _apart(rest, best)),
            "past": np.abs(np.take_along_axis(past, best[:, None], -1) - past),
        }
        others = np.arange(n) != best[:, None]
        margin = np.where(others, logits.max(-1, keepdims=True) - logits, np.inf)
        total = sum(bound.values()) + slack
        second = (np.arange(n), margin.argmin(-1))
        right.append(best == (j + network.tokens.sign * np.arange(n)) % n)
        certain.append((margin > total).all(-1))
        margins.append(margin[second])
        ratios.append((total / np.maximum(margin, np.finfo(float).tiny)).max(-1))
        for name, values in bound.items():
            parts[name].append(values[second])
    size = network.tokens.modulus**2
    values = {
        "accuracy_bound": ((), (np.stack(certain) & np.stack(right)).sum() / size),
        "certified": ((), np.stack(certain).sum() / size),
        "margin": ((), np.mean(margins)),
        "bound": (("part",), [np.mean(part) for part in parts.values()]),
        "tightness": ((), np.median(ratios)),
    }
    return xr.Dataset({name: (*value, ATTRS[name]) for name, value in values.items()}, {"part": list(parts)})


def _apart(table: np.ndarray, best: np.ndarray) -> np.ndarray:
    """|W_nq - W_nc| for the answer q of each pair, (pair, neuron, c)."""
    return np.abs(table[:, best].T[:, :, None] - table)
