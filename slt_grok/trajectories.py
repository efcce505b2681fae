"""Trajectories: the input of every measurement, a network with a stack of its parameters."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from slt_grok.errors import SltGrokError, shown
from slt_grok.models.copying import overlaps
from slt_grok.models.network import Loss, Network, Parameters, cross_entropy
from slt_grok.store import RunDirectory
from slt_grok.store.run_directory import check_parameters
from slt_grok.tasks import Task
from slt_grok.units import in_units_of_loss

__all__ = ["Loss", "Network", "Parameters", "Trajectory", "cross_entropy"]


@dataclass(frozen=True)
class Trajectory:
    """A network with a stack of its parameters.

    Parameters
    ----------
    network : Network
        The network, without parameters.
    parameters : dict[str, Tensor]
        All tensors of the network's state, parameters and buffers, with leading coordinates `dims`.
    dims : tuple[str, ...], optional
        Names of the leading coordinates, such as ("step", "seed"); () for a single network.
    coords : dict[str, ndarray], optional
        Values of each leading coordinate.

    Raises
    ------
    SltGrokError
        A tensor's shape does not fit the network, or values are not finite.
    """

    network: Network
    parameters: dict[str, Tensor]
    dims: tuple[str, ...] = ()
    coords: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shapes = {name: self.shape + shape for name, shape in self.network.shapes.items()}
        check_parameters("checkpoint", self.parameters, shapes, buffers=self.network.buffers)

    @classmethod
    def of(cls, module: nn.Module, task: Task | None = None, loss: Loss = cross_entropy) -> "Trajectory":
        """Wrap a single network with its current parameters and buffers; the module is copied."""
        network = Network(module, task, loss)
        return cls(network, network.copy_state(network.module))

    @classmethod
    def stack(
        cls,
        module: nn.Module,
        checkpoints: Mapping[int, Parameters],
        task: Task | None = None,
        loss: Loss = cross_entropy,
    ) -> "Trajectory":
        """Stack state dicts of one module by training step into a trajectory over `step`.

        Each checkpoint keeps its own floating-point buffers, such as running averages. Buffers of integers must be the
        same in all.

        Raises
        ------
        SltGrokError
            There are no checkpoints, one does not fit the module, or two share memory.
        """
        if not isinstance(checkpoints, Mapping) or not checkpoints:
            raise SltGrokError(f"checkpoints: expected a dict of state dicts by step, got {shown(checkpoints)}")
        for step in checkpoints:
            if not isinstance(step, Integral) or isinstance(step, bool) or step < 0:
                raise SltGrokError(f"checkpoints: expected steps that are integers of at least 0, got {shown(step)}")
        steps = sorted(checkpoints)
        named = {f"checkpoint at step {step}": checkpoints[step] for step in steps}
        return cls.of_states(Network(module, task, loss), named, steps)

    @classmethod
    def of_states(cls, network: Network, states: Mapping[str, Parameters], steps: Sequence[int]) -> "Trajectory":
        """Stack the state dicts of a network at some steps; see `stack`.

        Parameters
        ----------
        network : Network
            The network, whose buffers of integers become those of the state dicts.
        states : mapping of str to mapping of str to Tensor
            The state dicts by their origin, which errors name.
        steps : sequence of int
            The step of each.
        """
        selected = {origin: network.select_state(origin, saved) for origin, saved in states.items()}
        for origin, state in selected.items():
            check_parameters(origin, state, network.shapes, buffers=network.buffers)
        for name in network.shapes:
            by_origin = {origin: state[name] for origin, state in selected.items()}
            shared = next(overlaps(by_origin), None) if name not in (network.frozen or ()) else None
            if shared:
                raise SltGrokError(f"{' and '.join(shared)}: share the memory of {name}; copy each state dict")
        network.set_constants(states)
        parameters = {name: torch.stack([state[name] for state in selected.values()]) for name in network.shapes}
        return cls(network, parameters, ("step",), {"step": np.array(steps)})

    @classmethod
    def of_checkpoints(
        cls, network: Network, directory: RunDirectory, seeds: Sequence[int], steps: Sequence[int] = ()
    ) -> "Trajectory":
        """Load the checkpoints in a run directory, all by default, as a trajectory of a network over (step, seed).

        Raises
        ------
        SltGrokError
            There are no checkpoints, or one is corrupt.
        """
        if not directory.steps:
            raise SltGrokError(f"{directory.path / 'checkpoints'}: expected at least one checkpoint")
        shapes, buffers, steps = network.shapes, network.buffers, steps or directory.steps
        states = [directory.read_checkpoint(step, shapes, len(seeds), buffers) for step in steps]
        parameters = {name: torch.stack([state[name] for state in states]) for name in shapes}
        coords = {"step": np.array(steps), "seed": np.array(seeds)}
        return cls(network, parameters, ("step", "seed"), coords)

    @property
    def shape(self) -> torch.Size:
        """Sizes of the leading coordinates."""
        return torch.Size(len(self.coords[dim]) for dim in self.dims)

    def __len__(self) -> int:
        """Return the number of networks, N."""
        return self.shape.numel()

    @property
    def task(self) -> Task:
        """The task of the network.

        Raises
        ------
        SltGrokError
            The network has no task.
        """
        if self.network.task is None:
            raise SltGrokError("trajectory: expected a network with a modular task, this one has none")
        return self.network.task

    def stacked(self, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        """Flatten the leading coordinates of the parameters to one of length N."""
        n = len(self.dims)
        return {
            name: (tensor.flatten(0, n - 1) if n else tensor[None]).to(dtype or tensor.dtype)
            for name, tensor in self.parameters.items()
        }

    def labels(self) -> list[dict[str, Any]]:
        """List the coordinates of each of the N networks, in the order of `stacked`."""
        grid = np.ndindex(*self.shape)
        return [{dim: self.coords[dim][i].item() for dim, i in zip(self.dims, index, strict=True)} for index in grid]

    def isel(self, **indices: int | slice | Sequence[int]) -> "Trajectory":
        """Select along leading coordinates by position, as xarray's `isel`; an integer keeps the coordinate."""
        parameters, coords = dict(self.parameters), dict(self.coords)
        for dim, index in indices.items():
            rows = np.atleast_1d(np.arange(len(coords[dim]))[index])
            coords[dim] = coords[dim][rows]
            axis = self.dims.index(dim)
            parameters = {k: v.index_select(axis, torch.from_numpy(rows)) for k, v in parameters.items()}
        return replace(self, parameters=parameters, coords=coords)

    def first_from(self, step: float, until: float = np.nan) -> list[int]:
        """Find the index of the first checkpoint from `step` on and before `until`; empty if there is none."""
        steps = self.coords["step"]
        return np.flatnonzero((steps >= step) & ~(steps >= until))[:1].tolist()  # NaN: never

    def at_milestones(self, milestones: Callable[[int], tuple[float, float]]) -> "Trajectory":
        """Select the first checkpoints after memorization and after generalization, and the last one.

        Parameters
        ----------
        milestones : callable
            Seed -> steps at which it memorized and generalized, NaN if it did not. With several seeds the median is
            used; a milestone that no seed reached is omitted.
        """
        indices = {self.shape[0] - 1}
        for reached in zip(*map(milestones, self.coords["seed"].tolist()), strict=True):
            known = [step for step in reached if np.isfinite(step)]
            indices |= set(self.first_from(float(np.median(known)))) if known else set()
        return self.isel(step=sorted(indices))

    def shards(self, size: int, overlap: int = 0) -> Iterator["Trajectory"]:
        """Split into consecutive pieces of `size` checkpoints along `step`, each with the `overlap` preceding ones."""
        for start in range(0, self.shape[0], size):
            yield self.isel(**{self.dims[0]: slice(max(start - overlap, 0), start + size)})

    def dataset(
        self, variables: Mapping[str, tuple[Sequence[str], Any, Mapping[str, Any]]], **coords: Any
    ) -> xr.Dataset:
        """Build a dataset over the leading coordinates, with losses in the units of the network's loss.

        Parameters
        ----------
        variables : Mapping[str, tuple[Sequence[str], Any, Mapping[str, Any]]]
            Name -> (further dimensions, values of shape (N, ...), attributes).
        coords : Any
            Values of the further dimensions.
        """
        arrays = {}
        for name, (dims, values, attrs) in variables.items():
            values = np.asarray(values)
            arrays[name] = ((*self.dims, *dims), values.reshape((*self.shape, *values.shape[1:])), dict(attrs))
        dataset = xr.Dataset(arrays, coords={**{d: (d, v) for d, v in self.coords.items()}, **coords})
        return in_units_of_loss(dataset, self.network.loss_units)
