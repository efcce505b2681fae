"""Figures of events, lags and associations: what is drawn is what the datasets say, and what is missing is written."""

import numpy as np
import pytest

from slt_grok import plots
from slt_grok.transitions import associate, by_estimator, lead_lag, predict_llc
from tests.transitions.test_association import recorded


@pytest.fixture(scope="module")
def data():
    found = recorded((0, 1, 2, 3, 4))
    generator = np.random.default_rng(0)
    found["llc"]["llc"] = found["llc"].llc * (1 + 0.02 * generator.standard_normal(found["llc"].llc.shape))
    found["training"]["test_accuracy"][:, 2] = 0.01
    return found


@pytest.fixture(scope="module")
def events(data):
    return by_estimator(**data, draws=50)


def texts(axes) -> str:
    return " ".join(text.get_text() for text in axes.texts)


def test_raster_has_a_row_a_seed_and_names_what_is_missing(events):
    (axes,) = plots.event_raster(events).axes
    seeds = [int(label.get_text()) for label in axes.get_yticklabels()]
    assert sorted(seeds) == [0, 1, 2, 3, 4]
    assert seeds[-1] == 2  # without test accuracy: the last row
    assert "no event: test accuracy" in texts(axes)
    drawn = {round(float(x)) for line in axes.lines for x in line.get_xdata()}
    assert round(float(events.transition_middle.sel(estimator="sigmoid", measure="llc", seed=0))) in drawn


def test_lead_lag_draws_means_and_says_too_few(events):
    lags = lead_lag(events, resamples=50)
    panels = plots.lead_lag(lags).axes
    assert len(panels) == 2
    mean = float(lags.lag.sel(reference="llc", event="middle", measure="neuron_share"))
    assert any(np.allclose(line.get_xdata(), mean) for line in panels[1].lines)
    assert "too few" not in texts(panels[0])
    few = lead_lag(events.isel(seed=[0, 1, 2]), resamples=50)
    assert "too few seeds (2)" in texts(plots.lead_lag(few).axes[0])


def test_association_and_prediction_draw_what_was_found(data, tmp_path):
    found = associate(**data, resamples=50)
    (axes,) = plots.association(found).axes
    assert "by pairing" in texts(axes)
    assert [label.get_text() for label in axes.get_yticklabels()][:2] == ["train accuracy", "test accuracy"]
    errors = predict_llc(**data)
    (axes,) = plots.prediction(errors).axes
    assert any(np.allclose(line.get_ydata(), errors.mean_error) for line in axes.lines)
    assert all(path.stat().st_size > 5000 for path in plots.save(plots.prediction(errors), tmp_path, "prediction"))
