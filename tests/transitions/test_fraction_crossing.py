"""Crossings that are planted: power laws that meet where they are told to, seeds that generalize by a known law."""

import numpy as np
import pytest
import xarray as xr

from slt_grok.errors import SltGrokError
from slt_grok.transitions.fraction_crossing import (
    Crossing,
    against_training,
    compare,
    observed_crossing,
    predicted_fitted,
    predicted_measured,
    share_interval,
)
from slt_grok.transitions.free_energy import PHASES, free_energy

P = 53
FRACTIONS = np.array([0.1, 0.2, 0.3, 0.4, 0.6])


def planted(
    crossing: float, noise: float = 0.0, seeds: int = 3, generalizing_from: float = 0.0, seed: int = 0
) -> xr.Dataset:
    """Free energies 600 (n/n0)^1.2 and 600 (n/n0)^0.1 that meet at the crossing; losses 0, so that F = LLC log n."""
    n = FRACTIONS * P**2
    ratio = FRACTIONS / crossing
    means = 600 * np.stack([ratio**1.2, ratio**0.1])  # (phase, fraction)
    generator = np.random.default_rng(seed)
    energies = means[:, :, None] * (1 + noise * generator.standard_normal((2, len(n), seeds)))
    generalized = np.repeat((generalizing_from <= FRACTIONS)[:, None], seeds, 1).astype(float)
    energies[1][generalized == 0] = np.nan
    llc = energies / np.log(n)[:, None]
    dims = ("phase", "train_fraction", "seed")
    return xr.Dataset(
        {
            "llc": (dims, llc),
            "llc_se": (dims, 0.01 * llc),
            "phase_loss": (dims, 0 * llc),
            "generalized": (("train_fraction", "seed"), generalized),
        },
        {"phase": list(PHASES), "train_fraction": FRACTIONS, "n": ("train_fraction", n), "seed": range(seeds)},
    )


@pytest.mark.parametrize("crossing", [0.15, 0.2, 0.5])
def test_both_predictions_find_a_planted_crossing(crossing: float) -> None:
    energies = free_energy(planted(crossing))
    fitted, measured = predicted_fitted(energies), predicted_measured(energies)
    assert fitted.fraction == pytest.approx(crossing, rel=1e-6)
    assert "between fractions" in fitted.note
    # a broken line: exact at its corner 0.2, off between fractions that are a factor 2 apart
    assert measured.fraction == pytest.approx(crossing, rel=1e-6 if crossing == 0.2 else 0.08)


@pytest.mark.slow
@pytest.mark.parametrize(("predict", "crossing"), [(predicted_fitted, 0.25), (predicted_measured, 0.2)])
def test_intervals_of_the_crossing_cover(predict, crossing: float) -> None:
    """Three seeds, 10% of noise over seeds, 500 draws; the broken line is planted at a corner, where it is exact."""
    hits = 0
    for seed in range(500):
        found = predict(free_energy(planted(crossing, noise=0.1, seed=seed), draws=10), draws=1000, seed=seed)
        hits += found.low <= crossing <= found.high
    assert 450 <= hits <= 490


def test_a_crossing_where_no_seed_generalizes_is_extrapolated_and_said_to_be() -> None:
    energies = free_energy(planted(0.15, generalizing_from=0.3))
    fitted, measured = predicted_fitted(energies), predicted_measured(energies)
    assert fitted.fraction == pytest.approx(0.15, rel=1e-6)
    assert "extrapolated" in fitted.note
    assert np.isnan(measured.fraction)
    assert "from the smallest fraction with both phases, 0.3, on" in measured.note


def test_no_prediction_from_one_fraction() -> None:
    energies = free_energy(planted(0.15, generalizing_from=0.6))
    assert "generalizing phase is measured at 1" in predicted_fitted(energies).note
    assert "at 1 train fractions" in predicted_measured(energies).note


def trials(middle: float, width: float, seeds: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    fractions = np.repeat(np.geomspace(0.1, 0.8, 7), seeds)
    chance = 1 / (1 + np.exp(-(np.log(fractions) - np.log(middle)) / width))
    return fractions, (generator.uniform(size=len(fractions)) < chance).astype(float)


@pytest.mark.parametrize(("width", "seeds"), [(0.02, 3), (0.15, 3), (0.3, 5)])
def test_the_seen_crossing_covers(width: float, seeds: int) -> None:
    """500 draws each; where outcomes are separated the interval is the whole gap, which always covers."""
    generator = np.random.default_rng(int(1000 * width))
    found = []
    for _ in range(500):
        middle = float(np.exp(generator.uniform(np.log(0.2), np.log(0.45))))
        crossing = observed_crossing(*trials(middle, width, seeds, generator))
        found.append(crossing.low <= middle <= crossing.high)
    assert 450 <= sum(found) <= (500 if width == 0.02 else 490)


def test_separated_outcomes_leave_the_whole_gap_open() -> None:
    fractions = np.repeat([0.1, 0.2, 0.4, 0.8], 4)
    found = observed_crossing(fractions, (fractions > 0.3).astype(float))
    assert 0.2 < found.fraction < 0.4
    assert found.low == pytest.approx(0.2, rel=0.02)
    assert found.high == pytest.approx(0.4, rel=0.02)
    assert "separated" in found.note


def test_a_sweep_without_both_outcomes_is_open_at_one_end() -> None:
    fractions = np.repeat([0.2, 0.4, 0.8], 5)
    found = observed_crossing(fractions, np.ones(15))
    assert np.isnan(found.fraction)
    assert found.low == 0
    assert found.high < 0.4
    assert "every seed generalizes" in found.note
    assert observed_crossing(fractions, np.zeros(15)).high == np.inf
    assert "at least 2" in observed_crossing(np.full(5, 0.3), np.ones(5)).note


def test_verdicts_on_the_crossing() -> None:
    near, far, vague = Crossing(0.3, 0.27, 0.33, ""), Crossing(0.1, 0.09, 0.11, ""), Crossing(0.3, 0.1, 0.5, "")
    assert compare(near, Crossing(0.31, 0.25, 0.35, "")).verdict == "supported"
    assert compare(far, near).verdict == "refuted"
    assert "below" in compare(far, near).reason
    assert compare(vague, near).verdict == "undecided"
    assert compare(Crossing(np.nan, 0.0, 0.28, "nothing"), near).verdict == "undecided"
    assert compare(Crossing(np.nan, 0.0, 0.2, "nothing"), near).verdict == "refuted"


def test_where_training_and_posterior_disagree() -> None:
    data = planted(0.15, seeds=6)
    data["generalized"] = data.generalized.where(data.train_fraction != 0.2, 0.0)
    data["generalized"] = data.generalized.where((data.train_fraction != 0.3) | (data.seed > 2), 0.0)
    found = against_training(free_energy(data)).set_index(train_fraction="train_fraction")
    words = dict(zip(FRACTIONS.tolist(), found.agreement.values.tolist(), strict=True))
    assert words == {0.1: "disagree", 0.2: "disagree", 0.3: "undecided", 0.4: "agree", 0.6: "agree"}
    assert found.posterior_phase.values.tolist() == ["memorizing", *["generalizing"] * 4]
    reason = found.agreement_reason.sel(train_fraction=0.2).item()
    assert "prefers the generalizing phase" in reason
    assert "0 of 6 seeds generalized: disagree" in reason


def test_share_intervals_are_those_of_the_table() -> None:
    low, high = share_interval(0, 5)
    assert (low, high) == (0.0, pytest.approx(1 - 0.025 ** (1 / 5)))
    assert share_interval(6, 6)[0] > 0.5 > share_interval(5, 5)[0]


def test_bad_fractions() -> None:
    with pytest.raises(SltGrokError, match="above 0"):
        observed_crossing(np.array([0.0, 0.1]), np.array([0, 1]))
