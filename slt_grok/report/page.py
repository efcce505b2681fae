"""The page of a run: one HTML file with a section per result, built from what each result provides."""

import base64
import importlib.resources
import inspect
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jinja2
import xarray as xr
from matplotlib.figure import Figure

from slt_grok import plots
from slt_grok.errors import SltGrokError
from slt_grok.format import MISSING, first_line, sentence
from slt_grok.measurement import Drawing, Result, Table
from slt_grok.processes import run_parallel
from slt_grok.report import baseline, provenance, summary
from slt_grok.rules import SCALE
from slt_grok.store import atomic

if TYPE_CHECKING:
    from slt_grok.studies.run import Run

OVERVIEW = tuple(inspect.signature(plots.phase_transition).parameters)
"""Labels of the datasets in the aligned figure at the top."""
OVERVIEW_CAPTION = (
    "All measures over training on a common step axis. Shaded: phases that were measured. Dashed: middles of "
    f"transitions on a {SCALE} scale; bars: their intervals. Triangles at a lower edge: nonpositive values, which a "
    "log axis cannot show. With several seeds, thin lines are seeds and thick lines their median."
)


class PageFigure(NamedTuple):
    """A figure of the page.

    Parameters
    ----------
    section : str
        Title or label of its section; empty for the top of the page.
    name : str
        File name of the figure.
    draw : callable
        Draws the figure.
    caption : str
        Text below the figure.
    folded : bool, optional
        Whether the figure opens on demand.
    picture, failure : str, optional
        Once drawn, the image as a data URI, or the reason why there is none.
    """

    section: str
    name: str
    draw: Callable[[], Figure]
    caption: str
    folded: bool = False
    picture: str = ""
    failure: str = ""


class Section(NamedTuple):
    """A section of the page; `text` is preformatted."""

    title: str
    notes: Sequence[str] = ()
    figures: Sequence[PageFigure] = ()
    tables: Sequence[Table] = ()
    text: str = ""


def write(run: "Run") -> Path:
    """Draw all figures of a run into `figures/` and write its page, `report.html`; return the page's path.

    The page is self-contained: images are embedded. Text from files is escaped.

    Parameters
    ----------
    run : slt_grok.studies.run.Run
        The run, with its configuration and datasets; `summary.json` is read if it exists.

    Raises
    ------
    SltGrokError
        A file is damaged, or the page or a figure cannot be written.
    """
    numbers = summary.read(run.path)
    seeds = numbers.get("seeds") or {}
    results = [result for result in Result.ordered() if result.title and result.name in run.data]
    other = baseline.read(run)
    figures = drawn(planned(run, results, other), run.path / "figures")
    sections = [_section(run, result, [f for f in figures if f.section == result.name]) for result in results]
    if other is not None:
        compared = [figure for figure in figures if figure.section == baseline.TITLE]
        sections.insert(0, Section(baseline.TITLE, figures=compared, tables=baseline.tables(run, other)))
    elif run.config.baseline is not None:
        note = f"Not compared: there is no run {run.config.baseline} in the parent folder of this run."
        sections.insert(0, Section(baseline.TITLE, [note]))
    source = run.config.source or {}
    html = _template().render(
        name=run.config.name,
        subtitle=summary.subtitle(run.config),
        headline=summary.headline(numbers),
        imported=source.get("notes") or [],
        contradictions=source.get("contradictions") or [],
        numbers={} if seeds else {k: text for k, text in summary.key_numbers(numbers).items() if text != MISSING},
        seeds=summary.seed_table("Key numbers of each seed", "Seed", seeds),
        setting=summary.llc_setting(run.data.get("llc")),
        overview=[figure for figure in figures if figure.section == ""],
        sections=sections,
        caveats=[*summary.caveats(numbers, run.data.get("llc")), *map(sentence, numbers.get("flags") or [])],
        unknown=[label for label in run.data if label not in Result.registry],
        settings=provenance.settings(run),
        provenance=provenance.provenance(run.manifest),
    )
    page = run.path / "report.html"
    with atomic(page) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return page


def planned(run: "Run", results: Sequence[Result], other: "Run | None") -> list[PageFigure]:
    """List every figure to draw: the overview, those of the results whose variables were measured, the comparison."""
    overview = {label: dataset for label, dataset in _measured(run).items() if label in OVERVIEW}
    plan = []
    if overview.keys() - {"transitions"}:
        draw = partial(plots.phase_transition, **overview)
        plan.append(PageFigure("", "phase_transition", draw, OVERVIEW_CAPTION))
    for result in results:
        for drawing in result.figures():
            if all(name in run.data[result.name] for name in drawing.variables):
                plan += _planned(run, result, drawing)
    if other is not None:
        names, changes = baseline.names(run, other), baseline.changes(run.config.training)
        draw = partial(plots.baseline_comparison, _measured(other), _measured(run), names, changes)
        plan.append(PageFigure(baseline.TITLE, "baseline_comparison", draw, baseline.CAPTION.format(name=names[0])))
    return plan


def _measured(run: "Run") -> dict[str, xr.Dataset]:
    """Select the datasets of measurements that were possible."""
    return {label: dataset for label, dataset in run.data.items() if dataset.sizes}


def _planned(run: "Run", result: Result, drawing: Drawing) -> list[PageFigure]:
    """Plan one figure, or one per seed with all but the first folded."""
    dataset = run.data[result.name]
    draw = partial(drawing.draw, dataset, *(_measured(run).get(label) for label in drawing.others))
    figure = PageFigure(result.name, drawing.name, draw, drawing.caption, drawing.folded)
    seeds = dataset.seed.values.tolist() if "seed" in dataset.dims else [None]
    if not drawing.by_seed:
        return [figure]
    if len(seeds) == 1:
        return [figure._replace(draw=partial(draw, seed=seeds[0]))]
    return [
        PageFigure(
            result.name,
            f"{drawing.name}_seed{seed}",
            partial(draw, seed=seed),
            f"Seed {seed}. {drawing.caption}",
            drawing.folded or seed != seeds[0],
        )
        for seed in seeds
    ]


def drawn(plan: Sequence[PageFigure], folder: Path) -> list[PageFigure]:
    """Draw figures in parallel, and fill in the picture or the failure of each."""

    def job(report: Any, figure: PageFigure) -> dict[str, str]:
        try:
            image = figure.draw()
            plots.lay_out(image)
        except Exception as error:  # no figure may cost the page
            if not isinstance(error, SltGrokError):  # a fault of the program
                traceback.print_exception(error)
            return {"failure": f"{figure.name.replace('_', ' ')} could not be drawn: {first_line(error)}."}
        data = base64.b64encode(plots.save(image, folder, figure.name)[0].read_bytes()).decode("ascii")
        return {"picture": f"data:image/svg+xml;base64,{data}"}

    results = dict(run_parallel([partial(job, figure=figure) for figure in plan]))
    return [figure._replace(**results[place]) for place, figure in enumerate(plan)]


def _section(run: "Run", result: Result, figures: Sequence[PageFigure]) -> Section:
    data = run.data
    if reason := data[result.name].attrs.get("unmeasurable"):
        return Section(result.title, [sentence(f"Not measured: {reason}")])
    return Section(result.title, result.notes(data), figures, result.tables(data), result.text(data))


def _template() -> jinja2.Template:
    source = importlib.resources.files("slt_grok.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    options: dict[str, Any] = {"undefined": jinja2.StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    return jinja2.Environment(autoescape=True, **options).from_string(source)
