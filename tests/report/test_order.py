"""Order of events and association over the seeds of a run: what was planted is what the page says."""

import re
from pathlib import Path

import numpy as np

from slt_grok.plots.style import measure_name
from slt_grok.report import order
from tests import synthetic


def test_one_seed_has_phases_and_no_order(tmp_path: Path) -> None:
    """Accuracies reach their thresholds where they are planted to, and restricted to what was recorded."""
    sentences, drawn, (table,) = order.events(synthetic.datasets(), tmp_path)
    assert (sentences, drawn) == ([], [])
    assert [row[-1] for row in table.rows] == ["1,400", "9,400", "14,000"]
    by_accuracy = [float(row[1].replace(",", "")) for row in table.rows]
    assert by_accuracy == sorted(by_accuracy)
    assert order.beside(synthetic.datasets(), tmp_path) == ([], [], [])


def test_three_seeds_are_drawn_and_no_order_is_claimed(tmp_path: Path) -> None:
    sentences, drawn, tables = order.events(synthetic.datasets(seeds=3), tmp_path)
    assert not sentences
    (table,) = tables
    assert all("3 seeds" in row[1] for row in table.rows)
    assert [one.name for one in drawn] == ["event_raster"]
    assert order.beside(synthetic.datasets(seeds=3), tmp_path) == ([], [], [])


def test_the_planted_order_is_said(tmp_path: Path) -> None:
    """Train accuracy is planted at step 130, test accuracy at 1,500."""
    sentences, drawn, (_, table) = order.events(synthetic.datasets(seeds=5), tmp_path)
    of_test = next(one for one in sentences if f"beside {measure_name('test_accuracy')}" in one)
    before = re.search(r"before it ([^;]*)", of_test)
    assert before
    assert measure_name("train_accuracy") in before[1]
    assert [one.name for one in drawn] == ["event_raster", "lead_lag"]
    (row,) = [
        one
        for one in table.rows
        if one[0].lower() == measure_name("train_accuracy").lower() and one[1] == measure_name("test_accuracy")
    ]
    lag = float(row[2].split()[0])
    assert abs(lag - np.log(131 / 1501)) < 0.1
    assert row[-1].startswith("before")


def test_what_predicts_the_llc_is_said(tmp_path: Path) -> None:
    """The LLC of the held-out seed is what its others have, so that their mean leaves nothing of its fall."""
    sentences, drawn, _ = order.beside(synthetic.datasets(seeds=5), tmp_path)
    assert [one.name for one in drawn] == ["association", "prediction"]
    left = re.search(r"the mean of the other seeds leaves ([-\d.]+)% of its fall", sentences[-1])
    assert left
    assert abs(float(left[1])) < 10


def test_why_nothing_is_predicted_is_said(tmp_path: Path) -> None:
    data = synthetic.datasets(seeds=5)
    for name in ("restricted_loss_sum", "excluded_loss", "neuron_share", "gini_embedding", "gini_neuron_logit_map"):
        data["circuits"][name] = data["circuits"][name] * np.nan
    sentences, drawn, _ = order.beside(data, tmp_path)
    assert "was not predicted in held-out seeds: circuits: expected checkpoints" in sentences[-1]
    assert [one.name for one in drawn] == ["association"]
