"""Figures: functions from datasets to matplotlib `Figure` objects, and `save`; imported on first use."""

import importlib
from pathlib import Path
from typing import Any


def __getattr__(name: str) -> Any:
    """Import a function by name from the module of this folder that defines it."""
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if f"\ndef {name}(" in path.read_text(encoding="utf-8"):
            globals()[name] = getattr(importlib.import_module(f"{__name__}.{path.stem}"), name)
            return globals()[name]
    raise AttributeError(f"module {__name__!r} has no figure {name!r}")
