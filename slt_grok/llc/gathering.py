"""The samples of an estimate, and modules with several inputs.

For a module with several inputs, the inputs of a problem are row numbers, from which the network's call gathers the
rows of each tensor: minibatches, chunks and devices only need to know of one tensor.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from slt_grok.errors import SltGrokError
from slt_grok.llc.restrictions import split
from slt_grok.models.network import Call
from slt_grok.samples import Inputs, read, tensors_of
from slt_grok.tasks.task import SPLITS
from slt_grok.trajectories import Trajectory


@dataclass(frozen=True)
class Gathering:
    """A network's call on row numbers, which passes the rows of several tensors to the module.

    Parameters
    ----------
    tensors : tuple or dict of Tensor
        Positional or named inputs, with the samples along the first axis of each; floating-point numbers are passed at
        the precision of the parameters.
    call : Call
        The call that they are passed to, see `slt_grok.models.Network`.
    """

    tensors: tuple[Tensor, ...] | dict[str, Tensor]
    call: Call
    copies: dict[Any, list[Tensor]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __call__(
        self, module: nn.Module, parameters: dict[str, Any], arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> Tensor:
        """Call the module on some rows."""
        (rows,) = arguments
        dtype = next((tensor.dtype for tensor in parameters.values() if tensor.is_floating_point()), torch.float64)
        key = rows.device, dtype
        if key not in self.copies:
            self.copies[key] = [
                tensor.to(rows.device, dtype if tensor.is_floating_point() else tensor.dtype)
                for tensor in tensors_of(self.tensors)
            ]
        chosen = [tensor[rows] for tensor in self.copies[key]]
        if isinstance(self.tensors, dict):
            return self.call(module, parameters, (), dict(zip(self.tensors, chosen, strict=True)) | options)
        return self.call(module, parameters, tuple(chosen), options)


def with_samples(trajectory: Trajectory, data: Any = None) -> tuple[Trajectory, Tensor, Tensor, Inputs]:
    """Read the samples, and make the network take them.

    Parameters
    ----------
    trajectory : Trajectory
        The networks.
    data : object, optional
        See `slt_grok.llc.estimate`.

    Returns
    -------
    tuple
        The trajectory, its inputs, the targets, and the inputs as given. For a module with several inputs, its inputs
        are row numbers, int64 (n,), which only the returned trajectory takes.

    Raises
    ------
    SltGrokError
        The data has none of the supported forms, or there is no such split.
    """
    inputs, targets = _of_split(trajectory, data) if data is None or isinstance(data, str) else read(data)
    if isinstance(inputs, Tensor):
        return trajectory, inputs, targets, inputs
    network = replace(trajectory.network, call=Gathering(inputs, trajectory.network.call))
    return replace(trajectory, network=network), torch.arange(len(targets)), targets, inputs


def _of_split(trajectory: Trajectory, name: str | None) -> tuple[Inputs, Tensor]:
    task = trajectory.network.task
    if task is None:
        wrong = "" if name is None else f" with a split {name!r}"
        raise SltGrokError(f"data: expected (inputs, targets), since the network has no task{wrong}")
    name = name or "train"
    if name not in SPLITS:
        raise SltGrokError(f"data: expected one of the task's splits {', '.join(SPLITS)}, got {name!r}")
    return split(task, name)
