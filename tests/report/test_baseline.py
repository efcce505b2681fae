"""An intervened run beside the plain one: what is said, drawn and refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slt_grok import plots
from slt_grok.errors import SltGrokError
from slt_grok.report import baseline, page
from slt_grok.store import RunDirectory
from slt_grok.store.files import write_json
from tests import synthetic

TASK, MODEL = {"modulus": 53}, {"kind": "quadratic", "width": 8}
CONFIG: dict[str, Any] = {
    "name": "changed",
    "seeds": [0],
    "baseline": "plain",
    "task": {**TASK, "label_noise": 0.1},
    "model": MODEL,
    "training": {
        "weight_decay_changes": [{"step": 300, "weight_decay": 0.0}],
        "frequency_penalty": {"frequencies": [2, 14], "strength": 1.0, "from_step": 50},
        "start": {"circuit": "pizza", "frequencies": [3]},
    },
}


def directory(path: Path, config: dict[str, Any]) -> RunDirectory:
    run = RunDirectory(path)
    run.write_manifest({"config": config, "stages": {}})
    return run


def plain_run(folder: Path, **changes: Any) -> RunDirectory:
    run = directory(folder / "plain", {"name": "plain", "seeds": [0], "task": TASK, "model": MODEL, **changes})
    for name in ("training", "llc", "circuits", "landscape"):
        run.write_measurement(name, getattr(synthetic, name)(), {})
    write_json(run.path / "summary.json", {"llc_peak": 130.0, "llc_peak_se": 1.3, "llc_peak_step": 305})
    return run


def test_the_plain_run_is_read_from_the_same_folder(tmp_path: Path) -> None:
    plain_run(tmp_path)
    found = baseline.read_plain(directory(tmp_path / "changed", CONFIG))
    assert found is not None
    assert set(found.datasets) == {"training", "llc", "circuits", "landscape"}
    rows = baseline.table(found, {"test_accuracy_final": 0.5}, CONFIG).rows
    assert [row[0] for row in rows] == ["plain", "changed"]
    assert rows[0][3].replace("\u00a0", " ") == "130.0 ± 1.3 at step 305"
    assert rows[1][5] == "50%"


def test_every_intervention_is_said_with_its_steps(tmp_path: Path) -> None:
    text = " ".join(baseline.sentences(baseline.Plain("plain", {"llc": synthetic.llc()}, {}), CONFIG))
    assert "a penalty of strength 1 on the embedding at 2 and 14 from step 50 on" in text
    assert "a weight decay of 0 from step 300 on" in text
    assert "a planted pizza of the frequencies 3 to start from" in text
    assert "a wrong answer for 10% of its train pairs" in text
    assert "those of the right answers" in text
    assert baseline.changes(CONFIG) == [50, 300]


def test_a_plain_run_that_is_not_there_is_said(tmp_path: Path) -> None:
    found = baseline.read_plain(directory(tmp_path / "changed", CONFIG))
    assert found is not None
    assert "The plain run plain was not found" in " ".join(baseline.sentences(found, CONFIG))
    part = page._baseline_comparison(found, {}, {}, CONFIG, tmp_path)[0]
    assert part.figures == []


def test_a_run_that_names_none_has_no_such_part(tmp_path: Path) -> None:
    run = directory(tmp_path / "alone", {**CONFIG, "baseline": None})
    assert baseline.read_plain(run) is None
    assert page._baseline_comparison(None, {}, {}, CONFIG, tmp_path) == []


@pytest.mark.parametrize("changes", [{"task": {"modulus": 59}}, {"model": {**MODEL, "width": 9}}])
def test_a_plain_run_of_something_else_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    plain_run(tmp_path, **changes)
    with pytest.raises(SltGrokError, match=f"baseline: expected a run with the same {next(iter(changes))}"):
        baseline.read_plain(directory(tmp_path / "changed", CONFIG))


def test_the_figure_has_both_runs_in_four_panels_and_the_changes(tmp_path: Path) -> None:
    runs = [{name: getattr(synthetic, name)(grok=grok) for name in ("training", "llc", "circuits", "landscape")}
            for grok in (True, False)]  # fmt: skip
    figure = plots.baseline_comparison(runs[0], runs[1], ("plain", "changed"), [300])
    assert len(figure.axes) == 4
    for axes in figure.axes:
        assert any(np.asarray(line.get_xdata()).tolist() == [300, 300] for line in axes.get_lines())
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["plain", "changed"]
    excluded = figure.axes[2].get_legend_handles_labels()[1]
    assert excluded == ["plain"]  # the other has no key frequency, so that its excluded loss is not defined
    plots.save(figure, tmp_path, "baseline_comparison")
    with pytest.raises(SltGrokError, match="none of them"):
        plots.baseline_comparison({}, {}, ("plain", "changed"))
