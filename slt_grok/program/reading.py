"""What the extractor reads from a network: its logits and neurons on all pairs, and the frequencies of the logits.

The logits are centered over the answers, which leaves the probabilities unchanged. On the cyclic group of
`slt_grok.program.tokens`, their component along cos w_k(s - c) at a pair is y_k(a, b) = 2/n sum_c L(c) cos w_k(s - c).
Its mean over the pairs is the amplitude alpha_k of the ideal clock, which accounts for alpha_k^2 / 2 of the variance
(Nanda et al. 2301.05217, section 4.1).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from slt_grok.errors import SltGrokError
from slt_grok.models import Model, Network
from slt_grok.models.model import Parameters, activation_name
from slt_grok.program.activations import ACTIVATIONS
from slt_grok.program.tokens import Tokens, pairs, unreadable
from slt_grok.tasks import Task
from slt_grok.trajectories import Trajectory

# A frequency belongs to the circuit if its clock accounts for more than this fraction of the logits' variance. Ours:
# the weakest frequency of published networks accounts for 0.018, the strongest of untrained networks for 2e-5.
KEY_SHARE = 1e-3


@dataclass(frozen=True)
class HiddenLayer:
    """The hidden layer on all pairs.

    Parameters
    ----------
    activation : str
        `relu`, `quadratic` or `gelu`.
    pre : ndarray
        Pre-activations, (p^2, width).
    to_logits : ndarray
        Neuron-logit map W_L, (width, p), centered over the answers.
    """

    activation: str
    pre: np.ndarray
    to_logits: np.ndarray


@dataclass(frozen=True)
class Reading:
    """What was read from a single network, all in float64.

    Parameters
    ----------
    task : Task
        Task with the correct answers and the split.
    logits : ndarray
        Logits, (p^2, p), centered over the answers.
    neurons : HiddenLayer or None
        Neurons; None if the network has more than one hidden layer or an unknown activation.
    """

    task: Task
    logits: np.ndarray
    neurons: HiddenLayer | None

    @property
    def p(self) -> int:
        """Number of tokens and of answers."""
        return self.logits.shape[1]

    @cached_property
    def tokens(self) -> Tokens | None:
        """The group on which the operation is addition; None if there is none."""
        return Tokens.of(self.task)

    @cached_property
    def answers(self) -> np.ndarray:
        """The network's answers, (p^2,)."""
        return self.logits.argmax(-1)

    @cached_property
    def labels(self) -> np.ndarray:
        """The correct answers, (p^2,)."""
        return self.task.labels.numpy()

    @cached_property
    def variance(self) -> float:
        """Mean square of the centered logits."""
        return float(np.square(self.logits).mean())

    @cached_property
    def on_group(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Select a and b of the pairs with angles, their rows among the p^2, and their logits by j = 0..n-1, (m, n).

        The logits are centered again over these answers.
        """
        assert self.tokens is not None
        a, b = pairs(self.p)
        rows = np.flatnonzero(self.tokens.sums(a, b)[2])
        logits = self.logits[np.ix_(rows, self.tokens.token)]
        return a[rows], b[rows], rows, logits - logits.mean(-1, keepdims=True)

    @cached_property
    def clock_amplitudes(self) -> np.ndarray:
        """alpha_k of every frequency of `Tokens.frequencies`."""
        assert self.tokens is not None
        return np.array([self.along_clock(k).mean() for k in self.tokens.frequencies])

    def along_clock(self, frequency: int) -> np.ndarray:
        """Compute y_k of each pair with angles, (m,)."""
        tokens = self.tokens
        assert tokens is not None
        a, b, _, logits = self.on_group
        angle = tokens.angle(frequency, tokens.sums(a, b)[0])
        parts = logits @ tokens.answer_waves(np.array([frequency])).T
        scale = 2 / tokens.order / (1 + (2 * frequency == tokens.order))  # cos pi c: twice the squared norm
        return scale * (parts[:, 0] * np.cos(angle) + parts[:, 1] * np.sin(angle))

    @cached_property
    def keys(self) -> np.ndarray:
        """Frequencies of the circuit by `KEY_SHARE`, int64, ascending; empty if the operation has no angles."""
        if self.tokens is None:
            return np.array([], dtype=np.int64)
        norm = 1 - (2 * self.tokens.frequencies != self.tokens.order) / 2  # mean square of cos w_k c
        share = self.clock_amplitudes**2 * norm / np.square(self.on_group[3]).mean()
        return self.tokens.frequencies[(share > KEY_SHARE) & (self.clock_amplitudes > 0)]


def single(trajectory: Trajectory, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """Extract the parameters of a single network, each with a leading axis of length 1.

    Raises
    ------
    SltGrokError
        There are several networks, or the task is not on Z_p for an odd prime p.
    """
    if len(trajectory) != 1:
        raise SltGrokError(f"program: expected one network, got {len(trajectory)}; select a step and a seed")
    if reason := unreadable(trajectory.task):
        raise SltGrokError(f"program: {reason}")
    return trajectory.stacked(dtype)


def on_all_pairs(network: Network, stack: Parameters, *names: str) -> dict[str, Tensor]:
    """Compute values at sites on all pairs of the network's task, (N, p^2, ...), as fast as the model allows."""
    assert network.task is not None
    if network.call is functional_call and network.declares("stacked_grid"):
        return network.module.stacked_grid(stack, names)  # pyright: ignore
    if isinstance(network.module, Model):
        return network.stacked_sites(stack, network.task.inputs, *names)
    return {"logits": network.stacked_outputs(stack, network.task.inputs)}


def read(trajectory: Trajectory) -> Reading:
    """Read the logits and neurons of one network on all pairs of its task.

    Parameters
    ----------
    trajectory : Trajectory
        A single network; its model may be any module.

    Raises
    ------
    SltGrokError
        There are several networks, the task is not on Z_p, or the logits have another shape or are all equal.
    """
    stack, network, module = single(trajectory, torch.float64), trajectory.network, trajectory.network.module
    activation = activation_name(getattr(module, "activation", None))
    layers = [units for units in module.units() if "neurons" in units] if isinstance(module, Model) else []
    has_neurons = len(layers) == 1 and activation in ACTIVATIONS
    sites = on_all_pairs(network, stack, "logits", *["neurons_pre"] * has_neurons)
    logits, p = sites["logits"][0].numpy(), trajectory.task.classes
    if logits.shape != (p * p, p):
        raise SltGrokError(f"program: expected logits of shape ({p * p}, {p}), got {logits.shape}")
    logits = logits - logits.mean(-1, keepdims=True)
    if not np.square(logits).mean() > 0:
        raise SltGrokError("program: expected logits that distinguish the answers, got equal ones")
    if not has_neurons:
        return Reading(trajectory.task, logits, None)
    to_logits = module.neuron_logit_map(stack)[0].numpy()  # pyright: ignore
    to_logits = to_logits - to_logits.mean(-1, keepdims=True)
    return Reading(trajectory.task, logits, HiddenLayer(activation, sites["neurons_pre"][0].numpy(), to_logits))  # pyright: ignore
