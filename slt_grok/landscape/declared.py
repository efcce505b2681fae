"""Shared parts of the landscape probes: datasets from declared variables, and requirements on the network."""

from collections.abc import Mapping
from typing import Any

import xarray as xr

from slt_grok.measurement import Measurement, Variable
from slt_grok.trajectories import Network, Trajectory


def declared(
    trajectory: Trajectory, variables: Mapping[str, Variable], values: Mapping[str, Any], **coords: Any
) -> xr.Dataset:
    """Build a dataset over the trajectory from values (N, ...), with the declared dimensions and attributes."""
    return trajectory.dataset({k: (variables[k].dims, v, variables[k].attrs) for k, v in values.items()}, **coords)


def only(where: str, variables: Mapping[str, Variable]) -> dict[str, Variable]:
    """Mark variables as available only for some networks."""
    return {name: variable._replace(where=where) for name, variable in variables.items()}


class OfLoss(Measurement):
    """Base class of measurements of the loss on a task's samples."""

    def unmeasurable(self, network: Network) -> str | None:
        """Explain that a network has no task; None if it has one."""
        return None if network.task else "the network has no task, so the samples of its loss are unknown"
