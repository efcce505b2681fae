"""What all probes of the landscape share: datasets from declared variables, and what they need of a network."""

from collections.abc import Mapping
from typing import Any

import xarray as xr

from slt_grok.measurement import Measurement, Variable
from slt_grok.trajectories import Network, Trajectory


def declared(
    trajectory: Trajectory, variables: Mapping[str, Variable], values: Mapping[str, Any], **coords: Any
) -> xr.Dataset:
    """Return a dataset over the trajectory from values (N, ...), with the declared dimensions and attributes."""
    return trajectory.dataset({k: (variables[k].dims, v, variables[k].attrs) for k, v in values.items()}, **coords)


def only(where: str, variables: Mapping[str, Variable]) -> dict[str, Variable]:
    """Return variables that only some networks have."""
    return {name: variable._replace(where=where) for name, variable in variables.items()}


class OfLoss(Measurement):
    """Base of measurements of the loss on a task's samples."""

    def unmeasurable(self, network: Network) -> str:
        """Return why: no task."""
        return "" if network.task else "the network has no task, so that the samples of its loss are not known"
