"""Tables at the end of the page: settings, environment, and the time of each stage."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from slt_grok.format import capital, duration, flat
from slt_grok.measurement import Result, Table

if TYPE_CHECKING:
    from slt_grok.studies.run import Run


def settings(run: "Run") -> list[Table]:
    """Tabulate the configuration with its defaults, one folded table per measured section."""
    content = run.config.model_dump(mode="json")
    sections = {name: content.pop(name) for name, value in list(content.items()) if isinstance(value, Mapping)}
    absent = Result.registry.keys() - run.data.keys()
    parts = {"run": content} | {name: part for name, part in sections.items() if name not in absent}
    titles = {name: capital(name.replace("_", " ")).replace("Llc", "LLC") for name in parts}
    return [
        Table(titles[name], ["Key", "Value"], list(map(list, flat(part).items())), folded=True)
        for name, part in parts.items()
    ]


def provenance(manifest: Mapping[str, Any]) -> list[Table]:
    """Tabulate the environment of the run and the time of each stage."""
    tables = []
    if environment := manifest.get("environment"):
        tables.append(Table("Environment", ["", ""], list(map(list, flat(environment).items()))))
    rows = [
        [stage, duration(facts.get("wall_seconds")), str(facts.get("peak_memory_gib", "–"))]
        for stage, facts in manifest.get("stages", {}).items()
    ]
    return [*tables, Table("Stages", ["Stage", "Wall time", "Peak memory (GiB)"], rows)]
