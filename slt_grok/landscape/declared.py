"""Datasets from declared variables, for functions that are of use without a run."""

from collections.abc import Mapping
from typing import Any

import xarray as xr

from slt_grok.measurement import Variable
from slt_grok.trajectories import Trajectory


def declared(
    trajectory: Trajectory, variables: Mapping[str, Variable], values: Mapping[str, Any], **coords: Any
) -> xr.Dataset:
    """Return a dataset over the trajectory from values (N, ...), with the declared dimensions and attributes."""
    return trajectory.dataset({k: (variables[k].dims, v, variables[k].attrs) for k, v in values.items()}, **coords)


def without_samples(network: Any) -> str:
    """Return why the loss of a network cannot be measured in a run; empty where it can."""
    return "" if network.task else "the network has no task, so that the samples of its loss are not known"
