"""A network as the extractor reads it: logits and neurons on all pairs, and which frequencies the logits have.

The logits are centered over the answers, which changes no probability. On the cyclic group of
`slt_grok.program.tokens` their component along cos w_k(s - c) for one pair is y_k(a, b) = 2/n sum_c L(c)
cos w_k(s - c): its mean over the pairs is the ideal clock's amplitude alpha_k, and alpha_k^2 / 2 that clock's part of
the variance (Nanda et al. 2301.05217, section 4.1).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from slt_grok.circuits.forward import Forward
from slt_grok.errors import SltGrokError
from slt_grok.models import Adapter, DeepMLP, DeepTransformer, Model
from slt_grok.models.model import activation_name
from slt_grok.program.program import answer_waves, pairs
from slt_grok.program.tokens import ANGLES, Tokens
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory

# A frequency is in the circuit when its clock holds more than this share of the logits' variance. Ours: the weakest
# frequency of published networks holds 0.018, the largest one of untrained networks 2e-5.
KEY_SHARE = 1e-3


@dataclass(frozen=True)
class Neuron:
    """The hidden layer on all pairs.

    Parameters
    ----------
    activation : str
        `relu`, `quadratic` or `gelu`.
    pre : ndarray
        Pre-activations, (p^2, width).
    to_logits : ndarray
        W_L, (width, p), centered over the answers.
    """

    activation: str
    pre: np.ndarray
    to_logits: np.ndarray


@dataclass(frozen=True)
class Reading:
    """What is read from a single network; all float64.

    Parameters
    ----------
    task : ModularTask
        With the right answers and the split.
    logits : ndarray
        (p^2, p), centered over the answers.
    neurons : Neuron or None
        The hidden layer; None for a network of more than one, or whose activation is not known.
    """

    task: ModularTask
    logits: np.ndarray
    neurons: Neuron | None

    @property
    def modulus(self) -> int:
        """Return p."""
        return self.task.modulus

    @cached_property
    def tokens(self) -> Tokens | None:
        """The group on which the operation is a sum; None where there is none."""
        return Tokens(self.modulus, self.task.operation) if self.task.operation in ANGLES else None

    @cached_property
    def answers(self) -> np.ndarray:
        """What the network answers, (p^2,)."""
        return self.logits.argmax(-1)

    @cached_property
    def labels(self) -> np.ndarray:
        """What is right, (p^2,)."""
        return self.task.labels.numpy()

    @cached_property
    def variance(self) -> float:
        """Mean square of the centered logits."""
        return float(np.square(self.logits).mean())

    @cached_property
    def on_group(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return a and b of the pairs that have angles, their rows of the p^2, and their logits by j = 0..n-1, (m, n).

        The logits are centered anew over these answers.
        """
        assert self.tokens is not None
        a, b = pairs(self.modulus)
        _, _, inside = self.tokens.sums(a, b)
        rows = np.flatnonzero(inside)
        logits = self.logits[np.ix_(rows, self.tokens.token)]
        return a[rows], b[rows], rows, logits - logits.mean(-1, keepdims=True)

    @cached_property
    def clock_amplitudes(self) -> np.ndarray:
        """alpha_k of every frequency of `Tokens.frequencies`."""
        assert self.tokens is not None
        return np.array([self.along_clock(k).mean() for k in self.tokens.frequencies])

    def along_clock(self, frequency: int) -> np.ndarray:
        """y_k of each pair that has angles, (m,)."""
        tokens = self.tokens
        assert tokens is not None
        a, b, _, logits = self.on_group
        s, _, _ = tokens.sums(a, b)
        parts = logits @ answer_waves(tokens, np.array([frequency])).T
        scale = 2 / tokens.order / (1 + (2 * frequency == tokens.order))  # of cos pi c, half the others' norm
        return scale * (
            parts[:, 0] * np.cos(tokens.angle(frequency, s)) + parts[:, 1] * np.sin(tokens.angle(frequency, s))
        )

    @cached_property
    def keys(self) -> np.ndarray:
        """The frequencies of the circuit by `KEY_SHARE`, int64, ascending; none where the operation has no angles."""
        if self.tokens is None:
            return np.array([], dtype=np.int64)
        norm = 1 - (2 * self.tokens.frequencies != self.tokens.order) / 2  # mean square of cos w_k c
        share = self.clock_amplitudes**2 * norm / np.square(self.on_group[3]).mean()
        return self.tokens.frequencies[(share > KEY_SHARE) & (self.clock_amplitudes > 0)]


def read(trajectory: Trajectory) -> Reading:
    """Logits and neurons of one network on all pairs of its task.

    Parameters
    ----------
    trajectory : Trajectory
        One network of this package or an `Adapter`, with its task.

    Raises
    ------
    SltGrokError
        More than one network, another module, no task, logits of another shape, or logits all alike.
    """
    if len(trajectory) != 1:
        raise SltGrokError(f"program: expected one network, got {len(trajectory)}: choose a step and a seed")
    network, task, stack = trajectory.network, trajectory.task, trajectory.stacked(torch.float64)
    module, p = network.module, task.modulus
    if not isinstance(module, Model):
        raise SltGrokError(f"program: expected a model of slt_grok.models, got {type(module).__name__}")
    sites = None if isinstance(module, DeepMLP | DeepTransformer | Adapter) else Forward.of(network, stack).sites
    found = network.stacked_outputs(stack, task.inputs) if sites is None else sites["logits"]
    logits = found[0].numpy()
    if logits.shape != (p * p, p):
        raise SltGrokError(f"program: expected logits of shape ({p * p}, {p}), got {logits.shape}")
    logits = logits - logits.mean(-1, keepdims=True)
    if not np.square(logits).mean() > 0:
        raise SltGrokError("program: expected logits that tell the answers apart, all of them are alike")
    neurons, activation = None, activation_name(getattr(module, "activation", None))
    if sites is not None and activation is not None:
        to_logits = module.neuron_logit_map(stack)[0].numpy()
        to_logits = to_logits - to_logits.mean(-1, keepdims=True)
        neurons = Neuron(activation, sites["neurons_pre"][0].numpy(), to_logits)
    return Reading(task, logits, neurons)
