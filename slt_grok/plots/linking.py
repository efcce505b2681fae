"""Events and associations over several seeds: what changes when, and what moves with the LLC beyond the trend.

Datasets: `slt_grok.transitions.by_estimator`, `lead_lag`, `associate` and `predict_llc`.
"""

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from slt_grok.plots.palette import BLUE, BROWN, GRAY, GREEN, ORANGE, PINK, PURPLE, SKY, VERMILION
from slt_grok.plots.style import WIDTH, frame, measure_name, step_axis, styled

# measure -> color, marker; all others are gray circles
LOOKS = {
    "train_accuracy": (BLUE, "o"),
    "test_accuracy": (ORANGE, "o"),
    "train_loss": (BLUE, "s"),
    "test_loss": (ORANGE, "s"),
    "llc": ("black", "D"),
    "restricted_loss_sum": (GREEN, "^"),
    "excluded_loss": (VERMILION, "v"),
    "neuron_share": (PURPLE, "P"),
    "gini_embedding": (BROWN, "X"),
    "gini_neuron_logit_map": (PINK, "X"),
    "sum_of_squared_weights": (SKY, "<"),
    "weight_norm": (SKY, ">"),
    "hessian_trace": (GRAY, "h"),
    "unmirrored_test_accuracy": (ORANGE, "p"),
}
UNKNOWN = (GRAY, "o")
PREDICTORS = {"step": "step\nalone", "weight_norm": "weight\nnorm"}  # all others by their names


@styled
def event_raster(events: xr.Dataset, event: str = "middle", estimator: str = "sigmoid") -> Figure:
    """Draw one row per seed, with one marker per measure at its event and the 95% interval.

    Seeds are sorted by test accuracy (on unmirrored pairs if measured, since the others may be answered by
    symmetry). Measures without an event in a seed are named to the right of its row.
    """
    own = events.sel(estimator=estimator)
    place, low, high = (
        own[f"transition_{event}{suffix}"].transpose("measure", "seed") for suffix in ("", "_low", "_high")
    )
    measures = own.measure.values.tolist()
    by = "unmirrored_test_accuracy" if "unmirrored_test_accuracy" in measures else "test_accuracy"
    order = np.argsort(place.sel(measure=by).values, kind="stable")
    figure, ((axes,),) = frame(1.5 + 0.3 * max(len(order), 3))
    offsets = np.linspace(-0.36, 0.36, len(measures)) if len(measures) > 1 else np.zeros(1)
    for row, at in enumerate(order):
        axes.axhspan(row - 0.46, row + 0.46, color="0.95" if row % 2 else "1.0", lw=0, zorder=0)
        seen = np.isfinite(place.values[:, at])
        for i in np.flatnonzero(seen):
            color, marker = LOOKS.get(measures[i], UNKNOWN)
            ends, height = [low.values[i, at], high.values[i, at]], row + offsets[i]
            axes.plot(ends, [height] * 2, color=color, lw=1.2, alpha=0.55, solid_capstyle="butt")
            axes.plot(place.values[i, at], height, marker, color=color, ms=3.4, mew=0.4, mec="white")
        if not seen.all():
            missing = ",\n".join(measure_name(measures[i]) for i in np.flatnonzero(~seen))
            at_edge = {"xycoords": axes.get_yaxis_transform(), "fontsize": 5.5, "va": "center", "color": "0.35"}
            axes.annotate(f"no event: {missing}", (1.01, row), **at_edge)
    found = np.isfinite(place.values)
    first, last = (low.values[found].min(), high.values[found].max()) if found.any() else (1.0, 10.0)
    step_axis(axes, np.array([max(first, 1.0) / 1.1, last * 1.1]))
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.set_yticks(range(len(order)), [str(place.seed.values[at]) for at in order])
    axes.set_ylabel("Seed")
    looks = [(measure_name(m), *LOOKS.get(m, UNKNOWN)) for m in measures]
    handles = [Line2D([], [], color=color, marker=marker, ls="", ms=4, label=name) for name, color, marker in looks]
    figure.legend(handles=handles, loc="outside upper center", ncols=5)
    return figure


@styled
def lead_lag(lags: xr.Dataset, event: str = "middle") -> Figure:
    """Draw the lag of every measure behind each reference: seeds as gray dots, the mean with its 95% interval.

    Filled if the order is resolved (Holm's p at most 0.05), open otherwise.
    """
    references, measures = lags.reference.values.tolist(), lags.measure.values.tolist()
    figure, ((*panels,),) = frame(0.9 + 0.24 * len(measures), 1, len(references), sharey=True)
    for axes, reference in zip(panels, references, strict=True):
        own = lags.sel(reference=reference, event=event)
        values = own[["lag_of_seed", "lag_low", "lag_high"]].to_array().values
        center = (np.nanmin(values) + np.nanmax(values)) / 2 if np.isfinite(values).any() else 0.0
        for row, measure in enumerate(measures):
            if measure == reference:
                continue
            one, (color, marker) = own.sel(measure=measure), LOOKS.get(measure, UNKNOWN)
            verdict = str(one.verdict.values)
            _seeds_and_mean(
                axes, row, one.lag_of_seed, (one.lag, one.lag_low, one.lag_high), color, marker,
                filled=verdict in ("before", "after"),
            )  # fmt: skip
            if verdict == "too few seeds":
                left = np.nansum(one.lag_of_seed - center) > 0  # put the text where there are no seeds
                at_edge = {"xycoords": axes.get_yaxis_transform(), "ha": "left" if left else "right", "va": "center"}
                axes.annotate(f"{verdict} ({int(one.seeds)})", (0.01 if left else 0.99, row), fontsize=6, **at_edge)
        axes.set_xlabel(f"{event.capitalize()} after that of\n{measure_name(reference)}\n(difference in log step)")
    _name_rows(panels[0], measures)
    return figure


@styled
def association(found: xr.Dataset) -> Figure:
    """Draw partial rank correlations with the LLC: seeds as gray dots, mean with its 95% interval, both p-values.

    Filled if the association is beyond the trend (Holm's p by pairing at most 0.05).
    """
    measures = found.measure.values.tolist()
    figure, ((axes,),) = frame(0.9 + 0.24 * len(measures))
    for row, measure in enumerate(measures):
        one = found.sel(measure=measure)
        verdict = str(one.verdict.values)
        mean = one.mean_correlation, one.mean_correlation_low, one.mean_correlation_high
        _seeds_and_mean(axes, row, one.partial_correlation, mean, BLUE, "o", filled=verdict == "beyond the trend")
        axes.plot(one.rank_correlation, row, "|", color=ORANGE, ms=8, mew=1.4)
        p = [f"{float(one.p_value_holm.sel(null=null)):.3f}" for null in ("pairing", "block")]
        text = f"{verdict}; Holm's p {p[0]} by pairing, {p[1]} by blocks".replace("nan", "–")
        axes.annotate(text, (1.01, row), xycoords=axes.get_yaxis_transform(), fontsize=6, va="center")
    _name_rows(axes, measures)
    axes.set_xlim(-1.02, 1.02)
    axes.set_xlabel("Rank correlation of increments with the LLC's\n(● given loss and weight norm, | without)")
    return figure


def _seeds_and_mean(
    axes: Axes, row: int, of_seed: xr.DataArray, mean: tuple[xr.DataArray, ...], color: str, marker: str, filled: bool
) -> None:
    """Draw seeds as gray dots and their mean with its interval in one row."""
    value, low, high = (float(one) for one in mean)
    jitter = np.linspace(-0.18, 0.18, of_seed.size) if of_seed.size > 1 else np.zeros(1)
    axes.axvline(0, color=GRAY, lw=0.8)
    axes.plot(of_seed, row + jitter, ".", color="0.6", ms=3, zorder=1)
    axes.plot([low, high], [row, row], color=color, lw=2, alpha=0.7, solid_capstyle="butt")
    axes.plot(value, row, marker, color=color, ms=5, mfc=color if filled else "white", mew=1)


def _name_rows(axes: Axes, measures: list[str]) -> None:
    axes.set_yticks(range(len(measures)), [measure_name(m) for m in measures])
    axes.set_ylim(len(measures) - 0.5, -0.5)


@styled
def prediction(found: xr.Dataset) -> Figure:
    """Draw the error of the LLC in held-out seeds by set of predictors; lines connect the same seed."""
    figure, ((axes,),) = frame(2.4, width=WIDTH / 2)
    at = np.arange(found.sizes["predictors"])
    axes.plot(at, found.error.values, "-", color="0.75", lw=0.6)
    axes.plot(at, found.error.values, ".", color="0.5", ms=4)
    axes.plot(at, found.mean_error, "_", color=BLUE, ms=16, mew=2)
    axes.set_xticks(at, [PREDICTORS.get(name, name) for name in found.predictors.values.tolist()])
    axes.set_ylabel("Root mean square error of the LLC\nin the held-out seed")
    axes.set_ylim(0)
    return figure
