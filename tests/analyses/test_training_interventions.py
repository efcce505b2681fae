"""Interventions seed by seed: a planted change found, none where there is none, and what is missing named."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy.stats import ttest_1samp, ttest_ind
from training_interventions import content_of, main

from slt_grok.errors import SltGrokError
from slt_grok.store.files import read_json
from slt_grok.studies.results import load_study
from tests.analyses.planted import noisy, row, written

STEPS = [0, 300, 2600]


def planted(folder: Path, ends: dict[str, float], seeds: int = 5, failed: bool = False) -> Path:
    """Arms whose LLC ends at these values times a factor that a seed has in every arm, and 5% of each run's own."""
    generator = np.random.default_rng(4)
    of_seed = np.exp(0.5 * generator.standard_normal(seeds))
    rows, data = [], {}
    for arm, end in ends.items():
        final = np.array([noisy(end * one, generator) for one in of_seed])
        outcome = "generalized" if end < 50 else "memorized"
        rows += [
            row(
                arm,
                seed,
                llc_final=value,
                llc_peak=noisy(200.0, generator),
                test_accuracy_final=1.0,
                generalization_step=900.0 + seed,
                key_frequencies=[1 + seed, 7],
            )
            | {"outcome": outcome}
            for seed, value in enumerate(final)
        ]
        llc = np.stack([4 * of_seed, np.full(seeds, 200.0), final])
        data[arm] = {
            "llc": xr.Dataset({"llc": (("step", "seed"), llc)}, {"step": STEPS, "seed": range(seeds)}),
            "circuits": xr.Dataset(
                {"unmirrored_test_accuracy": (("step", "seed"), np.linspace(0, 1, 3 * seeds).reshape(3, seeds))},
                {"step": STEPS, "seed": range(seeds)},
            ),
        }
    if failed:
        rows[-1] |= {"status": "failed", "reason": "training: loss is not finite at step 288", "llc_final": np.nan}
    return written(folder, "interventions", rows, data)


def test_each_arm_beside_the_plain_runs(tmp_path):
    """Seeds differ by a factor 1.6 each way, arms within a seed by 5%: pairs see a ratio of 1.3, groups would not."""
    found = content_of(load_study(planted(tmp_path, {"plain": 16, "more": 21, "much": 135, "less": 11, "same": 16})))
    arms = found["arms"]
    says = {arm: one["llc_final_over_plain"]["says"] for arm, one in arms.items() if arm != "plain"}
    assert says == {"more": "higher", "much": "higher", "less": "lower", "same": "undecided at this power"}
    against = arms["more"]["llc_final_over_plain"]
    assert against["low"] < 21 / 16 < against["high"]
    plain, more = (np.log(one) for one in ends_of(tmp_path, ("plain", "more")))
    assert ttest_ind(plain, more, equal_var=False).pvalue > 0.2
    assert arms["much"]["generalized"]["seeds"] == 0
    assert arms["plain"]["generalized"] == pytest.approx({"seeds": 5, "of": 5, "low": 0.025**0.2, "high": 1.0})
    of_seed = np.exp(0.5 * np.random.default_rng(4).standard_normal(5))
    first = ttest_1samp(4 * of_seed, 0.0).confidence_interval()
    assert arms["plain"]["llc_first"] == pytest.approx(
        {"value": 4 * of_seed.mean(), "low": first.low, "high": first.high, "seeds": 5}
    )
    assert arms["plain"]["generalization_step"]["3"] == 903
    assert arms["plain"]["key_frequencies"]["3"] == [4, 7]
    assert found["not_used"] == []


def ends_of(folder: Path, arms: tuple[str, ...]) -> list[np.ndarray]:
    """The LLC at the end of the planted study's arms."""
    table = load_study(folder / "interventions").table
    return [table.loc[table.arm == arm, "llc_final"].to_numpy(dtype=float) for arm in arms]


def test_two_seeds_are_too_few(tmp_path):
    found = content_of(load_study(planted(tmp_path, {"plain": 16, "off": 135}, seeds=2)))
    assert found["arms"]["off"]["llc_final_over_plain"]["says"] == "too few seeds"


def test_written_with_a_figure_and_a_failed_run_named(tmp_path, capsys):
    path = planted(tmp_path, {"plain": 16, "off": 135}, failed=True)
    main([path], tmp_path / "out")
    found = read_json(tmp_path / "out" / "training_interventions.json")
    assert found["arms"]["off"]["llc_final_over_plain"]["seeds"] == 4
    assert found["not_used"] == ["off, seed 4: failed (training: loss is not finite at step 288)"]
    assert "off: 0 of 4 seeds generalize" in capsys.readouterr().out
    assert {one.suffix for one in (tmp_path / "out").iterdir()} == {".json", ".png"}


def test_without_plain_runs_it_says_so(tmp_path):
    with pytest.raises(SltGrokError, match="expected an arm plain and others, got off"):
        content_of(load_study(planted(tmp_path, {"off": 135})))
