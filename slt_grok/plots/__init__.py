"""Figures: functions from datasets to matplotlib `Figure` objects, and `save`; imported on first use."""

import importlib
import pkgutil
from typing import Any


def __getattr__(name: str) -> Any:
    """Return the module of this folder with that name, or the function from the module that defines it."""
    modules = list(pkgutil.iter_modules(__path__, f"{__name__}."))
    if any(module.name == f"{__name__}.{name}" for module in modules):  # asked for by `from slt_grok.plots import ...`
        return importlib.import_module(f"{__name__}.{name}")
    for module in modules:
        function = getattr(importlib.import_module(module.name), name, None)
        if getattr(function, "__module__", None) == module.name:
            return globals().setdefault(name, function)
    raise AttributeError(f"module {__name__!r} has no figure {name!r}")
