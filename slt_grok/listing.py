"""List what is registered: each name with the first line of its docstring, its settings and their defaults."""

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from slt_grok.circuits.measure import CircuitMeasure
from slt_grok.format import first_line
from slt_grok.llc.samplers.sampler import Sampler
from slt_grok.measurement import Measurement
from slt_grok.models import Model
from slt_grok.registry import Registered
from slt_grok.settings import schema
from slt_grok.store.importers import Importer
from slt_grok.tasks import Task

FAMILIES: dict[str, type[Registered]] = {
    "Measurements: sections of a configuration, `NAME: {...}`": Measurement,
    "Samplers: `sampler: {name: NAME, ...}` in the section llc": Sampler,
    "Tasks: `task: {kind: NAME, ...}`": Task,
    "Models: `model: {kind: NAME, ...}`": Model,
    "Circuit measures: parts of the measurement circuits": CircuitMeasure,
    "Formats: `slt-grok import --format NAME`": Importer,
}


def listing() -> Iterator[str]:
    """Yield the lines of the listing."""
    for title, family in FAMILIES.items():
        yield title
        for kind in family.all():
            yield f"  {kind.name}: {first_line(kind.__doc__ or '')}"
            settings = ", ".join(_settings(kind))
            if settings:
                yield f"      {settings}"
        yield ""


def _settings(kind: type[Registered]) -> Iterator[str]:
    if issubclass(kind, Measurement):
        fields = kind.Settings.model_fields
    elif issubclass(kind, CircuitMeasure | Importer):
        return
    else:
        fields = schema(kind).model_fields
    for name, field in fields.items():
        default = field.get_default(call_default_factory=True)
        yield f"{name} (required)" if field.is_required() else f"{name}={json.dumps(default, default=_plain)}"


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)
