"""What all models share: named sites, the roles of their weights, activations."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from slt_grok.errors import SltGrokError

At = Callable[[str, Tensor], Tensor]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": nn.functional.relu,
    "gelu": nn.functional.gelu,
    "quadratic": torch.square,
}


def activation_function(name: str) -> Callable[[Tensor], Tensor]:
    """Return the activation function of that name.

    Raises
    ------
    SltGrokError
        The name is not one of `relu`, `gelu`, `quadratic`.
    """
    if name not in ACTIVATIONS:
        raise SltGrokError(f"model.activation: expected one of {list(ACTIVATIONS)}, got {name!r}")
    return ACTIVATIONS[name]


def activation_name(function: object) -> str | None:
    """Return the name of an activation function; None for one that has none here."""
    return next((name for name, known in ACTIVATIONS.items() if known is function), None)


def passthrough(name: str, value: Tensor) -> Tensor:
    """Return the `at` of a plain forward pass: every site keeps its value."""
    return value


def record(into: dict[str, Tensor], *names: str) -> At:
    """Return an `at` that keeps the value of each named site in `into` and changes nothing."""

    def at(name: str, value: Tensor) -> Tensor:
        if name in names:
            into[name] = value
        return value

    return at


class ModularNetwork(nn.Module, ABC):
    """A network from pairs (n, 2) in Z_p to logits (n, p), with the roles of its weights by name.

    The two role methods work on parameters with any leading coordinates, so that one call serves a whole
    trajectory.
    """

    def __init__(self, modulus: int) -> None:
        super().__init__()
        self.modulus = modulus

    @abstractmethod
    def forward(self, pairs: Tensor, at: At = passthrough) -> Tensor:
        """Logits (n, p) of the answer for pairs (n, 2)."""

    @abstractmethod
    def initialize(self, generator: torch.Generator) -> None:
        """Draw fresh weights in place, all from `generator`."""

    @abstractmethod
    def token_roles(self) -> Mapping[str, tuple[str, int]]:
        """Which axis of which parameter runs over Z_p: role -> (name, axis counted from the end)."""

    @abstractmethod
    def token_embedding(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Return the rows of the embedding W_E that stand for Z_p, (..., p, d)."""

    @abstractmethod
    def neuron_logit_map(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """W_L, the linear map from neurons to logits, (..., d_mlp, p)."""
