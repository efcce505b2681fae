"""Networks with quadratic activation on pairs of residues, with half the Jacobian's rank as the truth (2603.01192)."""

from dataclasses import dataclass

import torch
from torch import Generator

from slt_grok.errors import SltGrokError
from slt_grok.llc import exact
from slt_grok.models import QuadraticNetwork
from slt_grok.operators.jacobian import jacobian_rank
from slt_grok.zoo.problem import KnownProblem


@dataclass(frozen=True)
class ModularQuadratic:
    """f(a, b) = (U_a + V_b)^2 W at random weights, on some pairs, with the network's outputs as targets.

    At random weights the rank of the Jacobian is maximal, so it is constant nearby.

    Parameters
    ----------
    modulus : int
        Modulus p.
    width : int
        Number of neurons K.
    pairs : int or None, optional
        Size N of the train set, drawn from all p^2 pairs; None for all.
    """

    modulus: int
    width: int
    pairs: int | None = None

    family = "modular"

    def __post_init__(self) -> None:
        if self.modulus < 2 or self.width < 1:
            raise SltGrokError(f"p, width: expected at least 2 and 1, got {self.modulus} and {self.width}")
        if self.pairs is not None and not 1 <= self.pairs <= self.modulus**2:
            raise SltGrokError(f"pairs: expected from 1 to p^2 = {self.modulus**2}, or all, got {self.pairs}")

    def problem(self, generator: Generator) -> KnownProblem:
        """Draw a random problem."""
        module = QuadraticNetwork(self.modulus, self.width)
        module.initialize(generator)
        values = torch.arange(self.modulus)
        pairs = torch.cartesian_prod(values, values)
        if self.pairs is not None:
            pairs = pairs[torch.randperm(len(pairs), generator=generator)[: self.pairs].sort().values]
        module = module.double()
        rank = jacobian_rank(module, pairs).rank
        return KnownProblem(module, pairs, exact.regular(rank))
