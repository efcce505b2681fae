"""Figures: functions from datasets to matplotlib `Figure` objects, and `save`; imported on first use."""

import importlib
import pkgutil
from typing import Any


def __getattr__(name: str) -> Any:
    """Return the function of that name from the module of this folder that defines it."""
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        function = getattr(importlib.import_module(module.name), name, None)
        if getattr(function, "__module__", None) == module.name:
            return globals().setdefault(name, function)
    raise AttributeError(f"module {__name__!r} has no figure {name!r}")
