"""Estimators side by side, and what is said where one of them finds nothing."""

from slt_grok import transitions
from tests.transitions.test_measure import logistic, run


def test_a_rise_in_two_steps_is_named_where_no_sigmoid_fits():
    """Half of the rise at step 100, half at step 3,000."""
    data = run()
    steps = data["training"].step.values
    rise = 0.5 * logistic(steps, 100, 0.05) + 0.5 * logistic(steps, 3000, 0.05)
    data["training"]["test_accuracy"][:] = rise[:, None]
    status = transitions.by_estimator(data).transition_status.sel(measure="test_accuracy").isel(seed=0)
    assert status.sel(estimator="crossing") == "found"
    assert status.sel(estimator="sigmoid") == "changes, but not as one sigmoid"
