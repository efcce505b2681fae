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

from slt_grok.measurement import Data, Derived, Drawing, Variable
from slt_grok.transitions import change_points, sigmoid
from slt_grok.transitions.change import COVERAGE, FRACTIONS, SIGNIFICANCE, Rule, find_change, oriented, start_of_change
from slt_grok.transitions.measures import RULES, Curves, declared, with_interval

ESTIMATORS = ("sigmoid", "crossing", "change_point")
FEWEST = 5  # checkpoints needed for a change
GAIN = 8.0  # smallest log likelihood gain of the shape over a constant
FOUND, UNFINISHED = "found", "found, not finished at the last checkpoint"
TOO_FEW, NO_CHANGE, NOT_MEASURED = "too few checkpoints", "no change", "not measured"
NO_FIT = "changes, but not as one sigmoid"
DIMS = ("estimator", "measure", "seed")
VARIABLES = {"transition_status": Variable(DIMS, "status of the change", "found, or the reason why not")}
for _when, _fraction in FRACTIONS.items():
    _one = Variable(
        DIMS, f"{_when} of the change", f"{_fraction:.0%} of the way from start to end level", units="training steps"
    )
    VARIABLES |= with_interval(f"transition_{_when}", _one)
    VARIABLES[f"transition_{_when}_draw"] = _one._replace(dims=(*DIMS, "draw"), long_name=f"{_one.long_name}, draws")


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


def by_estimator(data: Data, *, draws: int = 200, seed: int = 0) -> xr.Dataset:
    """Estimate onset, middle and end of every measure's change with each estimator.

    Parameters
    ----------
    data : mapping of str to xarray.Dataset
        A run's datasets, as in `measure`.
    draws : int, optional
        Number of draws of each event, which determine intervals and all later results.
    seed : int, optional
        Seed of the draws.

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
    shape = (len(ESTIMATORS), len(curves.names), len(curves.seeds))
    places = np.full((*shape, 3, draws), np.nan)  # log(1 + step)
    bounds = np.full((3, *shape, 3), np.nan)  # middle, low, high
    status = np.full(shape, NO_CHANGE, dtype=object)
    for i, name in enumerate(curves.names):
        rule = RULES[name].rule
        for j, network in enumerate(curves.seeds):
            one, stream = curves.of(name, network), curves.stream(name, seed, int(network))
            of_sigmoid, of_crossing, of_cuts = stream.spawn(3)
            x, y, noise = oriented(one.steps, one.values, rule, one.se)
            if len(x) < FEWEST:
                status[:, i, j] = TOO_FEW if len(x) else NOT_MEASURED
                continue
            crossing = find_change(one.steps, one.values, rule, one.se, draws, stream)
            if np.isfinite(crossing["middle"].step):
                rows = bounds[:, 1, i, j] = np.log1p(np.array(list(crossing.values()))).T
                u = np.random.default_rng(of_crossing).random(draws)
                places[1, i, j] = rows[1][:, None] + (rows[2] - rows[1])[:, None] * u
                status[1, i, j] = FOUND
            first = start_of_change(y, noise, rule)
            if len(x) - first < FEWEST:
                status[[0, 2], i, j] = TOO_FEW
                continue
            part = x[first:], y[first:], None if noise is None else noise[first:]
            for k, drawn in ((0, fitted(*part, rule, draws, of_sigmoid)), (2, cut(*part, rule, draws, of_cuts))):
                if drawn is not None:
                    places[k, i, j] = drawn
                    bounds[:, k, i, j] = np.median(drawn, axis=1), *np.percentile(drawn, COVERAGE, axis=1)
                    status[k, i, j] = UNFINISHED if bounds[0, k, i, j, 2] > x[-1] else FOUND
                elif k == 0 and status[1, i, j] == FOUND:
                    status[k, i, j] = NO_FIT
    values: dict[str, np.ndarray] = {"transition_status": status.astype(str)}
    for k, when in enumerate(FRACTIONS):
        for part, suffix in enumerate(("", "_low", "_high")):
            values[f"transition_{when}{suffix}"] = np.expm1(bounds[part, ..., k])
        values[f"transition_{when}_draw"] = np.expm1(places[..., k, :])
    coords = {"estimator": list(ESTIMATORS), "measure": curves.names, "seed": curves.seeds}
    return declared(VARIABLES, values, coords, draws=draws, draws_seed=seed)


def fitted(
    x: np.ndarray, y: np.ndarray, noise: np.ndarray | None, rule: Rule, draws: int, seed: np.random.SeedSequence
) -> np.ndarray | None:
    """Draws (3, draws) of onset, middle and end of the fitted shape; None without a change by the rule."""
    known = None if noise is None or not noise.any() else noise[None]
    found = sigmoid.fit(x, y[None], known, np.ones((1, len(x)), bool), draws, seed)
    return found.events[0] if is_change(found, rule)[0] else None


def is_change(found: sigmoid.Sigmoids, rule: Rule) -> np.ndarray:
    """Check which fitted changes (C,) exceed their rule's minimum, 3 standard errors, and the fit of a constant."""
    least = rule.minimum * (np.abs(found.start) if rule.relative else 1.0)
    return (found.gain >= GAIN) & (found.size >= least) & (found.size > SIGNIFICANCE * found.size_se)


def cut(
    x: np.ndarray, y: np.ndarray, noise: np.ndarray | None, rule: Rule, draws: int, seed: np.random.SeedSequence
) -> np.ndarray | None:
    """Draws (3, draws) of the cuts at onset, middle and end; None without a change by the rule."""
    width = min(3, len(y) // 3)
    start, end = np.median(y[:width]), np.median(y[-width:])
    if end - start < rule.minimum * (abs(start) if rule.relative else 1.0):
        return None
    return change_points.draw(x, y, noise if noise is not None and noise.any() else None, draws, seed)
