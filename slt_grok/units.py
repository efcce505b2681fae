"""Units of measured values, which follow the loss of the network where they are those of a loss."""

from textwrap import fill

import xarray as xr

WIDTH = 18  # characters of a line of units in a narrow panel
OF_LOSS = "of_loss"
"""Attribute of a variable with units of a loss: what follows the loss in them, such as `/ weight²`."""


def in_units_of_loss(dataset: xr.Dataset, units: str) -> xr.Dataset:
    """Write the units of the loss into the variables that are declared to have them.

    Parameters
    ----------
    dataset : xarray.Dataset
        Variables with the declared attributes.
    units : str
        See `slt_grok.models.network.Network.loss_units`; an unknown unit is omitted, or called `loss` before others.
    """
    dataset = dataset.copy()
    for variable in dataset.data_vars.values():
        if OF_LOSS in variable.attrs:
            further = variable.attrs[OF_LOSS]
            variable.attrs["units"] = f"{units or 'loss'} {further}" if further else units
    return dataset


def with_units(name: str, values: xr.DataArray, space: str = " ") -> str:
    """Add the units of a variable, if it has any, to the name of an axis or column.

    Parameters
    ----------
    name : str
        The name.
    values : xarray.DataArray
        The variable.
    space : str, optional
        Separates name and units; a line break, for a narrow panel, also breaks long units.
    """
    units = values.attrs.get("units", "")
    if units in ("", "1"):  # older runs have 1 for a pure number
        return name
    return f"{name}{space}({units if space == ' ' else fill(units, WIDTH)})"
