"""The page of a run: one HTML file with a section per result, built from what each result provides."""

import base64
import importlib.resources
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from matplotlib.figure import Figure

from slt_grok import plots
from slt_grok.errors import SltGrokError
from slt_grok.format import sentence
from slt_grok.measurement import Drawing, Result, Table
from slt_grok.processes import run_parallel
from slt_grok.report import baseline, provenance, summary
from slt_grok.store import atomic
from slt_grok.store.files import read_json

OVERVIEW = ("training", "llc", "circuits", "landscape", "transitions")
"""Labels of the datasets in the aligned figure at the top."""
OVERVIEW_CAPTION = (
    "All measures over training on a common step axis. Shaded: phases. Dashed: middles of transitions; bars: "
    "their intervals. Triangles at a lower edge: nonpositive values, which a log axis cannot show. With several "
    "seeds, thin lines are seeds and thick lines their median."
)
HOW_TO_READ = (
    "Step axes are logarithmic; if step 0 is drawn, the axis is linear up to the step named in its label.",
    "Bars and bands are 95% intervals; ± is one standard error.",
    "Filled points have the status effective or converged. Hollow points have another status, named in the legend; "
    "a cross marks a diverged estimate, which is not drawn.",
    "The order of two events is resolved only if their intervals do not overlap.",
    "The LLC drops if it ends below its peak by more than 3 standard errors and 10% of the peak.",
)
BEFORE_TRUSTING = (
    "Cross-entropy on a network that fits its train set has no finite minimizer, so every LLC here is effective "
    "at its nβ and γ: compare only across checkpoints at the same setting.",
    "Where chains have melted (their mean loss is not well below that of guessing), the value reflects nβ, not the "
    "network.",
    "At fixed γ, part of a drop of the LLC may be due to a change in weight scale; "
    "slt-grok measure RUN --only confound separates the two.",
    "A peak is the largest of several noisy estimates, so both the peak and the drop are biased high.",
)


class Shown(NamedTuple):
    """A figure with its image as a data URI."""

    name: str
    caption: str
    picture: str
    folded: bool


class Section(NamedTuple):
    """A section of the page; `text` is preformatted."""

    title: str
    notes: Sequence[str] = ()
    figures: Sequence[Shown] = ()
    tables: Sequence[Table] = ()
    text: str = ""


class Planned(NamedTuple):
    """A figure to draw for a section."""

    section: str
    name: str
    draw: Callable[[], Figure]
    caption: str
    folded: bool = False


def write(run: Any) -> Path:
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
    path = run.path / "summary.json"
    numbers = read_json(path) if path.is_file() else {}
    other = baseline.read(run)
    results = [result for result in Result.ordered() if result.title and result.name in run.data]
    figures, failed = drawn([*planned(run, results), *_planned_baseline(run, other)], run.path / "figures")
    sections = [_section(run, result, figures.get(result.name, []), failed.get(result.name, [])) for result in results]
    if other is not None:
        compared = baseline.tables(run, other, numbers)
        sections.insert(0, Section(baseline.TITLE, other.notes, figures.get(baseline.TITLE, []), compared))
    html = _template().render(
        name=run.config.name,
        subtitle=summary.subtitle(run.config),
        headline=summary.headline(numbers),
        numbers=summary.key_numbers(numbers),
        seeds=summary.seed_table(numbers),
        setting=summary.llc_setting(run.data.get("llc")),
        overview=figures.get("", []),
        sections=sections,
        how_to_read=HOW_TO_READ,
        before_trusting=[*BEFORE_TRUSTING, *map(sentence, numbers.get("flags") or [])],
        unknown=[label for label in run.data if label not in Result.registry],
        settings=provenance.settings(run),
        provenance=provenance.provenance(run.manifest),
    )
    page = run.path / "report.html"
    with atomic(page) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return page


def planned(run: Any, results: Sequence[Result]) -> list[Planned]:
    """List every figure to draw: the overview, and those of the results whose variables were measured."""
    overview = {label: run.data[label] for label in OVERVIEW if label in run.data and run.data[label].sizes}
    plan = []
    if overview.keys() - {"transitions"}:
        draw = partial(plots.phase_transition, **overview)
        plan.append(Planned("", "phase_transition", draw, OVERVIEW_CAPTION))
    for result in results:
        for drawing in result.figures():
            if all(name in run.data[result.name] for name in drawing.variables):
                plan += _planned(run, result, drawing)
    return plan


def _planned(run: Any, result: Result, drawing: Drawing) -> list[Planned]:
    """Plan one figure, or one per seed with all but the first folded."""
    dataset = run.data[result.name]
    draw = partial(drawing.draw, dataset, *(run.data.get(label) for label in drawing.others))
    seeds = dataset.seed.values.tolist() if "seed" in dataset.dims else [None]
    if not drawing.by_seed or len(seeds) == 1:
        draw = partial(draw, seed=seeds[0]) if drawing.by_seed else draw
        return [Planned(result.name, drawing.name, draw, drawing.caption, drawing.folded)]
    return [
        Planned(
            result.name, f"{drawing.name}_seed{seed}", partial(draw, seed=seed), f"Seed {seed}. {drawing.caption}",
            drawing.folded or seed != seeds[0],
        )
        for seed in seeds
    ]  # fmt: skip


def _planned_baseline(run: Any, other: baseline.Baseline | None) -> list[Planned]:
    if other is None or not other.data:
        return []
    own = {label: run.data[label] for label in other.data if label in run.data}
    changes = baseline.changes(run.config.training)
    draw = partial(plots.baseline_comparison, other.data, own, (other.name, run.config.name), changes)
    return [Planned(baseline.TITLE, "baseline_comparison", draw, baseline.CAPTION.format(name=other.name))]


def drawn(plan: Sequence[Planned], folder: Path) -> tuple[dict[str, list[Shown]], dict[str, list[str]]]:
    """Draw figures in parallel; return those of each section, and notes on failures."""

    def job(report: Any, one: Planned) -> Shown | str:
        try:
            figure = one.draw()
        except SltGrokError as error:
            return f"{one.name} could not be drawn: {error}."
        data = base64.b64encode(plots.save(figure, folder, one.name)[0].read_bytes()).decode("ascii")
        return Shown(one.name, one.caption, f"data:image/svg+xml;base64,{data}", one.folded)

    made = dict(run_parallel([partial(job, one=one) for one in plan]))
    figures: dict[str, list[Shown]] = {}
    failed: dict[str, list[str]] = {}
    for place, one in enumerate(plan):
        into: dict[str, list[Any]] = failed if isinstance(made[place], str) else figures
        into.setdefault(one.section, []).append(made[place])
    return figures, failed


def _section(run: Any, result: Result, figures: Sequence[Shown], failed: Sequence[str]) -> Section:
    reason = run.data[result.name].attrs.get("unmeasurable")
    if reason:
        return Section(result.title, [sentence(f"Not measured: {reason}")])
    data = run.data
    return Section(result.title, [*result.notes(data), *failed], figures, result.tables(data), result.text(data))


def _template() -> jinja2.Template:
    source = importlib.resources.files("slt_grok.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    options: dict[str, Any] = {"undefined": jinja2.StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    return jinja2.Environment(autoescape=True, **options).from_string(source)
