"""A module's function with its task and loss, for one set of parameters or a stack of them.

Everything that can be computed for many networks at once uses `torch.func.vmap` over the stack where that works, and a
loop where it does not, so any `nn.Module` works, not only those of this package.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from slt_grok.errors import SltGrokError, UserCodeError, shown
from slt_grok.format import first_line
from slt_grok.models.copying import checked_weight, copied, overlaps, prepared
from slt_grok.models.model import Model, record
from slt_grok.models.vectorized import Axes, looped, vmap_works
from slt_grok.tasks import Task

TRIAL = 8  # samples on which vmap is compared with a loop

Loss = Callable[[Tensor, Tensor], Tensor]
Parameters = Mapping[str, Tensor]
Call = Callable[[nn.Module, dict[str, Any], tuple[Any, ...], dict[str, Any]], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-log softmax(logits)[label] for each sample, in nats: logits (n, classes), labels (n,) -> (n,)."""
    return nn.functional.cross_entropy(logits, labels, reduction="none")


def as_floats(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Convert real inputs or targets to a precision; tokens and labels stay integers."""
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


@contextmanager
def _user_code(what: str) -> Iterator[None]:
    try:
        yield
    except SltGrokError:
        raise
    except Exception as error:
        raise UserCodeError(f"{what} fails: {first_line(error)}") from error


@dataclass(frozen=True)
class Network:
    """A module's function, its task and its loss.

    Its state, which is passed to every call, consists of the parameters and of the floating-point buffers that are
    saved in state dicts, such as running averages. Tied tensors are one tensor, with the first of their names.

    Parameters
    ----------
    module : torch.nn.Module
        Any `nn.Module`; a copy in evaluation mode is kept, of which only the structure and the other buffers are used.
    task : Task or None, optional
        The task that it learned; None for an external network.
    loss : Loss, optional
        (outputs, targets) -> losses of the samples, or their mean. Outputs and real targets are first cast to float64,
        since float32 does not resolve a loss near 1e-8.
    call : Call, optional
        (module, parameters, arguments, options) -> outputs; an intervention replaces it.
    frozen : collection of str, optional
        Parameters that are constants: they do not move in an LLC estimate, and are in no norm, gradient or Hessian. By
        default those without `requires_grad`, but none if this holds for all. Buffers always are constants.

    Raises
    ------
    SltGrokError
        The module cannot be copied, its weights have no values or share memory, or the loss is not a function.
    """

    module: nn.Module
    task: Task | None = None
    loss: Loss = cross_entropy
    call: Call = functional_call
    frozen: Collection[str] | None = None
    _vmaps: dict[Any, bool] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.module, nn.Module):
            raise SltGrokError(f"module: expected a torch.nn.Module, got {shown(self.module)}")
        if isinstance(self.loss, type):
            raise SltGrokError(f"loss: expected a function or module, got a class; pass {self.loss.__name__}()")
        if not callable(self.loss):
            raise SltGrokError(f"loss: expected a function (outputs, targets) -> losses, got {shown(self.loss)}")
        state, parameters = self._tensors(self.module), dict(self.module.named_parameters())
        for name, tensor in state.items():
            checked_weight("module", name, tensor)
        for one, other in overlaps(state):
            if one in parameters or other in parameters:
                raise SltGrokError(
                    f"module: {one} and {other} share memory; tie them by assigning the parameter itself, not its data"
                )
        names = self.frozen
        if names is None:
            trainable = {name: parameter.requires_grad for name, parameter in parameters.items()}
            names = [name for name, moves in trainable.items() if not moves and any(trainable.values())]
        object.__setattr__(self, "frozen", names)
        copy = copied(self.module)
        copy.eval()  # which returns nothing if the module's `train` returns nothing
        object.__setattr__(self, "module", copy.requires_grad_(False))
        if isinstance(self.loss, nn.Module):  # its weights of classes, for example, at the precision of the outputs
            object.__setattr__(self, "loss", copied(self.loss).double())

    @property
    def loss_units(self) -> str:
        """Units of the loss: nats for cross-entropy, those that the task declares for its loss, else empty."""
        if self.loss in (cross_entropy, nn.functional.cross_entropy) or isinstance(self.loss, nn.CrossEntropyLoss):
            return "nats"
        return self.task.loss_units if isinstance(self.task, Task) and self.task.loss is self.loss else ""

    @cached_property
    def shapes(self) -> dict[str, torch.Size]:
        """Name and shape of every tensor of the state: parameters, then buffers."""
        return {name: tensor.shape for name, tensor in self._tensors(self.module).items()}

    @cached_property
    def buffers(self) -> list[str]:
        """Names of the buffers in the state."""
        parameters = dict(self.module.named_parameters())
        return [name for name in self.shapes if name not in parameters]

    @cached_property
    def moving(self) -> list[str]:
        """Names of the weights: the parameters that are not frozen."""
        return [name for name in self.shapes if name not in self.fixed]

    @cached_property
    def fixed(self) -> list[str]:
        """Names of the rest of the state: frozen parameters and buffers."""
        return [name for name in self.shapes if name in self.buffers or name in (self.frozen or ())]

    @cached_property
    def names(self) -> dict[str, list[str]]:
        """All names of each tensor of the state, several if it is tied."""
        tensors = self._tensors(self.module)
        first = {id(tensor): name for name, tensor in tensors.items()}
        names: dict[str, list[str]] = {name: [] for name in tensors}
        for listed in (self.module.named_parameters, self.module.named_buffers):
            for name, tensor in listed(remove_duplicate=False):
                if id(tensor) in first:
                    names[first[id(tensor)]].append(name)
        return names

    def copy_state(self, module: nn.Module) -> dict[str, Tensor]:
        """Copy the state of a module with this structure."""
        return {name: tensor.detach().clone() for name, tensor in self._tensors(module).items()}

    def select_state(self, origin: object, saved: Mapping[str, Any]) -> dict[str, Tensor]:
        """Select the state from a state dict, in which a tied tensor may have any of its names.

        Parameters
        ----------
        origin : object
            Name of the state dict in error messages.
        saved : mapping
            Tensors by name.

        Raises
        ------
        SltGrokError
            Two names of one tensor hold different values, or there is a tensor that the module does not have.
        """
        if not isinstance(saved, Mapping):
            raise SltGrokError(f"{origin}: expected a state dict, got {shown(saved)}; pass module.state_dict()")
        known = {*self.module.state_dict(), *dict(self.module.named_buffers())}
        for name in saved:
            if name not in known:
                raise SltGrokError(f"{origin}: holds {name}, which {type(self.module).__name__} does not have")
        state = {}
        for name, names in self.names.items():
            here = [other for other in names if other in saved]
            for other in here:
                checked_weight(origin, other, saved[other])
            for other in here[1:]:
                if not torch.equal(saved[here[0]], saved[other]):
                    raise SltGrokError(
                        f"{origin}: expected equal {here[0]} and {other}, which are one tensor of "
                        f"{type(self.module).__name__}"
                    )
            if here:
                state[name] = saved[here[0]].detach()
        return state

    def set_constants(self, checkpoints: Mapping[str, Mapping[str, Any]]) -> None:
        """Set the buffers of integers and truth values, such as masks, to those of state dicts by name.

        Raises
        ------
        SltGrokError
            A state dict lacks one, or they differ. Counters of batches are ignored: evaluation does not use them.
        """
        saved = self.module.state_dict(keep_vars=True)
        for name, buffer in self.module.named_buffers():
            if name not in saved or buffer.is_floating_point() or name.endswith("num_batches_tracked"):
                continue
            first = None
            for origin, state in checkpoints.items():
                value = state.get(name)
                if not isinstance(value, Tensor) or value.shape != buffer.shape:
                    got = f"got {tuple(value.shape) if isinstance(value, Tensor) else shown(value)}"
                    got = "it is missing" if value is None else got
                    raise SltGrokError(f"{origin}: expected a tensor {name} of shape {tuple(buffer.shape)}, {got}")
                first = value if first is None else first
                if not torch.equal(value, first):
                    raise SltGrokError(f"{origin}: expected the same {name} in all checkpoints, since it is no weight")
            if first is not None:
                buffer.copy_(first)

    @staticmethod
    def _tensors(module: nn.Module) -> dict[str, Tensor]:
        saved = module.state_dict(keep_vars=True)
        buffers = {k: b for k, b in module.named_buffers() if k in saved and b.is_floating_point()}
        return {**dict(module.named_parameters()), **buffers}

    def declares(self, what: str) -> bool:
        """Return whether the module declares a site or method with that name, see `slt_grok.models.Model`."""
        return isinstance(self.module, Model) and self.module.declares(what)

    def outputs(self, parameters: Parameters, inputs: Tensor, **options: Any) -> Tensor:
        """Compute the module's outputs for one state, with real inputs and other buffers at its precision.

        Raises
        ------
        SltGrokError
            The module changes its inputs, so that another call would see others.
        """
        dtypes = {tensor.dtype for tensor in parameters.values()}
        dtype = reduce(torch.promote_types, dtypes) if dtypes else None
        if len(dtypes) > 1:
            parameters = {name: tensor.to(dtype) for name, tensor in parameters.items()}
        like = next(iter(parameters.values()), None)
        buffers = {name: b.to(dtype) for name, b in self.module.named_buffers() if b.is_floating_point()}
        inputs = inputs if dtype is None else as_floats(inputs, dtype)
        version = inputs._version
        with _user_code(f"module: {type(self.module).__name__}"), prepared(self.module, like):
            outputs = self.call(self.module, buffers | dict(parameters), (inputs,), options)
        if inputs._version != version:
            raise SltGrokError(
                f"module: {type(self.module).__name__} changes its inputs in place; change a copy in its forward method"
            )
        return outputs

    def mean_loss(self, parameters: Parameters, inputs: Tensor, targets: Tensor) -> Tensor:
        """Compute the mean loss over the samples for one set of parameters, a float64 scalar."""
        outputs = self.outputs(parameters, inputs).double()
        with _user_code("loss:"):
            return self.loss(outputs, as_floats(targets, torch.float64)).double().mean()

    def mapped(
        self, function: Callable[..., Any], in_dims: Axes, trial: tuple[Any, ...], *variant: str
    ) -> Callable[..., Any]:
        """Build the function of many networks, by `vmap` where it works, otherwise by a loop over them.

        Parameters
        ----------
        function : callable
            Function of one network, such as `outputs`; the result of its trial is remembered by its name and axes.
        in_dims : sequence
            0 for each argument with a leading N, None for others.
        trial : tuple
            Arguments on which both are compared, the first of them a stack of states.
        variant : str
            What else distinguishes functions of one name, such as the sites whose values they return.
        """
        stack, *rest = trial
        key = function.__qualname__, variant, *in_dims, *(tensor.dtype for tensor in stack.values())
        if key not in self._vmaps:
            # a little off these weights, where losses and gradients may be rounding errors
            weights = {name: (1.01 * stack[name].detach() + 0.01).requires_grad_() for name in self.moving}
            self._vmaps[key] = vmap_works(function, in_dims, (stack | weights, *rest))
        return vmap(function, tuple(in_dims)) if self._vmaps[key] else looped(function, in_dims)

    def stacked_outputs(self, stack: Parameters, inputs: Tensor) -> Tensor:
        """Compute the outputs (N, n, ...) of N networks on the same inputs."""
        stack = dict(stack)
        return self.mapped(self.outputs, (0, None), (stack, inputs[:TRIAL]))(stack, inputs)

    def stacked_sites(self, stack: Parameters, inputs: Tensor, *names: str) -> dict[str, Tensor]:
        """Compute the values (N, ...) at named sites of N networks on the same inputs (models of this package)."""

        def sites(parameters: Parameters, inputs: Tensor) -> dict[str, Tensor]:
            values: dict[str, Tensor] = {}
            self.outputs(parameters, inputs, at=record(values, *names))
            return values

        stack = dict(stack)
        return self.mapped(sites, (0, None), (stack, inputs[:TRIAL]), *names)(stack, inputs)

    def stacked_mean_loss(self, stack: Parameters, inputs: Tensor, targets: Tensor, own_data: bool) -> Tensor:
        """Compute the mean losses (N,) of N networks in float64; with `own_data` the data has its own leading N."""
        stack, in_dims = dict(stack), (0, 0, 0) if own_data else (0, None, None)
        few = [data[:, :TRIAL] if own_data else data[:TRIAL] for data in (inputs, targets)]
        return self.mapped(self.mean_loss, in_dims, (stack, *few))(stack, inputs, targets)

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
        with _user_code("module: the gradient"):
            gradients = torch.autograd.grad(losses.sum(), [leaves[name] for name in wanted], materialize_grads=True)
        return losses.detach(), dict(zip(wanted, gradients, strict=True))
