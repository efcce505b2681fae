"""What a network declares about itself: sites, roles of its weights, interchangeable units, heads.

A model takes int64 tokens of shape (n, operands) and returns logits (n, classes). Its forward pass sends each
named site through `at(name, value)`, so that one function can record or replace what is there. Measurements ask what a
model declares and never of which class it is: what it does not declare is not measured, and the result says so.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

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
    """Return the name of an activation function; None for one that has none here."""
    return next((name for name, known in ACTIVATIONS.items() if known is function), None)


def passthrough(name: str, value: Tensor) -> Tensor:
    """Keep the value of every site: the `at` of a plain forward pass."""
    return value


def record(into: dict[str, Tensor], *names: str) -> At:
    """Return an `at` that keeps the value of each named site in `into` and changes nothing."""

    def at(name: str, value: Tensor) -> Tensor:
        if name in names:
            into[name] = value
        return value

    return at


class HeadMaps(NamedTuple):
    """The maps through which attention heads write into the first layer's neurons: W_V, W_O (head first) and W_in."""

    value: Tensor
    output: Tensor
    neurons: Tensor


class Model(Registered, nn.Module):
    """A network from tokens to logits that declares its parts.

    A subclass with a `name` is a kind of model for configurations; the parameters of its constructor after `tokens` and
    `classes` are its settings. Role methods work on parameters with any leading axes, so that one call serves a whole
    trajectory.

    Parameters
    ----------
    tokens : int
        Number of different tokens that stand for something to compute with.
    classes : int, optional
        Number of answers; as many as tokens by default.
    """

    packages: ClassVar[tuple[str, ...]] = ("models",)
    given: ClassVar[tuple[str, ...]] = ("tokens", "classes")
    sites: tuple[str, ...] = ()
    """Names that `forward` sends through `at`. Measurements know `embedding` (the table, (vocabulary, d)),
    `attention_pattern` (n, head, key), `neurons_pre` and `neurons_post` (n, d_mlp), and `logits` (n, classes)."""
    positions: str = ""
    """Name of the table of positions; an optimizer for hidden matrices leaves it alone."""

    def __init__(self, tokens: int, classes: int | None = None) -> None:
        super().__init__()
        self.tokens = tokens
        self.classes = tokens if classes is None else classes

    def forward(self, pairs: Tensor, at: At = passthrough) -> Tensor:
        """Return logits (n, classes) for tokens (n, operands), pairs of them in every task of this package."""
        raise NotImplementedError

    def initialize(self, generator: torch.Generator) -> None:
        """Draw fresh weights in place, all from `generator`."""
        raise NotImplementedError

    # -- what a model may declare -----------------------------------------------------------------------------

    def token_roles(self) -> Mapping[str, tuple[str, int]]:
        """Return which axis of which parameter runs over the tokens or classes: role -> (name, axis from the end)."""
        return {}

    def token_embedding(self, parameters: Parameters) -> Tensor:
        """Return the rows of the embedding that stand for the tokens, (..., tokens, d)."""
        raise NotImplementedError

    def neuron_logit_map(self, parameters: Parameters) -> Tensor:
        """Return W_L, the linear map from neurons to logits, (..., d_mlp, classes)."""
        raise NotImplementedError

    def units(self) -> Mapping[str, Mapping[str, int]]:
        """Return the groups of interchangeable units: units -> {parameter: its axis over them, from the end}.

        The same permutation of all these axes changes nothing that the network computes. A group named `neurons_post`
        is the site whose values are the neurons' activations. Groups with weights into the tokens' own rows come
        first, since tokens and answers have an order that a matching can start from.
        """
        return {}

    def head_parameters(self) -> Sequence[str]:
        """Return the parameters whose first axis runs over attention heads, those of the first layer."""
        return ()

    def head_maps(self, parameters: Parameters) -> HeadMaps:
        """Return the maps of the first layer's attention heads."""
        raise NotImplementedError

    def homogeneous_weights(self, parameters: Parameters) -> tuple[tuple[Tensor, ...], int] | None:
        """Return the weights of each neuron, and the degree in which the logits scale with all of them together.

        None for a network that is not homogeneous.
        """
        raise NotImplementedError

    def stacked_gradients(
        self, stack: Parameters, pairs: Tensor, labels: Tensor, own_data: bool, wanted: Collection[str]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return mean cross-entropies (N,) in float64 of N networks, and their gradients by the wanted parameters.

        Parameters
        ----------
        stack : mapping of str to Tensor
            All parameters by name, (N, ...).
        pairs, labels : Tensor
            (n, operands) and (n,), or with `own_data` (N, n, operands) and (N, n).
        own_data : bool
            Whether each network has samples of its own.
        wanted : collection of str
            Names of parameters.
        """
        raise NotImplementedError

    def stacked_grid(self, stack: Parameters, names: Collection[str]) -> dict[str, Tensor]:
        """Return values at sites of N networks on all pairs of tokens, faster than by `forward`."""
        raise NotImplementedError

    def declares(self, what: str) -> bool:
        """Tell whether the model has a site of that name, or overrides the method of that name.

        A quick version of the forward pass counts only if the model's own class brings it: a class derived from that
        may have another forward.
        """
        if what in self.sites:
            return True
        if what in ("stacked_gradients", "stacked_grid"):
            return what in vars(type(self))
        return getattr(type(self), what, None) is not getattr(Model, what, None)
