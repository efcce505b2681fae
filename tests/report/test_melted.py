"""A run with melted estimates: no figure, summary or sentence shows one of their values without saying so.

Each melted estimate has a value that nothing else has, however it is scaled or subtracted.
"""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.legend import Legend

from slt_grok.errors import SltGrokError
from slt_grok.llc.weight_scale import drops
from slt_grok.measurement import Derived
from slt_grok.report import page
from slt_grok.store.files import read_json
from slt_grok.studies.run import Run, derive
from slt_grok.transitions.measures import with_seed

HUGE = 7.5e13
LEAST = 1e9  # of what is left of it by any scale
NUMBER = re.compile(r"\d{1,3}(?:,\d{3}){3,}|\de\+(?:09|1\d)|10(?:⁹|¹[⁰¹²³⁴⁵⁶⁷⁸⁹])")
OF_MELTED = ("", "_low", "_high", "_se")


def melted(dataset: xr.Dataset) -> xr.Dataset:
    """Every estimate at the checkpoint of the largest one melts, and has a huge value."""
    for status in [str(name) for name in dataset.data_vars if str(name).endswith("_status")]:
        name = status.removesuffix("_status")
        if name not in dataset or "step" not in dataset[name].dims:
            continue
        others = [dim for dim in dataset[name].dims if dim != "step"]
        there = dataset.step == dataset.step[int(dataset[name].max(others).argmax())]
        there = there & dataset[name].notnull()
        dataset = dataset.assign({status: dataset[status].astype(object).where(~there, "melted")})
        for end in OF_MELTED:
            if f"{name}{end}" in dataset:
                value = dataset[f"{name}{end}"]
                dataset = dataset.assign({f"{name}{end}": value.where(~there, HUGE).transpose(*value.dims)})
    return dataset


@pytest.fixture(scope="module", params=[0, 1], ids=["four seeds", "everything"])
def run(request, runs, tmp_path_factory) -> Run:
    """A copy of a run, with everything that has a status melted in part, and what follows from it derived again."""
    folder = tmp_path_factory.mktemp("melted")
    for each in runs:
        shutil.copytree(each.path, folder / each.path.name)
    found = Run(folder / runs[request.param].path.name)
    derived = {result.name for result in Derived.ordered()}
    for label, dataset in found.data.items():
        if label not in derived and "@" not in label:
            found.data[label] = melted(dataset)
    if "confound" in found.data:
        found.data["confound"] = found.data["confound"].assign(drops(with_seed(found.data["confound"])))
    found.data["llc"].attrs.setdefault("melting_loss", 1.0)
    derive(found)
    return found


@pytest.fixture(scope="module")
def shown(run) -> tuple[str, dict[str, Figure]]:
    """The page as text, and its figures by name."""
    figures: dict[str, Figure] = {}

    def drawn(plan: Any, _: Any) -> list[page.PageFigure]:
        for figure in plan:
            if figure.section not in ("circuits", "topology", "curvature", "shape") and not figure.name.endswith("3"):
                with suppress(SltGrokError):  # a splitting of a drop that is not known
                    figures[figure.name] = figure.draw()
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "drawn", drawn)
        text = page.write(run).read_text(encoding="utf-8")
    return text, figures


def numbers(value: Any) -> Iterator[float]:
    """All numbers of a JSON document."""
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from numbers(each)
    elif isinstance(value, int | float):
        yield value


def test_something_melted(run):
    labels = [label for label, data in run.data.items() if "llc_status" in data and (data.llc_status == "melted").any()]
    assert "llc" in labels
    assert run.path.name != "everything" or {"confound", "refined", "interventions"} <= set(labels)


def test_no_summary_and_no_derived_result_has_a_melted_value(run):
    summary = read_json(run.path / "summary.json")
    assert summary["llc_statuses"]["melted"] > 0
    assert any('"melted"' in flag for flag in summary["flags"])
    assert max(map(abs, numbers(summary))) < LEAST
    assert not NUMBER.search(json.dumps(summary))
    for result in Derived.ordered():
        for name, values in run.data.get(result.name, xr.Dataset()).data_vars.items():
            if np.issubdtype(values.dtype, np.number):
                assert not (abs(values) > LEAST).any(), f"{result.name}: {name}"


def test_the_headline_counts_melted_estimates(run, shown):
    (headline,) = re.findall(r'<p class="headline">(.*?)</p>', shown[0])
    statuses = run.data["llc"].llc_status
    count = int((statuses == "melted").sum())
    assert f"{count} of {statuses.size} LLC estimates melted and {'is' if count == 1 else 'are'} omitted" in headline


def test_every_row_with_a_melted_value_says_so_and_no_sentence_has_one(shown):
    text = re.sub(r"<img[^>]*>|<style>.*?</style>", "", shown[0], flags=re.DOTALL)
    rows = re.findall(r"<tr>.*?</tr>", text, flags=re.DOTALL)
    with_value = [row for row in rows if NUMBER.search(row)]
    assert with_value  # the table of all estimates
    assert [row for row in with_value if "melted" not in row] == []
    rest = re.sub(r"<tr>.*?</tr>", "", text, flags=re.DOTALL)
    assert not NUMBER.search(re.sub(r"<[^>]*>", "", rest))


def test_figures_draw_melted_values_hollow_and_name_them(shown):
    drawn = set()
    for name, figure in shown[1].items():
        words = [text.get_text() for legend in figure.findobj(Legend) for text in legend.get_texts()]
        for axes in figure.axes:
            for line in axes.lines:
                if (np.abs(np.asarray(line.get_ydata(), float)) > LEAST).any():
                    assert line.get_linestyle() == "None", name
                    assert line.get_markerfacecolor() in ("white", "none"), name  # a ring surrounds the chosen setting
                    assert any("melted" in word for word in words), name
                    drawn.add(name)
            for collection in axes.collections:
                for path in collection.get_paths():
                    assert not (np.abs(path.vertices) > LEAST).any(), name
    assert "phase_transition" in drawn
