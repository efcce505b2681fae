"""Interface of a network: it declares its sites, the roles of its weights, interchangeable units and heads.

A model takes int64 tokens of shape (n, operands) and returns logits (n, classes). Its forward pass sends each named
site through `at(name, value)`, so one function can record or replace the value. Measurements depend on what a model
declares, never on its class: whatever it does not declare is not measured, and the result states this.
"""

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from slt_grok.models.rescaling import Rescaling
from slt_grok.registry import Registered

At = Callable[[str, Tensor], Tensor]
Parameters = Mapping[str, Tensor]
Activation = Literal["relu", "gelu", "quadratic"]

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": nn.functional.relu,
    "gelu": nn.functional.gelu,
    "quadratic": torch.square,
}


def activation_name(function: object) -> str | None:
    """Look up the name of an activation function; None if it has none here."""
    return next((name for name, known in ACTIVATIONS.items() if known is function), None)


def passthrough(name: str, value: Tensor) -> Tensor:
    """Leave the value of every site unchanged: the `at` of a plain forward pass."""
    return value


def record(into: dict[str, Tensor], *names: str) -> At:
    """Build an `at` that records the value of each named site in `into` and changes nothing."""

    def at(name: str, value: Tensor) -> Tensor:
        if name in names:
            into[name] = value
        return value

    return at


def add_parameters(module: nn.Module, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Register a zero parameter of each shape under its name."""
    for name, shape in shapes.items():
        module.register_parameter(name, nn.Parameter(torch.zeros(shape)))


class HeadMaps(NamedTuple):
    """The maps from attention heads into the first layer's neurons.

    Parameters
    ----------
    value, output : Tensor
        W_V and W_O, head first.
    neurons : Tensor
        W_in.
    """

    value: Tensor
    output: Tensor
    neurons: Tensor


class Model(Registered, nn.Module):
    """A network from tokens to logits that declares its parts.

    A named subclass is a kind of model for configurations; its settings are the parameters of its constructor after
    `tokens` and `classes`. Role methods accept parameters with any leading axes, so one call serves an entire
    trajectory.

    Parameters
    ----------
    tokens : int
        Number of distinct tokens with a value (not counting '=').
    classes : int, optional
        Number of answers; by default, the number of tokens.
    """

    packages: ClassVar[tuple[str, ...]] = ("models",)
    given: ClassVar[tuple[str, ...]] = ("tokens", "classes")
    sites: tuple[str, ...] = ()
    """Names that `forward` sends through `at`. Measurements know `embedding` (the table, (vocabulary, d)),
    `attention_pattern` (n, head, key), `neurons_pre` and `neurons_post` (n, d_mlp), and `logits` (n, classes)."""
    positions: str = ""
    """Name of the positional embedding, which Muon skips."""
    token_sums: bool = False
    """Whether `neurons_pre`, and the logits except for what the neurons add to them, are sums of one term per token:
    with the site `attention_pattern`, of the last token and of those that it attends to, weighted by the pattern."""

    def __init__(self, tokens: int, classes: int | None = None) -> None:
        super().__init__()
        self.tokens = tokens
        self.classes = tokens if classes is None else classes

    @abstractmethod
    def forward(self, pairs: Tensor, at: At = passthrough) -> Tensor:
        """Return logits (n, classes) for tokens (n, operands), pairs of them in every task of this package."""
        raise NotImplementedError

    @abstractmethod
    def initialize(self, generator: torch.Generator) -> None:
        """Initialize the weights in place, drawing everything from `generator`."""
        raise NotImplementedError

    # -- what a model may declare -----------------------------------------------------------------------------

    def token_roles(self) -> Mapping[str, tuple[str, int]]:
        """Map each role to a parameter and its axis over tokens or classes: role -> (name, axis from the end)."""
        return {}

    def token_embedding(self, parameters: Parameters) -> Tensor:
        """Select the rows of the embedding for the tokens, (..., tokens, d)."""
        raise NotImplementedError

    def neuron_logit_map(self, parameters: Parameters) -> Tensor:
        """Compute W_L, the linear map from neurons to logits, (..., d_mlp, classes)."""
        raise NotImplementedError

    def units(self) -> Mapping[str, Mapping[str, int]]:
        """Declare the groups of interchangeable units: units -> {parameter: its axis over them, from the end}.

        The same permutation of all these axes leaves the function unchanged. A group named `neurons_post` corresponds
        to the site with the neurons' activations. Groups with weights in the token rows come first, since tokens and
        answers have a fixed order from which a matching can start.
        """
        return {}

    def rescalable(self) -> Sequence[Rescaling]:
        """Declare the heads and neurons whose two sides can be rescaled against each other.

        Value against output and query against key for heads; neurons only if their activation is positively
        homogeneous.
        """
        return ()

    def head_parameters(self) -> Sequence[str]:
        """List the parameters whose first axis runs over the attention heads of the first layer."""
        return ()

    def head_maps(self, parameters: Parameters) -> HeadMaps:
        """Get the maps of the first layer's attention heads."""
        raise NotImplementedError

    def homogeneous_weights(self, parameters: Parameters) -> tuple[tuple[Tensor, ...], int] | None:
        """Get the weights of each neuron, and the degree of homogeneity of the logits in them.

        The result is None for a network that is not homogeneous.
        """
        raise NotImplementedError

    def stacked_gradients(
        self, stack: Parameters, pairs: Tensor, labels: Tensor, own_data: bool, wanted: Collection[str]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute mean cross-entropies (N,) in float64 of N networks, and their gradients for the wanted parameters.

        Parameters
        ----------
        stack : mapping of str to Tensor
            All parameters by name, (N, ...).
        pairs, labels : Tensor
            (n, operands) and (n,), or with `own_data` (N, n, operands) and (N, n).
        own_data : bool
            Whether each network has separate samples.
        wanted : collection of str
            Names of the parameters to differentiate.
        """
        raise NotImplementedError

    def stacked_grid(self, stack: Parameters, names: Collection[str]) -> dict[str, Tensor]:
        """Compute the values at sites of N networks on all pairs of tokens, faster than by `forward`."""
        raise NotImplementedError

    def declares(self, what: str) -> bool:
        """Return whether the model has a site with that name, or overrides the method with that name.

        `token_sums` and the fast paths are not inherited, since a subclass may override `forward`.
        """
        if what in self.sites:
            return True
        if what in ("stacked_gradients", "stacked_grid", "token_sums"):
            return bool(vars(type(self)).get(what))
        return getattr(type(self), what, None) is not getattr(Model, what, None)
