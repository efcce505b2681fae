"""A module's function with its task and loss, for one set of parameters or a stack of them.

Everything that can be computed for many networks at once uses `torch.func.vmap` over the stack, so any `nn.Module`
works, not only those of this package.
"""

from collections.abc import Callable, Collection, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from slt_grok.models.model import Model, record
from slt_grok.tasks import Task

Loss = Callable[[Tensor, Tensor], Tensor]
Parameters = Mapping[str, Tensor]
Call = Callable[[nn.Module, dict[str, Any], tuple[Any, ...], dict[str, Any]], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-log softmax(logits)[label] for each sample, in nats: logits (n, classes), labels (n,) -> (n,)."""
    return nn.functional.cross_entropy(logits, labels, reduction="none")


@dataclass(frozen=True)
class Network:
    """A module's function, its task and its loss.

    Parameters
    ----------
    module : torch.nn.Module
        Any `nn.Module`; a copy in evaluation mode is kept, of which only the structure and buffers are used: parameters
        are passed separately.
    task : Task or None, optional
        The task that it learned; None for an external network.
    loss : Loss, optional
        (outputs, targets) -> losses of the samples, or their mean. Outputs are first cast to float64, since float32
        does not resolve a loss near 1e-8.
    call : Call, optional
        (module, parameters, arguments, options) -> outputs; an intervention replaces it.
    frozen : collection of str, optional
        Parameters that do not move in an LLC estimate; by default those without `requires_grad`, but none if this holds
        for all.
    """

    module: nn.Module
    task: Task | None = None
    loss: Loss = cross_entropy
    call: Call = functional_call
    frozen: Collection[str] | None = None

    def __post_init__(self) -> None:
        if self.frozen is None:
            trainable = {name: parameter.requires_grad for name, parameter in self.module.named_parameters()}
            names = [name for name, moves in trainable.items() if not moves and any(trainable.values())]
            object.__setattr__(self, "frozen", names)
        object.__setattr__(self, "module", deepcopy(self.module).eval().requires_grad_(False))

    @property
    def shapes(self) -> dict[str, torch.Size]:
        """Name and shape of every parameter."""
        return {name: parameter.shape for name, parameter in self.module.named_parameters()}

    def declares(self, what: str) -> bool:
        """Return whether the module declares a site or method with that name, see `slt_grok.models.Model`."""
        return isinstance(self.module, Model) and self.module.declares(what)

    def outputs(self, parameters: Parameters, inputs: Tensor, **options: Any) -> Tensor:
        """Compute the module's outputs for one set of parameters, with floating-point buffers at their precision."""
        dtype = next((tensor.dtype for tensor in parameters.values()), None)
        buffers = {name: b.to(dtype) for name, b in self.module.named_buffers() if b.is_floating_point()}
        return self.call(self.module, buffers | dict(parameters), (inputs,), options)

    def mean_loss(self, parameters: Parameters, inputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the mean loss over the samples for one set of parameters, a float64 scalar."""
        return self.loss(self.outputs(parameters, inputs).double(), targets).double().mean()

    def stacked_outputs(self, stack: Parameters, inputs: Tensor) -> Tensor:
        """Compute the outputs (N, n, ...) of N networks on the same inputs."""
        return vmap(lambda parameters: self.outputs(parameters, inputs))(dict(stack))

    def stacked_sites(self, stack: Parameters, inputs: Tensor, *names: str) -> dict[str, Tensor]:
        """Compute the values (N, ...) at named sites of N networks on the same inputs (models of this package)."""

        def sites(parameters: Parameters) -> dict[str, Tensor]:
            values: dict[str, Tensor] = {}
            self.outputs(parameters, inputs, at=record(values, *names))
            return values

        return vmap(sites)(dict(stack))

    def stacked_mean_loss(self, stack: Parameters, inputs: Tensor, targets: Tensor, own_data: bool) -> Tensor:
        """Compute the mean losses (N,) of N networks in float64; with `own_data` the data has its own leading N."""
        data_dim = 0 if own_data else None
        return vmap(self.mean_loss, in_dims=(0, data_dim, data_dim))(dict(stack), inputs, targets)

    def stacked_loss_and_gradient(
        self, stack: Parameters, inputs: Tensor, targets: Tensor, own_data: bool, wanted: Collection[str]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute `stacked_mean_loss`, and each network's gradient (N, ...) with respect to the wanted parameters.

        A model's `stacked_gradients` is used if declared; without it, or under an intervention or another loss,
        automatic differentiation is used, against which those gradients are tested.
        """
        stack = {name: tensor.detach() for name, tensor in stack.items()}
        module, plain = self.module, self.loss is cross_entropy and self.call is functional_call
        if plain and isinstance(module, Model) and module.declares("stacked_gradients"):
            return module.stacked_gradients(stack, inputs, targets, own_data, wanted)
        leaves = {name: t.requires_grad_(name in wanted) for name, t in stack.items()}
        losses = self.stacked_mean_loss(leaves, inputs, targets, own_data)
        gradients = torch.autograd.grad(losses.sum(), [leaves[name] for name in wanted], materialize_grads=True)
        return losses.detach(), dict(zip(wanted, gradients, strict=True))
