"""Free energies that can be computed by hand, and intervals of means over seeds that cover."""

import math

import numpy as np
import pytest
import xarray as xr

from slt_grok.errors import SltGrokError
from slt_grok.transitions.free_energy import at_fractions, free_energy, mean_draws, phases

STEPS = np.array([0, 10, 20, 30, 40])


def run(n: int = 100) -> tuple[xr.Dataset, xr.Dataset]:
    """Seed 3 memorizes at 10 and generalizes at 30; seed 5 memorizes at 20 and never generalizes."""
    training = xr.Dataset(
        {
            "train_accuracy": (("step", "seed"), np.array([[0.1, 1, 1, 1, 1], [0.1, 0.5, 1, 1, 1]]).T),
            "test_accuracy": (("step", "seed"), np.array([[0.1, 0.1, 0.5, 1, 1], [0.1, 0.1, 0.1, 0.2, 0.2]]).T),
        },
        {"step": STEPS, "seed": [3, 5]},
    )
    llc = xr.Dataset(
        {
            "llc": (("step", "seed"), np.array([[900.0, 80, 90, 30, 20], [900.0, 70, 60, 65, 64]]).T),
            "llc_se": (("step", "seed"), np.full((5, 2), 2.0)),
            "baseline_loss": (("step", "seed"), np.array([[4, 0.5, 0.1, 0.02, 0.01], [4, 0.6, 0.3, 0.2, 0.1]]).T),
            "llc_status": (("step", "seed"), np.full((5, 2), "effective", dtype="<U12")),
        },
        {"step": STEPS, "seed": [3, 5]},
        {"n": n},
    )
    return llc, training


def test_each_phase_has_its_checkpoint() -> None:
    found = phases(*run())
    assert found.phase_step.sel(seed=3).values.tolist() == [20, 40]  # the untrained network's 900 is no memorizer
    assert found.phase_step.sel(phase="memorizing", seed=5) == 30
    assert np.isnan(found.llc.sel(phase="generalizing", seed=5))
    assert found.generalized.values.tolist() == [True, False]
    assert found.attrs["n"] == 100


def test_a_diverged_estimate_stands_for_nothing() -> None:
    llc, training = run()
    llc.llc_status[2, 0] = "diverged"
    assert phases(llc, training).phase_step.sel(phase="memorizing", seed=3) == 10


def test_a_control_stands_for_memorizing() -> None:
    llc, training = run()
    control = llc.assign(llc=llc.llc + 1000)
    found = phases(llc, training, control)
    assert found.llc.sel(phase="memorizing").values.tolist() == [1020, 1064]
    assert found.llc.sel(phase="generalizing", seed=3) == 20


def test_free_energy_by_hand() -> None:
    found = free_energy(phases(*run()), {"memorizing": 3}).isel(train_fraction=0)
    memorizing = 100 * 0.1 + 90 * math.log(100) - 2 * math.log(math.log(100))
    generalizing = 100 * 0.01 + 20 * math.log(100)
    assert found.free_energy.sel(phase="memorizing", seed=3).item() == pytest.approx(memorizing)
    assert found.difference.sel(seed=3).item() == pytest.approx(memorizing - generalizing)
    assert found.difference_se.sel(seed=3).item() == pytest.approx(math.log(100) * 2 * 2**0.5)
    assert np.isnan(found.difference.sel(seed=5))
    assert found.mean_difference.item() == pytest.approx(memorizing - generalizing)
    assert "one seed has both phases" in found.attrs["notes"][0]
    # of one seed the interval is that of the LLC's error: 1.96 standard errors, 2% from 4,000 draws at 3 sigma
    half = (found.mean_difference_high - found.mean_difference_low).item() / 2
    assert half == pytest.approx(1.96 * math.log(100) * 2 * 2**0.5, rel=0.06)


@pytest.mark.parametrize("seeds", [2, 3, 8])
def test_intervals_of_means_cover(seeds: int) -> None:
    """1,000 draws: 95% +- 1.4% at two standard errors."""
    generator = np.random.default_rng(seeds)
    covered = 0
    for _ in range(1000):
        values = 50 + 7 * generator.standard_normal(seeds)
        low, high = np.quantile(mean_draws(values, np.ones(seeds), 2000, generator), [0.025, 0.975])
        covered += low < 50 < high
    assert 925 <= covered <= 975


def test_fractions_with_different_seeds_stand_side_by_side() -> None:
    first, second = phases(*run(100)), phases(*run(200)).assign_coords(seed=[5, 7])
    joint = at_fractions({0.4: second, 0.2: first})
    assert joint.train_fraction.values.tolist() == [0.2, 0.4]
    assert joint.n.values.tolist() == [100, 200]
    assert joint.seed.values.tolist() == [3, 5, 7]
    assert np.isnan(joint.generalized.sel(train_fraction=0.2, seed=7))
    found = free_energy(joint)
    assert found.seeds_with_both.values.tolist() == [1, 1]
    assert found.free_energy.sel(train_fraction=0.4, phase="generalizing", seed=5).item() == pytest.approx(
        200 * 0.01 + 20 * math.log(200)
    )


def test_a_fraction_without_a_phase_is_named() -> None:
    llc, training = run()
    found = free_energy(phases(llc.sel(seed=[5]), training.sel(seed=[5])))
    assert found.attrs["notes"] == [
        "train fraction nan: no seed has the generalizing phase, so no difference is measured"
    ]
    assert np.isnan(found.mean_difference.item())


def test_bad_input() -> None:
    llc, training = run()
    with pytest.raises(SltGrokError, match="baseline_loss"):
        phases(llc.drop_vars("baseline_loss"), training)
    with pytest.raises(SltGrokError, match="attribute n"):
        phases(llc.drop_attrs(), training)
    with pytest.raises(SltGrokError, match=r"seeds of training, \[5\]"):
        phases(llc.sel(seed=[3]), training)
    with pytest.raises(SltGrokError, match="multiplicity"):
        free_energy(phases(llc, training), {"memorizing": 0})
    with pytest.raises(SltGrokError, match="at least one run"):
        at_fractions({})
