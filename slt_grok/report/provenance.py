"""Tables at the end of the page: the settings of a run, what it was made with, how long each stage took."""

from collections.abc import Mapping
from typing import Any

from slt_grok.format import capital, duration, flat
from slt_grok.measurement import Result, Table


def settings(run: Any) -> list[Table]:
    """Return the configuration with its defaults, a folded table for each section of what was measured."""
    content = run.config.model_dump(mode="json")
    own = {key: value for key, value in content.items() if not isinstance(value, Mapping)}
    absent = {label for label in Result.registry if label not in run.data}
    parts = {"run": own} | {k: v for k, v in content.items() if isinstance(v, Mapping) and k not in absent}
    return [
        Table(capital(name.replace("_", " ")), ["Key", "Value"], list(map(list, flat(part).items())), folded=True)
        for name, part in parts.items()
    ]


def provenance(manifest: Mapping[str, Any]) -> list[Table]:
    """Return where and with what the run was made, and how long each stage took."""
    tables = []
    if environment := manifest.get("environment"):
        tables.append(Table("Environment", ["", ""], list(map(list, flat(environment).items()))))
    rows = [
        [stage, duration(facts.get("wall_seconds")), str(facts.get("peak_memory_gib", "–"))]
        for stage, facts in manifest.get("stages", {}).items()
    ]
    return [*tables, Table("Stages", ["Stage", "Wall time", "Peak memory (GiB)"], rows)]
