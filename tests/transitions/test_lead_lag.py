"""Events by three estimators, their order over seeds, and the phases: on networks with planted events."""

import numpy as np
import pytest

from slt_grok.errors import SltGrokError
from slt_grok.transitions import by_estimator, lag_table, lead_lag, measure, phases
from tests.transitions.test_measure import LINEAR, run

PLANTED = {
    name: LINEAR[name] for name in ("train_accuracy", "test_accuracy", "neuron_share", "restricted_loss_sum", "llc")
}


@pytest.fixture(scope="module")
def events():
    return by_estimator(run((0, 1, 2, 3, 9)), draws=100)


@pytest.mark.parametrize("estimator", ["sigmoid", "crossing", "change_point"])
def test_the_planted_middles_are_found_by_each(events, estimator):
    """Within one gap of the 12 checkpoints (a factor of 2) by each, and inside the interval by the fitted shape."""
    for name, step in PLANTED.items():
        one = events.sel(measure=name, estimator=estimator).isel(seed=0)
        assert one.transition_status.item().startswith("found")
        assert step / 2 < one.transition_middle < 2 * step, name
        if estimator == "sigmoid":
            assert one.transition_middle_low * 0.98 <= step <= one.transition_middle_high * 1.02, name


def test_the_crossing_is_that_of_measure(events):
    rules = measure(run((0, 1, 2, 3, 9)))
    own = events.sel(estimator="crossing").transition_end.transpose("measure", "seed")
    np.testing.assert_allclose(own, rules.transition_end, rtol=1e-6)


def test_what_is_not_there_says_why():
    data = run((0, 1), grok=False)
    data["circuits"]["gini_embedding"][:] = np.nan
    found = by_estimator(data, draws=20)
    assert (found.transition_status.sel(measure="test_accuracy") == "no change").all()
    assert (found.transition_status.sel(measure="gini_embedding") == "not measured").all()
    assert np.isnan(found.transition_middle.sel(measure="test_accuracy")).all()
    few = by_estimator({"training": run((0,))["training"].isel(step=[0, 50, -1])}, draws=20)
    assert (few.transition_status == "too few checkpoints").all()


def test_order_of_planted_events(events):
    lags = lead_lag(events)
    middle = lags.sel(event="middle", reference="test_accuracy")
    for name, step in PLANTED.items():
        if name != "test_accuracy":
            assert float(middle.lag.sel(measure=name)) == pytest.approx(np.log(step / 1500), abs=0.15)
            assert middle.verdict.sel(measure=name).item() == "before"
    assert (middle.p_value_holm.dropna("measure") >= middle.p_value.dropna("measure")).all()
    table = lag_table(lags)
    assert len(table) == 2 * 3 * (events.sizes["measure"] - 1)


def test_a_seed_without_the_event_is_named_and_too_few_are_said():
    data = run((0, 1, 2, 3, 9))
    data["training"]["test_accuracy"][:, 4] = 0.01
    lags = lead_lag(by_estimator(data, draws=50), ["test_accuracy"])
    one = lags.sel(event="middle", measure="llc", reference="test_accuracy")
    assert one.seeds == 4
    assert one.left_out.item() == "seed 9 (test_accuracy: no change)"
    assert np.isnan(one.lag_of_seed.sel(seed=9))
    assert one.verdict.item() == "before"
    data["training"]["test_accuracy"][:, 3] = 0.01
    one = lead_lag(by_estimator(data, draws=50), ["test_accuracy"]).sel(event="middle", measure="llc")
    assert (one.verdict == "too few seeds").all()
    assert np.isnan(one.lag).all()
    assert np.isnan(one.p_value).all()


def test_a_reference_that_is_not_there(events):
    with pytest.raises(SltGrokError, match=r"measure: expected one of .* got hessian_rank"):
        lead_lag(events, ["hessian_rank"])


def test_phases_beside_the_published_ones(events):
    """Excluded loss rises 10% of the way at 1600 e^(-0.15 log 9); test loss falls from 10% to 90% around 1500."""
    rules = measure(run((0, 1, 2, 3, 9)))
    found = phases(rules).isel(seed=0)
    np.testing.assert_array_equal(found.phase_step.sel(rule="accuracy").values, rules.phase_step.isel(seed=0).values)
    ends = found.phase_step.sel(rule="progress_measures")
    assert ends.sel(phase_boundary="memorization") == pytest.approx(1600 * 9**-0.15, rel=0.15)
    assert ends.sel(phase_boundary="cleanup") == pytest.approx(1500 * 9**0.15, rel=0.1)
