"""Renaming the elements of Z_p: the same function under other names.

A network that answers c to (a, b) becomes one that answers pi(c) to (pi(a), pi(b)). Labels and split are renamed
with it, so that its losses do not change. For t -> m t on addition the labels stay what they were, since
m a + m b = m (a + b), and frequency k becomes m^-1 k: every circuit measure must be unchanged. A random permutation
keeps the losses and destroys every relation to the order of Z_p: the null of the Fourier measures.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.models import Model
from slt_grok.tasks import ModularTask
from slt_grok.tasks import Split
from slt_grok.trajectories import Trajectory


@dataclass(frozen=True)
class RelabeledTask(ModularTask):
    """A task whose tokens and answers are renamed: the label of (pi(a), pi(b)) is pi(operation(a, b)).

    Parameters
    ----------
    permutation : tuple[int, ...], optional
        (pi(0), ..., pi(p-1)); the other fields are those of the task before. The inputs are all pairs in lexicographic
        order as ever; a split holds the renamed pairs of the same split before.
    """

    permutation: tuple[int, ...] = ()

    @cached_property
    def _before(self) -> ModularTask:
        return ModularTask(**{field.name: getattr(self, field.name) for field in fields(ModularTask)})

    @cached_property
    def _new_row(self) -> Tensor:
        """Where each row of `inputs` goes."""
        a, b = torch.tensor(self.permutation)[self.inputs].unbind(-1)
        return a * self.modulus + b

    @cached_property
    def labels(self) -> Tensor:
        """The right answer to each pair, int64 of shape (p^2,)."""
        renamed = torch.tensor(self.permutation)[self._before.labels]
        return torch.empty_like(renamed).index_copy_(0, self._new_row, renamed)

    @cached_property
    def train_labels(self) -> Tensor:
        """The answer that each pair is taught with where it is trained on, int64 of shape (p^2,)."""
        renamed = torch.tensor(self.permutation)[self._before.train_labels]
        return torch.empty_like(renamed).index_copy_(0, self._new_row, renamed)

    def indices(self, split: Split) -> Tensor:
        """Rows of `inputs` in a split, int64; `all` in the order of `inputs`."""
        rows = self._before.indices(split)
        return rows if split == "all" else self._new_row[rows]


def relabel(trajectory: Trajectory, permutation: Sequence[int] | np.ndarray) -> Trajectory:
    """Rename token t to permutation[t] in the inputs and the answers of every network, and in the task.

    Parameters
    ----------
    trajectory : Trajectory
        Networks of this package on a modular task.
    permutation : Sequence[int] or ndarray
        The new name of each of 0..p-1.

    Returns
    -------
    Trajectory
        A trajectory with the same leading coordinates, whose task is a `RelabeledTask`. Rows for tokens outside Z_p
        (the '=' sign) stay as they are.

    Raises
    ------
    SltGrokError
        A network that is not of this package or has no task, or something that is no permutation of Z_p.
    """
    task, module = trajectory.task, trajectory.network.module
    if not isinstance(module, Model):
        raise SltGrokError(f"relabel: expected a model of slt_grok.models, got {type(module).__name__}")
    p = task.modulus
    names = torch.as_tensor(np.asarray(permutation))
    if names.shape != (p,) or not torch.equal(names.sort().values, torch.arange(p)):
        raise SltGrokError(f"relabel: expected a permutation of 0..{p - 1}")
    old_row = names.argsort()
    parameters = dict(trajectory.parameters)
    for name, axis in module.token_roles().values():
        if name in parameters:
            tokens, rest = parameters[name].tensor_split([p], axis)
            parameters[name] = torch.cat([tokens.index_select(axis, old_row), rest], axis)
    earlier = task.permutation if isinstance(task, RelabeledTask) else range(p)
    composed = tuple(names[list(earlier)].tolist())
    given = {field.name: getattr(task, field.name) for field in fields(ModularTask)}
    network = replace(trajectory.network, task=RelabeledTask(**given, permutation=composed))
    return replace(trajectory, network=network, parameters=parameters)
