"""Curves that are stretched by a planted exponent fall on one at that exponent."""

import numpy as np
import pytest
from size_collapse import SizedCurve, collapse

SIZES = (23, 43, 79, 113)


def planted(exponent: float, noise: float, seeds: int, seed: int) -> list[SizedCurve]:
    """Logistic rises of width 0.3 (p / p_0)^-c log steps, their middles known to 0.02."""
    generator = np.random.default_rng(seed)
    middle_size, steps = np.exp(np.log(SIZES).mean()), np.unique(np.geomspace(1, 1e5, 150).astype(int))
    curves = []
    for size in SIZES:
        for index in range(seeds):
            at = generator.normal(np.log(2000), 0.3)
            width = 0.3 * (size / middle_size) ** -exponent * np.exp(noise * generator.standard_normal())
            values = 1 / (1 + np.exp(-(np.log1p(steps) - at) / width))
            curves.append(SizedCurve(size, index, steps, values, np.expm1(at + 0.02 * generator.standard_normal())))
    return curves


@pytest.mark.parametrize(("exponent", "verdict"), [(0.0, "smooth"), (0.8, "sharp")])
def test_a_planted_exponent_is_found(exponent: float, verdict: str) -> None:
    found = collapse(planted(exponent, 0.05, 4, 2))
    assert found.attrs["exponent"] == pytest.approx(exponent, abs=0.1)
    assert found.attrs["exponent_low"] <= exponent <= found.attrs["exponent_high"]
    assert found.attrs["verdict"] == verdict


@pytest.mark.slow
@pytest.mark.parametrize("exponent", [0.0, 0.6])
def test_intervals_cover(exponent: float) -> None:
    """500 draws of four seeds a size."""
    hits = 0
    for seed in range(500):
        attrs = collapse(planted(exponent, 0.15, 4, seed)).attrs
        hits += attrs["exponent_low"] <= exponent <= attrs["exponent_high"]
    assert 450 <= hits <= 490


def test_curves_that_are_the_same_have_no_misfit() -> None:
    same = [c._replace(size=size) for size in SIZES for c in planted(0.0, 0.0, 1, 3)[:1] for _ in range(2)]
    found = collapse(same)
    assert found.attrs["exponent"] == pytest.approx(0, abs=1e-3)
    assert found.misfit.sel(exponent=0, method="nearest") == pytest.approx(0, abs=1e-12)
    assert found.misfit.sel(exponent=1, method="nearest") > 0.01
    assert found.attrs["verdict"] == "undecided"  # no seed moves the exponent, which says nothing about its error
    assert np.isnan(found.attrs["exponent_high"])


def test_too_little_is_said() -> None:
    curves = planted(0.5, 0.1, 3, 0)
    few = collapse([c._replace(middle=np.nan) if c.size > 50 else c for c in curves])
    assert few.attrs["verdict"] == "undecided"
    assert "there are 2 and 4" in few.attrs["reason"]
    assert few.attrs["notes"][0] == "omitted: size 79, seed 0: no middle"
