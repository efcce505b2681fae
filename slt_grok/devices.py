"""Look up devices by name."""

import torch

from slt_grok.errors import SltGrokError

CPU = torch.device("cpu")


def device_named(name: str | None, key: str = "device") -> torch.device:
    """Get the device named by the setting `key`; the CPU for None.

    Raises
    ------
    SltGrokError
        torch knows no such device, or it is `cuda` and torch finds none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise SltGrokError(f"{key}: expected null, since torch finds no CUDA device here, got cuda")
    try:
        return torch.device(name or "cpu")
    except (RuntimeError, TypeError) as error:
        raise SltGrokError(f"{key}: expected cuda, or null for the CPU, got {name!r}") from error
