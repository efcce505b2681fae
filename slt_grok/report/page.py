"""The page of a run: datasets and manifest to figures, words and tables, to one HTML file."""

import importlib.resources
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from slt_grok.errors import SltGrokError
from slt_grok.processes import run_parallel
from slt_grok.report import (
    attribution,
    baseline,
    causal,
    figures,
    interventions,
    landscape,
    landscape_figures,
    order,
    probes,
    program,
    tables,
    topology,
    trust,
)
from slt_grok.report.caveats import caveats
from slt_grok.report.findings import Config, Datasets, by_seed, headline, sections
from slt_grok.report.listing import Listing, read_listing
from slt_grok.report.llc import Summary, effective
from slt_grok.store import RunDirectory, atomic
from slt_grok.store.files import read_json

SHOWN = (
    "training",
    "llc",
    "circuits",
    "circuits@null",
    "circuits@maps",
    "landscape",
    "curvature",
    "connectivity",
    "connectivity@seeds",
    "shape",
    "shape@random",
    "refined",
    "attribution",
    "calibration",
    "confound",
    "causal",
    "interventions",
    "program",
    "topology",
    "transitions",
)


class Part(NamedTuple):
    """A heading with its sentences, figures and tables, and a text to be read as it is."""

    title: str
    sentences: list[str]
    figures: list[figures.Shown]
    tables: list[tables.Table]
    source: str = ""


def write(run_directory_path: str | Path) -> Path:
    """Make all figures of a run and its page `report.html`; return the page's path.

    The page is one file that asks nothing of a network: pictures are inside it. What is absent from the run is left out
    and said.

    Parameters
    ----------
    run_directory_path : str or Path
        A run directory; measurements and `summary.json` are read where they are there.

    Raises
    ------
    SltGrokError
        The folder is no run directory, a file in it is damaged, or the page or a figure cannot be written.
    """
    run = RunDirectory(run_directory_path)
    manifest = run.manifest
    datasets = {label: run.read_measurement(label) for label in SHOWN if label in run.labels}
    if "llc" in datasets and "drift" not in datasets["llc"]:
        raise SltGrokError(
            f"{run.measurement_path('llc')}: expected the variable drift, which an older version did not measure; "
            f"take the file away and measure again"
        )
    path = run.path / "summary.json"
    summary = read_json(path) if path.is_file() else {}
    others = [label for label in run.labels if label not in SHOWN]
    extracted = read_listing(run) if "program" in datasets else None
    html = render(manifest, summary, datasets, run.path / "figures", others, baseline.read_plain(run), extracted)
    page = run.path / "report.html"
    with atomic(page) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return page


def render(
    manifest: Mapping[str, Any],
    summary: Summary,
    datasets: Datasets,
    folder: Path,
    others: list[str],
    plain: baseline.Plain | None = None,
    extracted: Listing | None = None,
) -> str:
    """Return the page's HTML; figures are written into `folder` on the way.

    An intervened run is shown with the plain one, a run whose programs were measured with the last network's.
    Text from files is escaped by the template.
    """
    config = manifest.get("config") or {}
    template = importlib.resources.files("slt_grok.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(template).render(
        name=str(config.get("name") or "run"),
        subtitle=subtitle(config),
        headline=headline(summary, config),
        key_numbers=[] if len(by_seed(summary)) > 1 or not summary else tables.key_numbers(summary),
        seeds=tables.seeds(summary) if len(by_seed(summary)) > 1 else None,
        effective=effective(datasets["llc"]) if "llc" in datasets else "",
        overview=figures.phase_transition(datasets, folder),
        parts=[
            *_baseline_comparison(plain, summary, datasets, config, folder),
            *parts(summary, datasets, config, folder),
            *_programs(extracted, summary, datasets, config, folder),
        ],
        caveats=caveats(summary, datasets, config),
        others=others,
        settings=tables.settings(config),
        provenance=tables.provenance(manifest),
    )


def parts(summary: Summary, datasets: Datasets, config: Config, folder: Path) -> list[Part]:
    """Return the sections of the findings, each with the figures and tables that belong to it."""
    found = {
        section.title: Part(section.title, section.sentences, [], []) for section in sections(summary, datasets, config)
    }
    of_llc, of_circuit, over_seeds, *after = _drawn(
        datasets, folder, _of_llc, _of_circuit, _over_seeds, _beside_llc, _beside_circuit, _landscape
    )
    if "llc" in datasets and (part := found.get("Local learning coefficient")):
        part.figures.extend(of_llc)
        part.tables.extend(tables.health(datasets["llc"]))
    if "circuits" in datasets and (part := found.get("Fourier circuit")):
        part.figures.extend(of_circuit)
        part.tables.extend(tables.null(datasets["circuits"], datasets.get("circuits@null")))
    if part := found.get("Order of events"):
        made = [tables.events(summary, "Order of events")]
        made += [tables.events(one, f"Seed {seed}", folded=True) for seed, one in by_seed(summary).items()]
        part.tables.extend(table for table in made if table.rows)
        for sentences, shown, said in over_seeds:
            part.sentences.extend(sentences)
            part.figures.extend(shown)
            part.tables.extend(said)
    headings = ["Local learning coefficient", "Fourier circuit", "Order of events"]
    further = dict(zip(headings, after, strict=True))
    return [shown for title, part in found.items() for shown in (part, *further.get(title, []))]


def _drawn(datasets: Datasets, folder: Path, *drawing: Callable[[Datasets, Path], Any]) -> list[Any]:
    """Return what each of these functions makes of the datasets; they draw side by side."""
    jobs = [lambda report, draw=draw: draw(datasets, folder) for draw in drawing]
    made = dict(run_parallel(jobs))
    return [made[place] for place in range(len(jobs))]


def _of_llc(datasets: Datasets, folder: Path) -> list[figures.Shown]:
    if (found := datasets.get("llc")) is None:
        return []
    return [*figures.llc_traces(found, folder), *figures.llc_diagnostics(found, folder)]


def _of_circuit(datasets: Datasets, folder: Path) -> list[figures.Shown]:
    if (found := datasets.get("circuits")) is None:
        return []
    maps = datasets.get("circuits@maps")
    return [
        *figures.spectrum(found, folder),
        *(figures.circuit_maps(maps, folder) if maps is not None else []),
        *figures.clock_pizza_plane(found, folder),
    ]


def _over_seeds(datasets: Datasets, folder: Path) -> list[order.Said]:
    return [order.events(datasets, folder), order.beside(datasets, folder)]


def _baseline_comparison(
    plain: baseline.Plain | None, summary: Summary, datasets: Datasets, config: Config, folder: Path
) -> list[Part]:
    """Return what the intervention in training did; nothing for a run that names no plain one."""
    if plain is None:
        return []
    shown = figures.baseline_comparison(plain.name, plain.datasets, datasets, config, baseline.changes(config), folder)
    made = [baseline.table(plain, summary, config)]
    return [Part("Beside the plain run", baseline.sentences(plain, config), shown, made)]


def _beside_llc(datasets: Datasets, folder: Path) -> list[Part]:
    """Which weights the LLC belongs to, and how far to trust it: its calibration, and the scale of the weights."""
    parts = []
    if found := datasets.get("refined"):
        shown, said = figures.refined_llc(found, folder), attribution.refined(found)
        if split := datasets.get("attribution"):
            shown, said = [*shown, *figures.attribution(split, folder)], [*said, *attribution.drop(split)]
        parts.append(Part("LLC of matrices, heads and frequencies", said, shown, []))
    if found := datasets.get("calibration"):
        drawn, table = figures.calibration(found, folder), trust.calibration_table(found)
        parts.append(Part("Calibration of the LLC", trust.calibration(found), drawn, [table]))
    if found := datasets.get("confound"):
        parts.append(Part("LLC and weight scale", trust.confound(found), figures.confound(found, folder), []))
    return parts


def _landscape(datasets: Datasets, folder: Path) -> list[Part]:
    """Return the landscape beside the LLC, and its further probes; nothing where none were taken."""
    found, llc = datasets.get("landscape"), datasets.get("llc")
    part = Part("Loss landscape", [], [], [])
    if found is not None and "sharpness" in found:
        if "gauss_newton_trace" not in found:
            raise SltGrokError(
                "measurements/landscape.nc: expected the variable gauss_newton_trace, which earlier versions did not "
                "measure; remove the file and run `slt-grok measure RUN --only landscape`"
            )
        part.figures.extend(landscape_figures.landscape(found, llc, folder))
        part.figures.extend(landscape_figures.dynamics(found, llc, folder))
        if llc is not None:
            part.sentences.extend(landscape.sentences(found, llc))
            part.tables.extend(landscape.tables(found, llc))
    part.sentences.extend(probes.sentences(datasets))
    part.figures.extend(landscape_figures.probes(datasets, folder))
    return [part] if part.figures else []


def _beside_circuit(datasets: Datasets, folder: Path) -> list[Part]:
    """Return what the neurons' clusters look like, and whether the circuit is what computes.

    Interventions in its planes.
    """
    parts, circuits = [], datasets.get("circuits")
    if found := datasets.get("topology"):
        shown = figures.topology(found, circuits, folder)
        parts.append(
            Part("Shape of the representations", topology.sentences(found), shown, topology.tables(found, circuits))
        )
    if found := datasets.get("causal"):
        shown = figures.causal(found, folder)
        parts.append(Part("Causal tests of the circuit", causal.sentences(found), shown, causal.tables(found)))
    if found := datasets.get("interventions"):
        shown, said = figures.interventions(found, folder), interventions.sentences(found)
        parts.append(Part("Interventions on the weights", said, shown, interventions.tables(found)))
    return parts


def _programs(
    extracted: Listing | None, summary: Summary, datasets: Datasets, config: Config, folder: Path
) -> list[Part]:
    """Return what programs explain over training and how long they are, with the last network's as text."""
    if extracted is None:
        return []
    found, llc = datasets["program"], datasets.get("llc")
    if "keeps" not in found.dims:
        raise SltGrokError(
            "measurements/program.nc: expected the dimension keeps, which earlier versions did not measure; remove the "
            "file and run `slt-grok measure RUN --only program`"
        )
    operation = (config.get("task") or {}).get("operation")
    shown = program.figures(found, datasets.get("circuits@maps"), llc, extracted, operation, folder)
    said = [*program.sentences(found, llc, summary), program.listed(extracted, len(by_seed(summary)) > 1)]
    return [Part("Program", said, shown, program.tables(found, llc, summary), extracted.source)]


def subtitle(config: Config) -> str:
    """Task, network and seeds in one line."""
    task, model, training = (config.get(key) or {} for key in ("task", "model", "training"))
    words = []
    if "operation" in task and "modulus" in task:
        operation = str(task["operation"]).replace("_", " ")
        words.append(f"{operation} modulo {task['modulus']}")
    if "train_fraction" in task:
        words.append(f"{100 * task['train_fraction']:g}% of the table as train set")
    if "kind" in model:
        words.append(str(model["kind"]))
    if "steps" in training:
        words.append(f"{training['steps']:,} steps")
    if config.get("seeds"):
        words.append(f"{'seed' if len(config['seeds']) == 1 else 'seeds'} {', '.join(map(str, config['seeds']))}")
    return ", ".join(words)
