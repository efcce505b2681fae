"""What a page says where runs share a name, a figure fails, or a measurement was impossible."""

from types import SimpleNamespace
from typing import Any

import xarray as xr
from matplotlib.figure import Figure

from slt_grok.config import parse_config
from slt_grok.errors import SltGrokError
from slt_grok.report import baseline, page, summary
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


PEAK: dict[str, Any] = {
    "train_accuracy_final": 1.0, "memorization_step": 100, "generalization_step": 900,
    "llc_peak": 493.4, "llc_peak_se": 3.0, "llc_peak_step": 175, "llc_peak_status": "not a minimum",
    "llc_peak_descent": 31.5, "llc_final": 20.0, "llc_final_se": 0.2, "llc_final_step": 2600,
    "llc_final_status": "not converged", "llc_final_descent": None, "llc_drop": 473.4, "llc_drop_se": 3.0,
}  # fmt: skip


def test_an_untrusted_peak_or_end_is_never_printed_without_its_status():
    numbers = {name: text.replace("\u00a0", " ") for name, text in summary.key_numbers(PEAK).items()}
    low = "not a minimum, low by 31.5 to 63"
    assert numbers["Peak LLC*"] == f"493.4 ± 3.0 ({low}) at step 175"
    assert numbers["Final LLC*"] == "20.00 ± 0.20 (not converged) at step 2,600"
    assert numbers["LLC drop*"] == f"473.4 ± 3.0 (peak: {low}; end: not converged)"
    assert summary.headline(PEAK) == (
        "The network generalized; the network at the peak of the LLC is not a minimum "
        "(its LLC is low by 31.5 to 63); the final LLC is not converged."
    )
    trusted = PEAK | {"llc_peak_status": "effective", "llc_peak_descent": None, "llc_final_status": "converged"}
    assert "(" not in "".join(text for name, text in summary.key_numbers(trusted).items() if name.endswith("*"))
    assert summary.headline(trusted) == "The network generalized, and its LLC dropped."
    seeds = {"seeds": {"0": PEAK, "1": trusted}}
    assert "the peak LLC is untrusted in 1 of 2 networks" in summary.headline(seeds)


def test_both_directions_of_the_bias_of_a_peak_are_stated_where_both_apply():
    high = "which biases both the peak and the drop high"
    assert summary.bias_of_peak({"llc_peak": 3.0, "llc_peak_status": "effective"}).endswith(f"{high}.")
    both = summary.bias_of_peak(PEAK)
    assert high in both
    assert "not a minimum, which makes the LLC there low, by 31.5 to 63" in both
    assert both.count(".") == 2  # of 31.5 and of the sentence


def test_what_an_import_assumed_is_on_the_page(tmp_path):
    run, _ = pair(tmp_path)
    run.manifest = {}
    run.config = parse_config(CONFIG | {"training": None, "source": {"notes": ["Step <b> was assumed."]}}, "a test")
    html = page.write(run).read_text(encoding="utf-8")
    assert html.index("Step &lt;b&gt; was assumed.") < html.index("<section>")  # in the first lines
    assert "<summary>LLC</summary>" not in html  # nothing was measured
    run.data = {"llc": xr.Dataset(attrs={"unmeasurable": "no loss"})}
    assert "<summary>LLC</summary>" in page.write(run).read_text(encoding="utf-8")


def test_the_headline_says_that_no_llc_is_trusted():
    statuses = {"not a minimum": 2, "not converged": 1}
    text = summary.headline(PEAK | {"llc_statuses": statuses})
    assert text == "The network generalized; no LLC of this run is trusted (2 not a minimum, 1 not converged)."
    assert "trusted" not in summary.headline(PEAK | {"llc_statuses": statuses | {"effective": 1}})


def test_an_unforeseen_error_of_a_figure_is_explained_on_the_page(tmp_path, capfd):
    def fails() -> Figure:
        figure = Figure(layout="constrained")
        figure.subplots().xaxis.set_major_formatter(lambda value, _: str(1 / 0))  # not before it is laid out
        return figure

    def silent() -> Figure:
        raise AssertionError

    def foreseen() -> Figure:
        raise SltGrokError("expected a step")

    plan = [page.PageFigure("", draw.__name__, draw, "") for draw in (fails, silent, foreseen, Figure)]
    *failed, drawn = page.drawn(plan, tmp_path)
    reasons = ["division by zero", "AssertionError", "expected a step"]
    assert [f.failure.partition(": ")[2] for f in failed] == [f"{reason}." for reason in reasons]
    assert drawn.picture
    errors = capfd.readouterr().err
    assert ["raise AssertionError" in errors, "1 / 0" in errors, "expected a step" in errors] == [True, True, False]
