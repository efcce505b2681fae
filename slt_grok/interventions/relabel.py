"""Renaming the elements of a group: the same function under other names.

A network that answers c to (a, b) becomes one that answers pi(c) to (pi(a), pi(b)). Labels and split are renamed
with it, so that its losses do not change. Where pi is an automorphism of the group, such as t -> m t on Z_n with m and
n coprime, the labels stay what they were, and frequency k becomes m^-1 k: every circuit measure must be unchanged. A
random permutation keeps the losses and destroys every relation to the group: the null of the Fourier measures.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.groups import Group
from slt_grok.models import Model
from slt_grok.tasks import GroupTask, Task
from slt_grok.trajectories import Trajectory


@dataclass(frozen=True, kw_only=True)
class RelabeledTask(GroupTask):
    """A task whose tokens and answers are renamed: the label of (pi(a), pi(b)) is pi(label of (a, b)).

    The inputs are all pairs in lexicographic order as ever; a split holds the renamed pairs of the same split before.

    Parameters
    ----------
    before : Task
        The task before, with a group.
    permutation : tuple of int
        (pi(0), ..., pi(n-1)).
    """

    before: Task
    permutation: tuple[int, ...]

    def __post_init__(self) -> None:
        """Skip the checks of a configuration."""

    @property
    def group(self) -> Group:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The group, its elements named as before."""
        assert self.before.group is not None
        return self.before.group

    @property
    def sign(self) -> Literal[1, -1]:
        """As before."""
        return self.before.sign

    @cached_property
    def _new_row(self) -> Tensor:
        """Where each row of `inputs` goes."""
        a, b = torch.tensor(self.permutation)[self.inputs].unbind(-1)
        return a * self.tokens + b

    def _renamed(self, labels: Tensor) -> Tensor:
        renamed = torch.tensor(self.permutation)[labels]
        return torch.empty_like(renamed).index_copy_(0, self._new_row, renamed)

    @cached_property
    def labels(self) -> Tensor:
        """The right answer to each pair, int64 (n^2,)."""
        return self._renamed(self.before.labels)

    @cached_property
    def train_labels(self) -> Tensor:
        """The label of each pair in training, int64 (n^2,)."""
        return self._renamed(self.before.train_labels)

    @property
    def order(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The permutation of the pairs whose beginning is the train set, int64 (n^2,)."""
        return self._new_row[self.before.order]

    @property
    def train_size(self) -> int:
        """Number of train pairs."""
        return self.before.train_size


def relabel(trajectory: Trajectory, permutation: Sequence[int] | np.ndarray) -> Trajectory:
    """Rename token t to permutation[t] in the inputs and the answers of every network, and in the task.

    Parameters
    ----------
    trajectory : Trajectory
        Networks whose model declares the roles of its weights, on a task with a group.
    permutation : sequence of int or ndarray
        The new name of each of 0..n-1.

    Returns
    -------
    Trajectory
        A trajectory with the same leading coordinates, whose task is a `RelabeledTask`. Rows for other tokens (the '='
        sign) stay as they are.

    Raises
    ------
    SltGrokError
        A model without declared roles, a task without a group, or something that is no permutation of its elements.
    """
    task, module = trajectory.task, trajectory.network.module
    if not isinstance(module, Model):
        raise SltGrokError(f"relabel: expected a model of slt_grok.models, got {type(module).__name__}")
    if task.group is None:
        raise SltGrokError("relabel: expected a task whose tokens form a group, this one has none")
    n = task.group.order
    names = torch.as_tensor(np.asarray(permutation))
    if names.shape != (n,) or not torch.equal(names.sort().values, torch.arange(n)):
        raise SltGrokError(f"relabel: expected a permutation of 0..{n - 1}")
    old_row = names.argsort()
    parameters = dict(trajectory.parameters)
    for name, axis in module.token_roles().values():
        if name in parameters:
            tokens, rest = parameters[name].tensor_split([n], axis)
            parameters[name] = torch.cat([tokens.index_select(axis, old_row), rest], axis)
    before, earlier = (task.before, task.permutation) if isinstance(task, RelabeledTask) else (task, range(n))
    renamed = RelabeledTask(before=before, permutation=tuple(names[list(earlier)].tolist()))
    return replace(trajectory, network=replace(trajectory.network, task=renamed), parameters=parameters)
