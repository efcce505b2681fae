"""A task and its model from outside the package: composition in the symmetric group S_3, learned by a small MLP."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import nn

from slt_grok.groups import Group
from slt_grok.models import Model
from slt_grok.models.model import passthrough
from slt_grok.settings import Positive
from slt_grok.tasks import GroupTask


@dataclass(frozen=True)
class SymmetricTask(GroupTask):
    """The product of two permutations of three things."""

    name: ClassVar[str] = "s3"

    @cached_property
    def group(self):
        """S_3."""
        return Group.of_permutations([(1, 0, 2), (1, 2, 0)])


class PairMLP(Model):
    """logits = relu(A[a] + B[b]) W_U."""

    name: ClassVar[str] = "pair_mlp"
    sites = ("embedding", "neurons_pre", "neurons_post", "logits")

    def __init__(self, tokens, classes=None, width: Positive = 32):
        super().__init__(tokens, classes)
        self.A = nn.Parameter(torch.zeros(tokens, width))
        self.B = nn.Parameter(torch.zeros(tokens, width))
        self.W_U = nn.Parameter(torch.zeros(width, self.classes))

    def initialize(self, generator):
        """Draw normal weights."""
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(0, parameter.shape[0] ** -0.5, generator=generator)

    def forward(self, inputs, at=passthrough):
        """Return logits."""
        left, right = at("embedding", torch.cat([self.A, self.B], -1)).chunk(2, -1)
        pre = at("neurons_pre", left[inputs[:, 0]] + right[inputs[:, 1]])
        return at("logits", at("neurons_post", pre.relu()) @ self.W_U)

    def token_roles(self):
        """Return the axes over the group's elements."""
        return {"left": ("A", -2), "right": ("B", -2), "output": ("W_U", -1)}

    def token_embedding(self, parameters):
        """[A, B]."""
        return torch.cat([parameters["A"], parameters["B"]], -1)

    def neuron_logit_map(self, parameters):
        """W_U."""
        return parameters["W_U"]

    def units(self):
        """Neurons."""
        return {"neurons_post": {"A": -1, "B": -1, "W_U": -2}}
