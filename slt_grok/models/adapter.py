"""Use any `nn.Module` on pairs as a model of this package, by naming its sites and the roles of its weights.

The module keeps its own forward pass. Sites are read and replaced where it passes a tensor to or from a submodule; an
activation that is a bare function lies between the output of one submodule and the input of another. The embedding
table must be looked up by token, as `nn.Embedding` does.

>>> mine = MyMLP(p=53)                                    # embedding, linear1l, linear1r, act, linear2
>>> network = models.Adapter(
...     mine,
...     tokens=53,
...     inputs=lambda pairs: (pairs[:, 0], pairs[:, 1]),  # arguments of MyMLP.forward
...     sites={"neurons_pre": "act:input", "neurons_post": "act:output"},
...     roles={"input": ("embedding.weight", -2), "output": ("linear2.weight", -2)},
... )
>>> states = {step: torch.load(f"{step}.pt", weights_only=True) for step in (100, 200, 300)}
>>> states = {step: network.named(state) for step, state in states.items()}
>>> circuits.measure(Trajectory.stack(network, states, ModularTask(53)))
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from slt_grok.errors import SltGrokError
from slt_grok.models.model import At, Model, passthrough

SIDES = ("input", "output")
PREFIX = "network."  # prefix of the wrapped module's parameter names in the adapter


class Adapter(Model):
    """A user-supplied module with named sites and roles.

    Parameters
    ----------
    network : torch.nn.Module
        The module to wrap.
    tokens : int
        Number of tokens, p.
    sites : Mapping[str, str]
        `neurons_pre`, `neurons_post` and, for a module with attention, `attention_pattern` -> "SUBMODULE:input" or
        "SUBMODULE:output", with the submodule's dotted name. The site `embedding` is the table of the role `input`.
    roles : Mapping[str, tuple[str, int]]
        Parameter and axis (counted from the end) that runs over Z_p, for each role: `input` (or `left` and `right` for
        separate embeddings of the two operands), `output`, and `output_bias` if any.
    inputs : callable, optional
        Maps pairs (n, 2) to the arguments of the module's forward: a tensor or a tuple. By default, the pairs
        themselves.
    neuron_logit_map : callable or None, optional
        Computes W_L (..., d_mlp, p) from the module's parameters by name, which may have leading axes. The default is
        the parameter of the role `output`, for a module whose neurons reach the logits only through it.
    position : int or None, optional
        Position at which sites and logits are read, for a module with an axis of positions after the samples; -1 is the
        last. For the attention pattern (n, head, query, key), it is the query.
    quadratic : bool, optional
        Whether the activation is the square, which affects the threshold for assigning a neuron to a frequency.

    Raises
    ------
    SltGrokError
        The module lacks a submodule or parameter, a site or role is missing, or an axis has fewer than p entries.
    """

    def __init__(
        self,
        network: nn.Module,
        tokens: int,
        sites: Mapping[str, str],
        roles: Mapping[str, tuple[str, int]],
        inputs: Callable[[Tensor], Tensor | tuple[Tensor, ...]] = lambda pairs: pairs,
        neuron_logit_map: Callable[[Mapping[str, Tensor]], Tensor] | None = None,
        position: int | None = None,
        quadratic: bool = False,
    ) -> None:
        super().__init__(tokens)
        self.network, self.places, self.roles = network, dict(sites), dict(roles)
        self.sites = ("embedding", *sites, "logits")
        self.inputs, self.position = inputs, position
        self.logit_map = neuron_logit_map
        self.activation = torch.square if quadratic else None
        self.tables = [role for role in ("input", "left", "right") if role in self.roles]
        shapes = {name: parameter.shape for name, parameter in network.named_parameters()}
        if self.tables not in (["input"], ["left", "right"]) or "output" not in self.roles:
            raise SltGrokError(f"roles: expected input (or left and right) and output, got {', '.join(roles)}")
        for role, (name, axis) in self.roles.items():
            if name not in shapes:
                raise SltGrokError(f"roles: expected {role} to be one of {', '.join(shapes)}, got {name!r}")
            if not -len(shapes[name]) <= axis < 0 or shapes[name][axis] < tokens:
                raise SltGrokError(
                    f"roles: expected {name} to have p = {tokens} entries or more along axis {axis} (counted from the "
                    f"end), got shape {tuple(shapes[name])}"
                )
        for site in ("neurons_pre", "neurons_post"):
            if site not in self.places:
                raise SltGrokError(f"sites: expected a submodule for {site}, got none")
        for site, place in self.places.items():
            name, _, side = place.rpartition(":")
            if side not in SIDES or name not in dict(network.named_modules()):
                raise SltGrokError(f"sites: expected SUBMODULE:input or SUBMODULE:output for {site}, got {place!r}")

    def initialize(self, generator: torch.Generator) -> None:
        """Raise an error, since the initialization of an external module is unknown.

        Raises
        ------
        SltGrokError
            Always.
        """
        raise SltGrokError("adapter: cannot initialize a wrapped module; pass trained parameters")

    def named(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Rename a state dict of the wrapped module to this module's parameter names."""
        return {PREFIX + name: tensor for name, tensor in state.items()}

    def forward(self, pairs: Tensor, at: At = passthrough) -> Tensor:
        """Compute the logits (n, p) of the wrapped module at `position`, without classes beyond p."""
        table = at("embedding", self._whole_embedding(dict(self.named_parameters())))
        table, pairs = self._in_module_order(table, pairs)
        parts = table.chunk(len(self.tables), -1)
        replaced = {}
        for role, part in zip(self.tables, parts, strict=True):
            name, axis = self.roles[role]
            replaced[name] = part.movedim(-2, axis)
        with ExitStack() as hooks:
            for site, place in self.places.items():
                name, _, side = place.rpartition(":")
                hooks.callback(self._hook(self.network.get_submodule(name), site, side, at).remove)
            arguments = self.inputs(pairs)
            logits = functional_call(
                self.network, replaced, arguments if isinstance(arguments, tuple) else (arguments,)
            )
        if self.position is not None:
            logits = logits[:, self.position]
        return at("logits", logits[..., : self.classes])

    def _in_module_order(self, table: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
        """Move non-numeric tokens such as '=' to where the module expects them.

        A measurement that gives every pair two separate tokens sets `tokens` to their number. The module still expects
        the first non-numeric token at p, so numbers from p on are moved after it.
        """
        p, numbers, others = self.classes, table[: self.tokens], table[self.tokens :]
        filled = nn.functional.pad(numbers[:p], (0, 0, 0, max(0, p - len(numbers))))
        return torch.cat([filled, others, numbers[p:]]), torch.where(pairs < p, pairs, pairs + len(others))

    def _hook(self, module: nn.Module, site: str, side: str, at: At) -> Any:
        axis = None if self.position is None else 2 if site == "attention_pattern" else 1

        def through(values: Tensor) -> Tensor:
            if axis is None:
                return at(site, values)
            index = torch.tensor([self.position], device=values.device) % values.shape[axis]
            selected = at(site, values.index_select(axis, index).squeeze(axis))
            return values.index_copy(axis, index, selected.unsqueeze(axis))

        if side == "input":
            return module.register_forward_pre_hook(lambda _, arguments: (through(arguments[0]), *arguments[1:]))

        def after(module: nn.Module, arguments: Any, output: Tensor) -> Tensor:
            return through(output)

        return module.register_forward_hook(after)

    def token_roles(self) -> Mapping[str, tuple[str, int]]:
        """Return the roles passed to the constructor."""
        return {role: (PREFIX + name, axis) for role, (name, axis) in self.roles.items()}

    def token_embedding(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Select the rows of the embedding for Z_p, (..., p, d).

        The tables of `left` and `right` are concatenated.
        """
        return self._whole_embedding(parameters)[..., : self.tokens, :]

    def _whole_embedding(self, parameters: Mapping[str, Tensor]) -> Tensor:
        tables = [self.roles[role] for role in self.tables]
        return torch.cat([parameters[PREFIX + name].movedim(axis, -2) for name, axis in tables], -1)

    def neuron_logit_map(self, parameters: Mapping[str, Tensor]) -> Tensor:
        """Compute W_L (..., d_mlp, p): as passed, or the parameter of the role `output`."""
        if self.logit_map is not None:
            unprefixed = {name.removeprefix(PREFIX): tensor for name, tensor in parameters.items()}
            return self.logit_map(unprefixed)[..., : self.classes]
        name, axis = self.roles["output"]
        return parameters[PREFIX + name].movedim(axis, -1)[..., : self.classes]
