"""Onset, middle and end of every change by three estimators, with draws that represent their uncertainty.

- `sigmoid`: the median of draws from a fitted shape (`sigmoid`) with their central 95%. This is the default: further
  analyses of events (lead and lag) use its draws, whose interval covers the truth in about 95% (analyses/results/
  linking_calibration.json).
- `crossing`: the rules of `change`, which assume no shape. Its intervals are bounds: at least the whole gap between two
  checkpoints, so their coverage exceeds 95%. Its draws are uniform between its bounds.
- `change_point`: cuts of the best piecewise constant curve (`change_points`).

An estimator without a result gives the reason in `transition_status`; nothing is dropped silently.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import xarray as xr

from slt_grok.change import COVERAGE, FRACTIONS, SIGNIFICANCE, find_change, is_met, oriented, start_of_change
from slt_grok.measurement import Data, Derived, Drawing, Variable
from slt_grok.rules import SCALE, Rule, Scale
from slt_grok.transitions import change_points, sigmoid
from slt_grok.transitions.measures import Curve, Curves, declared, event_stream, with_interval
from slt_grok.transitions.statuses import ChangeStatus

ESTIMATORS = ("sigmoid", "crossing", "change_point")
FEWEST = 5  # checkpoints needed for a change
GAIN = 8.0  # smallest log likelihood gain of the shape over a constant
DIMS = ("estimator", "measure", "seed")
VARIABLES = {"transition_status": Variable(DIMS, "status of the change", "found, or the reason why not")}
for _when, _fraction in FRACTIONS.items():
    _rule = f"{_fraction:.0%} of the way from start to end level"
    _event = Variable(DIMS, f"{_when} of the change", _rule, units="training steps")
    VARIABLES |= with_interval(f"transition_{_when}", _event)
    VARIABLES[f"transition_{_when}_draw"] = _event._replace(
        dims=(*DIMS, "draw"), long_name=f"{_event.long_name}, draws"
    )


class Events(Derived):
    """The events of several seeds by each estimator."""

    name = "events"
    title = "Events over seeds"
    position = 71
    variables: ClassVar[Mapping[str, Variable]] = VARIABLES  # pyright: ignore[reportIncompatibleMethodOverride]

    def derive(self, data: Data, config: Any) -> xr.Dataset | None:
        """Compute the events of at least two seeds."""
        return by_estimator(data) if "training" in data and data["training"].sizes["seed"] > 1 else None

    def figures(self) -> Sequence[Drawing]:
        """Draw the middles of all changes."""
        from slt_grok import plots

        caption = (
            "The middle of every change in every seed, from a fitted shape, with its 95% interval; seeds are sorted by "
            "their rise in test accuracy."
        )
        return [Drawing("event_raster", plots.event_raster, caption, by_seed=False)]


def by_estimator(data: Data, *, draws: int = 200, seed: int = 0, scale: Scale = SCALE) -> xr.Dataset:
    """Estimate onset, middle and end of every measure's change with each estimator.

    Parameters
    ----------
    data : mapping of str to xarray.Dataset
        A run's datasets, as in `measure`.
    draws : int, optional
        Number of draws of each event, which determine intervals and all later results.
    seed : int, optional
        Seed of the draws.
    scale : {"linear", "log"}, optional
        Scale of all measures.

    Returns
    -------
    xarray.Dataset
        `transition_onset`, `transition_middle`, `transition_end`, each also with `_low` and `_high` (95%), in training
        steps over (estimator, measure, seed), and `_draw` over (estimator, measure, seed, draw); `transition_status`
        over (estimator, measure, seed): `found`, `found, not finished at the last checkpoint`, `no change`, `changes,
        but not as one sigmoid` (it crosses its level, but rises in steps or reverses), `too few checkpoints` or `not
        measured`. NaN unless found.

    Raises
    ------
    SltGrokError
        A dataset lacks `step`, accuracies or one of the seeds.
    """
    curves = Curves(data)
    networks = [(name, network) for name in curves.names for network in curves.seeds]
    estimates = [
        _estimate(
            curves.get(name, network),
            curves.measures[name].change.rule,
            draws,
            event_stream(name, seed, int(network)),
            scale,
        )
        for name, network in networks
    ]
    # (measure, seed, estimator, ...) -> (estimator, measure, seed, ...)
    shape = (len(curves.names), len(curves.seeds))
    status, bounds, places = (
        np.moveaxis(np.reshape(part, (*shape, *np.shape(part)[1:])), 2, 0) for part in zip(*estimates, strict=True)
    )
    values: dict[str, np.ndarray] = {"transition_status": status.astype(str)}
    for k, when in enumerate(FRACTIONS):
        for part, suffix in enumerate(("", "_low", "_high")):
            values[f"transition_{when}{suffix}"] = np.expm1(bounds[..., part, k])
        values[f"transition_{when}_draw"] = np.expm1(places[..., k, :])
    coords = {"estimator": list(ESTIMATORS), "measure": curves.names, "seed": curves.seeds}
    return declared(VARIABLES, values, coords, draws=draws, draws_seed=seed, scale=scale)


def _estimate(
    curve: Curve, rule: Rule, draws: int, stream: np.random.SeedSequence, scale: Scale
) -> tuple[list[ChangeStatus], np.ndarray, np.ndarray]:
    """Statuses, bounds (estimator, part, event) and draws (estimator, event, draw) of one curve, in log(1 + step)."""
    status = [ChangeStatus.NO_CHANGE] * len(ESTIMATORS)
    bounds = np.full((len(ESTIMATORS), 3, 3), np.nan)  # parts: middle, low, high
    places = np.full((len(ESTIMATORS), 3, draws), np.nan)
    sigmoid_stream, crossing_stream, cut_stream = stream.spawn(3)
    x, y, noise = oriented(curve.steps, curve.values, rule, curve.se, scale)
    if len(x) < FEWEST:
        status = [ChangeStatus.TOO_FEW if len(x) else ChangeStatus.NOT_MEASURED] * len(ESTIMATORS)
        return status, bounds, places
    crossing = find_change(curve.steps, curve.values, rule, curve.se, draws, stream, scale)
    crosses = bool(np.isfinite(crossing["middle"].step))
    if crosses:
        _, low, high = bounds[1] = np.log1p(np.array(list(crossing.values()))).T
        places[1] = low[:, None] + (high - low)[:, None] * np.random.default_rng(crossing_stream).random(draws)
        status[1] = ChangeStatus.FOUND
    first = start_of_change(y, noise, rule)
    if len(x) - first < FEWEST:
        status[0] = status[2] = ChangeStatus.TOO_FEW
        return status, bounds, places
    change = x[first:], y[first:], None if noise is None else noise[first:], rule, draws
    for k, drawn in ((0, fitted(*change, sigmoid_stream, scale)), (2, cut(*change, cut_stream, scale))):
        if drawn is not None:
            places[k] = drawn
            bounds[k] = np.median(drawn, axis=1), *np.percentile(drawn, COVERAGE, axis=1)
            status[k] = ChangeStatus.UNFINISHED if bounds[k, 0, 2] > x[-1] else ChangeStatus.FOUND
        elif k == 0 and crosses:
            status[k] = ChangeStatus.NO_FIT
    return status, bounds, places


def fitted(
    x: np.ndarray,
    y: np.ndarray,
    noise: np.ndarray | None,
    rule: Rule,
    draws: int,
    seed: np.random.SeedSequence,
    scale: Scale = SCALE,
) -> np.ndarray | None:
    """Draws (3, draws) of onset, middle and end of the fitted shape; None without a change by the rule."""
    errors = None if noise is None or not noise.any() else noise[None]
    fit = sigmoid.fit(x, y[None], errors, np.ones((1, len(x)), bool), draws, seed)
    return fit.events[0] if is_change(fit, rule, scale)[0] else None


def is_change(fit: sigmoid.Sigmoids, rule: Rule, scale: Scale = SCALE) -> np.ndarray:
    """Check which fitted changes (C,) meet their rule and exceed 3 standard errors and the fit of a constant."""
    large = is_met(rule, fit.start, fit.start + fit.size, scale)
    return (fit.gain >= GAIN) & large & (fit.size > SIGNIFICANCE * fit.size_se)


def cut(
    x: np.ndarray,
    y: np.ndarray,
    noise: np.ndarray | None,
    rule: Rule,
    draws: int,
    seed: np.random.SeedSequence,
    scale: Scale = SCALE,
) -> np.ndarray | None:
    """Draws (3, draws) of the cuts at onset, middle and end; None without a change by the rule."""
    width = min(3, len(y) // 3)
    if not is_met(rule, np.median(y[:width]), np.median(y[-width:]), scale):
        return None
    return change_points.draw(x, y, noise if noise is not None and noise.any() else None, draws, seed)
