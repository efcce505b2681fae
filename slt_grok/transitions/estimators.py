"""Onset, middle and end of every change by three estimators side by side, with draws of what each leaves open.

- `sigmoid`: the middle of the draws of a fitted shape (`sigmoid`), their central 95%. The default: what else is said
  about events (lead and lag) uses its draws, whose interval covers the truth in about 95% (analyses/results/
  linking_calibration.json).
- `crossing`: the rules of `change`, which assume no shape. Its intervals are bounds: at least the whole gap between two
  checkpoints, so they cover in more than 95%. Its draws are uniform between its bounds.
- `change_point`: cuts of the best piecewise constant curve (`change_points`).

An estimator that finds nothing says why in `transition_status`: nothing is dropped.
"""

import numpy as np
import xarray as xr

from slt_grok.transitions import change_points, sigmoid
from slt_grok.transitions.change import COVERAGE, FRACTIONS, SIGNIFICANCE, Rule, find_change, oriented, start_of_change
from slt_grok.transitions.measures import RULES, curve, gathered, measured_in

ESTIMATORS = ("sigmoid", "crossing", "change_point")
FEWEST = 5  # checkpoints of a change
GAIN = 8.0  # least log likelihood of the shape over that of a constant
FOUND, UNFINISHED = "found", "found, not finished at the last checkpoint"
TOO_FEW, NO_CHANGE, NOT_MEASURED = "too few checkpoints", "no change", "not measured"
NO_FIT = "changes, but not as one sigmoid"
SOURCE = "this package: slt_grok.transitions.estimators"


def by_estimator(
    training: xr.Dataset,
    llc: xr.Dataset | None = None,
    circuits: xr.Dataset | None = None,
    landscape: xr.Dataset | None = None,
    *,
    draws: int = 200,
    seed: int = 0,
) -> xr.Dataset:
    """Onset, middle and end of every measure's change by each estimator.

    Parameters
    ----------
    training : xarray.Dataset
        As in `measure`.
    llc, circuits, landscape : xarray.Dataset or None, optional
        As in `measure`.
    draws : int, optional
        Of each event, on which intervals and everything later rest.
    seed : int, optional
        Of the draws.

    Returns
    -------
    xarray.Dataset
        `transition_onset`, `transition_middle`, `transition_end`, each also `_low` and `_high` (95%), in training steps
        over (estimator, measure, seed), and `_draw` over (estimator, measure, seed, draw); `transition_status` over
        (estimator, measure, seed): `found`, `found, not finished at the last checkpoint`, `no change`, `changes, but
        not as one sigmoid` (its level is crossed, but the curve rises in steps or turns), `too few checkpoints` or `not
        measured`. NaN unless found.

    Raises
    ------
    SltGrokError
        A dataset without `step`, without accuracies or without one of the seeds.
    """
    datasets = gathered(training=training, llc=llc, circuits=circuits, landscape=landscape)
    names = measured_in(datasets)
    seeds = datasets["training"].seed.values
    shape = (len(ESTIMATORS), len(names), len(seeds))
    places = np.full((*shape, 3, draws), np.nan)  # log(1 + step)
    middle, low, high = (np.full((*shape, 3), np.nan) for _ in range(3))
    status = np.full(shape, NO_CHANGE, dtype=object)
    for i, name in enumerate(names):
        for j, network in enumerate(seeds):
            one = curve(datasets, name, network)
            stream = np.random.SeedSequence([seed, list(RULES).index(name), int(network)])
            of_sigmoid, of_crossing, of_cuts = stream.spawn(3)
            x, y, noise = oriented(one.steps, one.values, RULES[name][1], one.se)
            if len(x) < FEWEST:
                status[:, i, j] = TOO_FEW if len(x) else NOT_MEASURED
                continue
            crossing = find_change(one.steps, one.values, RULES[name][1], one.se, draws, stream)
            if np.isfinite(crossing["middle"].step):
                rows = np.log1p([[c.step, c.low, c.high] for c in crossing.values()])
                middle[1, i, j], low[1, i, j], high[1, i, j] = rows.T
                u = np.random.default_rng(of_crossing).random(draws)
                places[1, i, j] = rows[:, 1:2] + (rows[:, 2:] - rows[:, 1:2]) * u
                status[1, i, j] = FOUND
            first = start_of_change(y, noise, RULES[name][1])
            if len(x) - first < FEWEST:
                status[[0, 2], i, j] = TOO_FEW
                continue
            part = x[first:], y[first:], None if noise is None else noise[first:]
            for k, found in (
                (0, fitted(*part, RULES[name][1], draws, of_sigmoid)),
                (2, cut(*part, RULES[name][1], draws, of_cuts)),
            ):
                if found is None:
                    if k == 0 and status[1, i, j] == FOUND:
                        status[k, i, j] = NO_FIT
                    continue
                places[k, i, j] = found
                middle[k, i, j] = np.median(found, axis=1)
                low[k, i, j], high[k, i, j] = np.percentile(found, COVERAGE, axis=1)
                status[k, i, j] = UNFINISHED if middle[k, i, j, 2] > x[-1] else FOUND

    dims = ("estimator", "measure", "seed")
    variables: dict[str, tuple] = {}
    for k, (when, fraction) in enumerate(FRACTIONS.items()):
        parts = {"": middle, "_low": low, "_high": high}
        attrs = {
            "units": "training steps",
            "definition": f"{fraction:.0%} of the way from start to end level",
            "source": SOURCE,
        }
        for suffix, values in parts.items():
            text = {"": "", "_low": ", lower end of the 95% interval", "_high": ", upper end of the 95% interval"}[
                suffix
            ]
            attrs_of = {"long_name": f"{when} of the change{text}"} | attrs
            variables[f"transition_{when}{suffix}"] = (dims, np.expm1(values[..., k]), attrs_of)
        attrs_of = {"long_name": f"{when} of the change, draws"} | attrs
        variables[f"transition_{when}_draw"] = ((*dims, "draw"), np.expm1(places[..., k, :]), attrs_of)
    attrs = {"long_name": "what became of the change", "definition": "found, or why not", "source": SOURCE}
    variables["transition_status"] = (dims, status.astype(str), attrs)
    coords = {"estimator": list(ESTIMATORS), "measure": names, "seed": seeds}
    return xr.Dataset(variables, coords, {"draws": draws, "draws_seed": seed})


def fitted(
    x: np.ndarray, y: np.ndarray, noise: np.ndarray | None, rule: Rule, draws: int, seed: np.random.SeedSequence
) -> np.ndarray | None:
    """Draws (3, draws) of onset, middle and end of the fitted shape; None without a change by the rule."""
    known = None if noise is None or not noise.any() else noise[None]
    found = sigmoid.fit(x, y[None], known, np.ones((1, len(x)), bool), draws, seed)
    return found.events[0] if is_change(found, rule)[0] else None


def is_change(found: sigmoid.Sigmoids, rule: Rule) -> np.ndarray:
    """Which fitted changes (C,) are as large as their rule wants, 3 of their standard errors, and better than none."""
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
