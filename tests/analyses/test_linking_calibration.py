"""The calibration's synthetic curves are what they say, and the script runs from end to end at a small size."""

import json

import linking_calibration
import linking_synthetic
import numpy as np
import pytest

X = np.log1p(linking_synthetic.checkpoints(60, "linear"))


def test_planted_events_are_where_the_curve_has_gone_its_share():
    one, none = np.ones(1), np.zeros(1)
    curves = linking_synthetic.llc_curves(
        np.linspace(0, 10, 100_001), 8 * one, 0.3 * one, 2 * one, none, 100.0, np.random.default_rng(0)
    )
    places = np.linspace(0, 10, 100_001)
    for event, share in zip(curves.events[0], (0.1, 0.5, 0.9), strict=True):
        value = np.interp(event, places, curves.values[0])
        assert value == pytest.approx(150 - 100 * share, abs=0.01)


def test_noise_is_what_it_says():
    many = np.full(4000, 8.0)
    curves = linking_synthetic.llc_curves(
        X, many, many / 40, many / 8, np.full(4000, 0.03), 0, np.random.default_rng(1)
    )
    late = curves.values[:, -5:]
    assert late.std() == pytest.approx(4.5, rel=0.03)
    assert np.log(curves.se[:, -5:] / 4.5).std() == pytest.approx(0.25, rel=0.03)


def test_without_coupling_nothing_but_the_trend_is_shared():
    data = linking_synthetic.coupled_increments(500, 3, 40, 0.0, "none", np.random.default_rng(2))
    correlation = np.corrcoef(data.llc.ravel(), data.circuit.ravel())[0, 1]
    assert abs(correlation) < 0.02  # 58,500 increments: 4 standard errors
    coupled = linking_synthetic.coupled_increments(500, 3, 40, 0.4, "none", np.random.default_rng(3))
    assert np.corrcoef(coupled.llc.ravel(), coupled.circuit.ravel())[0, 1] == pytest.approx(0.4, abs=0.02)


@pytest.mark.slow
def test_the_script_writes_its_rates_and_the_power_curve(tmp_path, monkeypatch):
    """At a hundredth of its size; coverage of 80 pooled intervals at least 0.85, 4 standard errors below 0.95."""
    monkeypatch.setattr("sys.argv", ["linking_calibration.py", "--share", "0.01", "--out", str(tmp_path)])
    linking_calibration.main()
    found = json.loads((tmp_path / "linking_calibration.json").read_text())
    middle = [row["estimators"]["sigmoid"]["coverage"]["middle"] for row in found["coverage"].values()]
    assert np.mean(middle) >= 0.85
    assert found["command"] == "python analyses/linking_calibration.py --share 0.01"
    assert (tmp_path / "linking_calibration.png").stat().st_size > 10_000
