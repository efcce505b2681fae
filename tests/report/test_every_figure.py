"""Every registered figure is drawn from a run that was measured, and the page shows it with its section."""

import html.parser
import re

import pytest

from slt_grok.measurement import Result
from slt_grok.report import summary
from tests.report.conftest import EVIL

FIGURES = [(result.name, drawing) for result in Result.ordered() for drawing in result.figures()]


class Reader(html.parser.HTMLParser):
    """Collects the text, the addresses and the tags, and which were left open."""

    VOID = ("meta", "img", "br", "link", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "poster")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text += data.replace("\u00a0", " ")


@pytest.fixture(scope="module")
def pages(runs) -> list[Reader]:
    return [Reader((run.path / "report.html").read_text(encoding="utf-8")) for run in runs]


@pytest.mark.parametrize(("label", "drawing"), FIGURES, ids=[f"{label}-{drawing.name}" for label, drawing in FIGURES])
def test_figure_is_drawn_with_a_caption(label, drawing, runs):
    assert len(drawing.caption) > 20
    assert "{" not in drawing.caption
    measured = [run for run in runs if label in run.data]
    assert measured
    files = [file for run in measured for file in (run.path / "figures").glob(f"{drawing.name}*.svg")]
    assert files
    assert all(file.stat().st_size > 2000 for file in files)


def test_figures_of_the_page_itself_are_drawn(runs):
    names = {file.stem for run in runs for file in (run.path / "figures").glob("*.svg")}
    assert {"phase_transition", "baseline_comparison"} <= names


def test_page_has_a_section_for_each_result(runs, pages):
    shown = set()
    for run, page in zip(runs, pages, strict=True):
        titles = {result.name: result.title for result in Result.ordered() if result.name in run.data and result.title}
        assert all(title in page.text for title in titles.values())
        shown |= titles.keys()
    assert shown == {result.name for result in Result.ordered() if result.title}


def test_page_is_whole_escaped_and_refers_to_nothing_outside(runs, pages):
    for run, page in zip(runs, pages, strict=True):
        assert page.open == []
        assert page.addresses
        assert all(address.startswith("data:image/svg+xml;base64,") for address in page.addresses)
        assert not {"script", "link", "iframe", "object"} & set(page.tags)
        raw = re.sub(r"base64,[A-Za-z0-9+/=]+", "", (run.path / "report.html").read_text(encoding="utf-8"))
        assert not re.search(r"https?://|@import|url\(", raw)
    assert EVIL in pages[1].text
    assert "code" in pages[0].tags


def test_page_has_the_numbers_of_the_summary(runs, pages):
    assert "Of 4 networks, 4 memorized the train set" in pages[0].text
    for text in ("Comparison with the baseline run", "training.weight_decay_changes", "Peak LLC*", "weight_decay"):
        assert text in pages[1].text


def test_labels_without_a_registered_result_are_listed(pages):
    assert "this page does not show: llc@again." in pages[0].text


@pytest.mark.parametrize(
    ("drop", "error", "dropped"),
    [
        (60.0, 3.0, True),
        (60.0, 25.0, False),  # 2.4 standard errors: what the largest of many estimates reaches by chance
        (10.0, 0.1, False),  # significant, but 6% of the peak
        (-4.0, 1.0, False),
        (None, None, None),
    ],
)
def test_drop_needs_three_errors_and_a_tenth_of_the_peak(drop, error, dropped):
    assert summary.llc_dropped({"llc_drop": drop, "llc_drop_se": error, "llc_peak": 160.0}) is dropped


def test_headline():
    steps = {"train_accuracy_final": 1.0, "memorization_step": 250, "generalization_step": 2500}
    drop = {"llc_drop": 60.0, "llc_drop_se": 3.0, "llc_peak": 160.0}
    assert summary.headline({}).startswith("The training of these networks was not recorded")
    assert summary.headline(steps | drop) == "The network generalized, and its LLC dropped."
    assert summary.headline(steps) == "The network generalized; its LLC was not measured."
    assert (
        summary.headline(steps | drop | {"generalization_step": None, "llc_drop": 0.0})
        == "The network memorized its train set and did not generalize, and its LLC shows no drop."
    )
    seeds = {"seeds": {"0": steps | drop, "1": steps | {"generalization_step": None}}}
    text = "Of 2 networks, 2 memorized the train set and 1 generalized"
    assert summary.headline(seeds) == f"{text}; the LLC dropped in 1 of 1 where it was measured."
