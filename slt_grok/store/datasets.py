"""Datasets as netCDF files, written atomically and read whole."""

from pathlib import Path

import xarray as xr

from slt_grok.errors import SltGrokError
from slt_grok.store.files import atomic


def write_dataset(path: Path, dataset: xr.Dataset) -> None:
    """Write a dataset as netCDF, atomically."""
    # in memory first, since a full disk leaves HDF5 with a handle that crashes the process when garbage-collected
    content = bytes(dataset.to_netcdf(engine="h5netcdf"))
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def read_dataset(path: Path) -> xr.Dataset:
    """Read a netCDF dataset into memory.

    Raises
    ------
    SltGrokError
        The file is missing or damaged.
    """
    try:
        with xr.open_dataset(path, engine="h5netcdf") as dataset:
            # the encoding fixes string lengths and would truncate longer strings when the data is rewritten
            return dataset.load().drop_encoding()
    except FileNotFoundError as error:
        raise SltGrokError(f"{path}: no such measurement") from error
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:  # h5py raises many kinds for damage
        raise SltGrokError(f"{path}: expected a complete netCDF file ({error})") from error
