"""What a page says where runs share a name, a figure fails, or a measurement was impossible."""

from types import SimpleNamespace
from typing import Any

import xarray as xr
from matplotlib.figure import Figure

from slt_grok.config import parse_config
from slt_grok.report import baseline, page
from slt_grok.store.files import write_json
from tests.conftest import CONFIG


def pair(folder) -> list[Any]:
    """Make a run and its baseline, of the same name."""
    runs = []
    for name in ("plain", "again"):
        (folder / name).mkdir()
        write_json(folder / name / "summary.json", {"train_accuracy_final": 1.0})
        config = parse_config(CONFIG | {"name": "plain"} | ({} if name == "plain" else {"baseline": "plain"}), "a test")
        runs.append(SimpleNamespace(path=folder / name, config=config, data={}))
    return runs


def test_runs_of_one_name_have_a_row_each(tmp_path):
    plain, again = pair(tmp_path)
    assert [row[0] for row in baseline.tables(again, plain)[-1].rows] == ["plain", "again"]


def test_impossible_measurements_are_not_compared(tmp_path):
    plain, again = pair(tmp_path)
    training = xr.Dataset({"test_accuracy": (("step", "seed"), [[0.1], [1.0]])}, {"step": [0, 10], "seed": [0]})
    for each in (plain, again):
        each.data = {"training": training, "circuits": xr.Dataset(attrs={"unmeasurable": "no sites"})}
    (figure,) = (f for f in page.planned(again, [], plain) if f.section == baseline.TITLE)
    figure.draw()


def test_a_failed_figure_of_the_page_itself_is_explained(tmp_path, monkeypatch):
    run, _ = pair(tmp_path)
    failed = page.PageFigure("", "phase_transition", Figure, "", failure="could not be drawn: no step.")
    run.manifest = {}
    monkeypatch.setattr(page, "drawn", lambda *_: [failed])
    assert "could not be drawn: no step." in page.write(run).read_text(encoding="utf-8")


def test_what_an_import_assumed_is_on_the_page(tmp_path):
    run, _ = pair(tmp_path)
    run.manifest = {}
    run.config = parse_config(CONFIG | {"training": None, "source": {"notes": ["Step <b> was assumed."]}}, "a test")
    html = page.write(run).read_text(encoding="utf-8")
    assert "<h2>Import</h2>" in html
    assert "<p>Step &lt;b&gt; was assumed.</p>" in html
