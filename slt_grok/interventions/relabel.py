"""Relabel the elements of a group: the same function under other names.

A network that answers c to (a, b) becomes one that answers pi(c) to (pi(a), pi(b)). Labels and split are relabeled as
well, so its losses do not change. If pi is an automorphism of the group, such as t -> m t on Z_n with m and n coprime,
the labels stay the same and frequency k becomes m^-1 k: every circuit measure must be unchanged. A random permutation
preserves the losses but destroys every relation to the group: the null of the Fourier measures.
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
from slt_grok.interventions.weights import change_tables, group_of
from slt_grok.tasks import GroupTask, Task
from slt_grok.trajectories import Trajectory


@dataclass(frozen=True, kw_only=True)
class RelabeledTask(GroupTask):
    """A task with relabeled tokens and answers: the label of (pi(a), pi(b)) is pi(label of (a, b)).

    The inputs remain all pairs in lexicographic order; a split consists of the relabeled pairs of the original split.

    Parameters
    ----------
    before : Task
        The original task, with a group.
    permutation : tuple of int
        (pi(0), ..., pi(n-1)).
    """

    before: Task
    permutation: tuple[int, ...]

    def __post_init__(self) -> None:
        """Skip the checks of the configuration."""

    @property
    def group(self) -> Group:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The group, with its elements relabeled."""
        assert self.before.group is not None
        return self.before.group

    @property
    def sign(self) -> Literal[1, -1]:
        """The sign of the original task."""
        return self.before.sign

    @cached_property
    def _new_row(self) -> Tensor:
        """New index of each row of `inputs`."""
        a, b = torch.tensor(self.permutation)[self.inputs].unbind(-1)
        return a * self.tokens + b

    def _renamed(self, labels: Tensor) -> Tensor:
        renamed = torch.tensor(self.permutation)[labels]
        return torch.empty_like(renamed).index_copy_(0, self._new_row, renamed)

    @cached_property
    def labels(self) -> Tensor:
        """The correct answer to each pair, int64 (n^2,)."""
        return self._renamed(self.before.labels)

    @cached_property
    def train_labels(self) -> Tensor:
        """The label used in training for each pair, int64 (n^2,)."""
        return self._renamed(self.before.train_labels)

    @property
    def order(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        """A permutation of the pairs that starts with the train set, int64 (n^2,)."""
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
        New label of each of 0..n-1.

    Returns
    -------
    Trajectory
        A trajectory with the same leading coordinates, whose task is a `RelabeledTask`. Rows for other tokens (the '='
        sign) are unchanged.

    Raises
    ------
    SltGrokError
        A model without declared roles, a task without a group, or not a permutation of its elements.
    """
    task, n = trajectory.task, group_of(trajectory).order
    names = torch.as_tensor(np.asarray(permutation))
    if names.shape != (n,) or not torch.equal(names.sort().values, torch.arange(n)):
        raise SltGrokError(f"relabel: expected a permutation of 0..{n - 1}")
    old_row = names.argsort()
    before, earlier = (task.before, task.permutation) if isinstance(task, RelabeledTask) else (task, range(n))
    renamed = RelabeledTask(before=before, permutation=tuple(names[list(earlier)].tolist()))
    tables = change_tables(trajectory, lambda table: table[..., old_row]).parameters
    # contiguous, so that sums run in the original order
    parameters = {name: tensor.contiguous() for name, tensor in tables.items()}
    return replace(trajectory, network=replace(trajectory.network, task=renamed), parameters=parameters)
