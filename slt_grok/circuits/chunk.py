"""A stack of networks that fits in memory at once, with the quantities shared by several circuit measures."""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from slt_grok.circuits import margins, neurons, phases
from slt_grok.circuits.forward import Forward, GridForward, Values
from slt_grok.groups import CyclicGroup, Group
from slt_grok.models import Model, Network
from slt_grok.tasks import SPLITS


@dataclass(frozen=True)
class Chunk(Forward):
    """N networks and the results of one forward pass.

    Parameters
    ----------
    network, module, task, stack : Network, Model, Task, Values
        See `Forward`.
    kept : Tensor
        Frequencies of the circuit, a bool mask (N, K).
    gradient_triples : int or None, optional
        See `gradient_symmetricity`.
    values : dict of str to Tensor, optional
        Variables computed so far.
    """

    kept: Tensor
    gradient_triples: int | None = None
    values: Values = field(default_factory=dict)

    @staticmethod
    def of(network: Network, stack: Values, kept: Tensor, gradient_triples: int | None = None) -> "Chunk":
        """Choose the fastest forward pass for these networks."""
        module, task = network.module, network.task
        assert isinstance(module, Model)
        assert task is not None
        fast = module.declares("stacked_grid") and network.call is functional_call and task.group is not None
        return (GridChunk if fast else Chunk)(network, module, task, stack, kept, gradient_triples)

    @property
    def group(self) -> Group:
        """The group of the tokens; for measures that require one."""
        assert self.task.group is not None
        return self.task.group

    @property
    def sign(self) -> int:
        """The label depends on s = a b^sign; this is the sign."""
        return self.task.sign

    # -- what several measures read ---------------------------------------------------------------------------

    @cached_property
    def products(self) -> Tensor:
        """The product s of each pair, (n^2,)."""
        return self.group.products(self.sign)

    @cached_property
    def table(self) -> Tensor:
        """Mean logits over the pairs with the same s, (N, s, c)."""
        return self.group.means_by_product(self.sites["logits"], self.sign)

    @cached_property
    def margins(self) -> tuple[Tensor, Tensor, Tensor]:
        """Logit of the correct answer, largest wrong logit and its class, (N, n^2) each."""
        return margins.margins(self.sites["logits"], self.task.labels)

    @cached_property
    def embedding(self) -> Tensor:
        """The token rows of W_E, (N, n, d)."""
        return self.module.token_embedding(self.stack)

    @cached_property
    def fve(self) -> Tensor:
        """Fraction of each neuron's variance at each frequency, (N, width, K)."""
        if isinstance(self.group, CyclicGroup):
            return self.lines.fraction_of_variance_explained()
        return neurons.fraction_of_variance_explained(self.sites["neurons_post"], self.group)

    @cached_property
    def belongs(self) -> Tensor:
        """Mask of the neurons that compute with one frequency, bool (N, width)."""
        return neurons.in_cluster(self.fve, getattr(self.module, "activation", None) is torch.square)

    @cached_property
    def cluster_size(self) -> Tensor:
        """Number of neurons at each frequency, int64 (N, K)."""
        return neurons.cluster_sizes(self.fve, self.belongs)

    @cached_property
    def frequency(self) -> Tensor:
        """Frequency of each neuron, starting at 1, int64 (N, width)."""
        return self.fve.argmax(-1) + 1

    @cached_property
    def lines(self) -> neurons.Lines:
        """Means of the neurons along the lines of the grid."""
        return neurons.Lines.of(self.sites["neurons_post"])

    @cached_property
    def waves(self) -> phases.Waves:
        """Cosines in the neurons' pre-activations and output weights."""
        return phases.Waves.of(self.sites["neurons_pre"], self.to_logits)

    # -- means by split -----------------------------------------------------------------------------------------

    def by_split(self, per_sample: Tensor) -> Tensor:
        """Means over train, test and all samples: (N, n) -> (N, 3)."""
        rows = [self.task.indices(split) for split in SPLITS]
        return torch.stack([per_sample[:, index].double().mean(-1) for index in rows], -1)

    def losses(self, logits: Tensor) -> Tensor:
        """Mean cross-entropy by split: (N, n, classes) -> (N, 3)."""
        return self.by_split(sample_losses(logits, self.task.labels))

    def losses_of_table(self, table: Tensor) -> Tensor:
        """Mean cross-entropy by split for logits that depend on s alone: (N, s, c) -> (N, 3)."""
        return self.by_split(-table.log_softmax(-1)[:, self.products, self.task.labels])

    def accuracies(self, logits: Tensor) -> Tensor:
        """Fraction of correct answers by split: (N, n, classes) -> (N, 3)."""
        return self.by_split(logits.argmax(-1) == self.task.labels)


def sample_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy -log softmax(L)[label] in nats: (N, n, classes), (n,) -> (N, n)."""
    losses = cross_entropy(logits.flatten(0, 1), labels.repeat(len(logits)), reduction="none")
    return losses.unflatten(0, (len(logits), -1))


class GridChunk(GridForward, Chunk):
    """A chunk with the forward pass of `GridForward`."""
