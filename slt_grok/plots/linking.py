"""Events and associations over several seeds: what changes when, and what moves with the LLC beyond the trend.

Datasets: `slt_grok.transitions.by_estimator`, `lead_lag`, `associate` and `predict_llc`.
"""

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from slt_grok.plots import style
from slt_grok.plots.palette import BLUE, GRAY, ORANGE
from slt_grok.transitions.measures import measure_name
from slt_grok.transitions.statuses import Verdict

PREDICTORS = {"step": "step\nalone", "weight_norm": "weight\nnorm"}  # all others by their names


@style.styled
def event_raster(events: xr.Dataset) -> Figure:
    """Draw one row per seed, with one marker per measure at the middle of its change and the 95% interval.

    Seeds are sorted by test accuracy (on unmirrored pairs if measured, since the others may be answered by
    symmetry). Measures without an event in a seed are named to the right of its row.
    """
    events = events.sel(estimator="sigmoid").transpose("seed", "measure", ...)
    measures = events.measure.values.tolist()
    looks = list(map(style.appearance, measures))
    by = "unmirrored_test_accuracy" if "unmirrored_test_accuracy" in measures else "test_accuracy"
    events = events.isel(seed=np.argsort(events.transition_middle.sel(measure=by).values, kind="stable"))
    middle, low, high = (events[f"transition_middle{end}"].values for end in ("", "_low", "_high"))
    known = np.isfinite(middle)
    figure, ((axes,),) = style.frame(1.5 + 0.3 * max(len(middle), 3))
    offsets = np.linspace(-0.36, 0.36, len(measures)) if len(measures) > 1 else np.zeros(1)
    style.name_rows(axes, [str(seed) for seed in events.seed.values])
    for row in range(len(middle)):
        axes.axhspan(row - 0.46, row + 0.46, color="0.95" if row % 2 else "1.0", lw=0, zorder=0)
        for i in np.flatnonzero(known[row]):
            color, marker = looks[i]
            ends, height = [low[row, i], high[row, i]], row + offsets[i]
            axes.plot(ends, [height] * 2, color=color, lw=1.2, alpha=0.55, solid_capstyle="butt")
            axes.plot(middle[row, i], height, marker, color=color, ms=3.4, mew=0.4, mec="white")
        if not known[row].all():
            missing = ",\n".join(measure_name(measures[i]) for i in np.flatnonzero(~known[row]))
            _note(axes, row, f"no event: {missing}", fontsize=5.5, color="0.35")
    first, last = (low[known].min(), high[known].max()) if known.any() else (1.0, 10.0)
    style.step_axis(axes, np.array([max(first, 1.0) / 1.1, last * 1.1]))
    axes.set_ylabel("Seed")
    handles = [
        Line2D([], [], color=color, marker=marker, ls="", ms=4, label=measure_name(measure))
        for measure, (color, marker) in zip(measures, looks, strict=True)
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=5)
    return figure


@style.styled
def lead_lag(lags: xr.Dataset) -> Figure:
    """Draw the lag of every middle behind that of each reference: seeds as gray dots, the mean with its 95% interval.

    Filled if the order is resolved (Holm's p at most 0.05), open otherwise.
    """
    references, measures = lags.reference.values.tolist(), lags.measure.values.tolist()
    figure, ((*panels,),) = style.frame(0.9 + 0.24 * len(measures), 1, len(references), sharey=True)
    for axes, reference in zip(panels, references, strict=True):
        behind = lags.sel(reference=reference, event="middle")
        values = behind[["lag_of_seed", "lag_low", "lag_high"]].to_array()
        center = (values.min() + values.max()) / 2
        for row, measure in enumerate(measures):
            if measure == reference:
                continue
            lag, look = behind.sel(measure=measure), style.appearance(measure)
            _seeds_and_mean(
                axes, row, lag.lag_of_seed, lag, "lag", *look, filled=lag.verdict in (Verdict.BEFORE, Verdict.AFTER)
            )
            if lag.verdict == Verdict.TOO_FEW_SEEDS:
                left = (lag.lag_of_seed - center).sum() > 0  # put the text where there are no seeds
                place = {"x": 0.01, "ha": "left"} if left else {"x": 0.99, "ha": "right"}
                _note(axes, row, f"too few seeds ({int(lag.seeds)})", **place)
        axes.set_xlabel(f"Middle after that of\n{measure_name(reference)}\n(difference in log step)")
    style.name_rows(panels[0], list(map(measure_name, measures)))
    return figure


@style.styled
def association(associations: xr.Dataset) -> Figure:
    """Draw partial rank correlations with the LLC: seeds as gray dots, mean with its 95% interval, both p-values.

    Filled if the association is beyond the trend (Holm's p by pairing at most 0.05).
    """
    measures = associations.measure.values.tolist()
    figure, ((axes,),) = style.frame(0.9 + 0.24 * len(measures))
    for row, measure in enumerate(measures):
        result = associations.sel(measure=measure)
        filled = result.verdict == Verdict.BEYOND_TREND
        _seeds_and_mean(axes, row, result.partial_correlation, result, "mean_correlation", BLUE, "o", filled=filled)
        axes.plot(result.rank_correlation, row, "|", color=ORANGE, ms=8, mew=1.4)
        pairing, block = (f"{float(result.p_value_holm.sel(null=null)):.3f}" for null in ("pairing", "block"))
        text = f"{result.verdict.item()}; Holm's p {pairing} by pairing, {block} by blocks"
        _note(axes, row, text.replace("nan", "–"))
    style.name_rows(axes, list(map(measure_name, measures)))
    axes.set_xlim(-1.02, 1.02)
    axes.set_xlabel("Rank correlation of increments with the LLC's\n(● given loss and weight norm, | without)")
    return figure


def _note(axes: Axes, row: int, text: str, x: float = 1.01, **look: Any) -> None:
    """Write a text at a row, by default to the right of the panel."""
    axes.annotate(text, (x, row), xycoords=axes.get_yaxis_transform(), va="center", **{"fontsize": 6, **look})


def _seeds_and_mean(
    axes: Axes, row: int, seeds: xr.DataArray, result: xr.Dataset, name: str, color: str, marker: str, filled: bool
) -> None:
    """Draw seeds as gray dots and their mean `name` with its interval in one row."""
    mean, low, high = (float(result[f"{name}{end}"]) for end in ("", "_low", "_high"))
    jitter = np.linspace(-0.18, 0.18, seeds.size) if seeds.size > 1 else np.zeros(1)
    axes.axvline(0, color=GRAY, lw=0.8)
    axes.plot(seeds, row + jitter, ".", color="0.6", ms=3, zorder=1)
    axes.plot([low, high], [row, row], color=color, lw=2, alpha=0.7, solid_capstyle="butt")
    axes.plot(mean, row, marker, color=color, ms=5, mfc=color if filled else "white", mew=1)


@style.styled
def prediction(predictions: xr.Dataset) -> Figure:
    """Draw the error of the LLC in held-out seeds by set of predictors; lines connect the same seed."""
    figure, ((axes,),) = style.frame(2.4, width=style.WIDTH / 2)
    names = [PREDICTORS.get(name, name) for name in predictions.predictors.values.tolist()]
    axes.plot(names, predictions.error, "-", color="0.75", lw=0.6)
    axes.plot(names, predictions.error, ".", color="0.5", ms=4)
    axes.plot(names, predictions.mean_error, "_", color=BLUE, ms=16, mew=2)
    axes.set_ylabel("Root mean square error of the LLC\nin the held-out seed")
    axes.set_ylim(0)
    return figure
