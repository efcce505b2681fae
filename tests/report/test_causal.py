"""What the page says about the causal tests."""

import numpy as np

from slt_grok.report import causal
from tests.plots.test_causal import made_up


def numbers(seeds: int = 1):
    """Published order of magnitude: keys count, others do not, and nearly all answers follow."""
    data = made_up(seeds).assign(
        plane_norm=lambda d: d.effect * 0 + 3, control_plane_norm=lambda d: d.control_effect * 0 + 2
    )
    last = {"step": 5000, "seed": 0}
    others = {"control": "all other frequencies"}
    data.effect.loc[{**last, "test": "one frequency removed, logits"}] = 7115
    data.control_effect.loc[{**last, "test": "one frequency removed, logits", **others}] = 1.06
    data.effect.loc[{**last, "test": "planes and accompanying rotated"}] = 0.9999
    data.control_effect.loc[{**last, "test": "planes and accompanying rotated", **others}] = 0.0
    with np.errstate(divide="ignore"):
        data["ratio"] = data.effect / data.control_effect
    data["circuit_frequency"] = data.circuit_frequency & data.frequency.isin([2, 5])
    return data


def test_the_last_checkpoint_in_a_sentence():
    (text,) = causal.sentences(numbers())
    assert text.startswith("At step 5,000 removing any one of 2 and 5 at the logits")
    assert "at least 7,115, removing any other by at most 1.06." in text
    assert "over 99.9% of the answers move by the same shift; where all others are turned instead, 0%." in text


def test_the_table_has_effect_control_ratio_and_norms():
    (table,) = causal.tables(numbers())
    controls = ["All others", "Random, as many", "Random, equal norm", "Untrained"]  # no memorizing network
    assert table.header == ["Intervention", "Circuit", *controls, "Norms"]
    rows = {row[0]: row for row in table.rows}
    assert len(rows) == 13
    assert rows["one frequency removed, logits"][1:3] == ["7,115", "1.06 (6,712×)"]
    assert rows["planes and accompanying rotated"][1:3] == ["over 99.9%", "0% (∞)"]
    assert rows["planes rotated"][-1] == "3, 2, 2, 2"


def test_a_seed_without_a_circuit_is_said_and_seeds_have_a_table_each():
    data = numbers(2)
    data.circuit_frequency[1] = False
    first, second = causal.sentences(data)
    assert first.startswith("Seed 0: at step 5,000 removing any one")
    assert second.startswith("Seed 1: at step 5,000 there is no circuit to test")
    assert [table.folded for table in causal.tables(data)] == [True, True]
