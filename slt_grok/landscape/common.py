"""Shared parts of the landscape measurements: datasets from declared variables, pairs of trajectories, timing."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import xarray as xr

from slt_grok.errors import SltGrokError
from slt_grok.measurement import Variable, declare
from slt_grok.trajectories import Parameters, Trajectory


def declared(
    trajectory: Trajectory, variables: Mapping[str, Variable], values: Mapping[str, Any], **coords: Any
) -> xr.Dataset:
    """Build a dataset over the trajectory from values (N, ...), with the declared dimensions and attributes."""
    return trajectory.dataset(declare(variables, values), **coords)


def paired_stacks(first: Trajectory, second: Trajectory) -> tuple[Parameters, Parameters]:
    """Stack the parameters of two trajectories whose networks are compared in pairs.

    Raises
    ------
    SltGrokError
        They have different numbers of networks.
    """
    if len(first) != len(second):
        raise SltGrokError(f"pairs of networks: expected equally many, got {len(first)} and {len(second)}")
    return first.stacked(), second.stacked()


def only(where: str, variables: Mapping[str, Variable]) -> dict[str, Variable]:
    """Mark variables as available only for some networks."""
    return {name: variable._replace(where=where) for name, variable in variables.items()}


def timed(work: Callable[..., Any], *arguments: Any) -> float:
    """Time the second call of a function in seconds, since the first call is slower."""
    work(*arguments)
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start
