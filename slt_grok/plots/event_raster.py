"""When what changed in which seed: events of every measure on the log-step axis, one row a seed.

Datasets: `slt_grok.transitions.by_estimator` and `slt_grok.transitions.lead_lag`.
"""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from slt_grok.plots.style import (
    BLUE,
    BROWN,
    GRAY,
    GREEN,
    ORANGE,
    PINK,
    PURPLE,
    SKY,
    VERMILION,
    WIDTH,
    measure_name,
    step_axis,
    styled,
)

# measure -> color, marker; the others are gray circles
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


@styled
def event_raster(events: xr.Dataset, event: str = "middle", estimator: str = "sigmoid") -> Figure:
    """Draw one row a seed, one marker a measure at its event with its 95% interval.

    The seeds are in order of test accuracy (on unmirrored pairs where that was measured: the others may be answered by
    symmetry).

    Measures without an event in a seed are named at the right of its row.
    """
    own = events.sel(estimator=estimator)
    place, low, high = (own[f"transition_{event}{suffix}"] for suffix in ("", "_low", "_high"))
    measures = own.measure.values.tolist()
    by = "unmirrored_test_accuracy" if "unmirrored_test_accuracy" in measures else "test_accuracy"
    order = np.argsort(place.sel(measure=by).values, kind="stable")
    figure = Figure(figsize=(WIDTH, 1.5 + 0.3 * max(len(order), 3)), layout="constrained")
    axes = figure.subplots()
    offsets = np.linspace(-0.36, 0.36, len(measures)) if len(measures) > 1 else np.zeros(1)
    for row, at in enumerate(order):
        axes.axhspan(row - 0.46, row + 0.46, color="0.95" if row % 2 else "1.0", lw=0, zorder=0)
        missing = []
        for measure, offset in zip(measures, offsets, strict=True):
            color, marker = LOOKS.get(measure, UNKNOWN)
            x, left, right = (float(one.sel(measure=measure)[at]) for one in (place, low, high))
            if not np.isfinite(x):
                missing.append(measure_name(measure))
                continue
            axes.plot([left, right], [row + offset] * 2, color=color, lw=1.2, alpha=0.55, solid_capstyle="butt")
            axes.plot(x, row + offset, marker, color=color, ms=3.4, mew=0.4, mec="white")
        if missing:
            axes.annotate(
                "no event: " + ",\n".join(missing),
                (1.01, row),
                xycoords=axes.get_yaxis_transform(),
                fontsize=5.5,
                va="center",
                color="0.35",
            )
    found = np.isfinite(place.values)
    first, last = (low.values[found].min(), high.values[found].max()) if found.any() else (1.0, 10.0)
    steps = np.array([max(first, 1.0) / 1.1, last * 1.1])
    step_axis(axes, steps)
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.set_yticks(range(len(order)), [str(place.seed.values[at]) for at in order])
    axes.set_ylabel("Seed")
    axes.spines[["top", "right"]].set_visible(False)
    looks = [(measure_name(m), *LOOKS.get(m, UNKNOWN)) for m in measures]
    handles = [Line2D([], [], color=color, marker=marker, ls="", ms=4, label=name) for name, color, marker in looks]
    figure.legend(handles=handles, loc="outside upper center", ncols=5)
    return figure


@styled
def lead_lag(lags: xr.Dataset, event: str = "middle") -> Figure:
    """Lag of every measure behind each reference: each seed a gray dot, the mean with its 95% interval.

    Filled where the order is resolved (Holm's p at most 0.05), open where it is not; `too few seeds` is written.
    """
    references = lags.reference.values.tolist()
    figure = Figure(figsize=(WIDTH, 0.9 + 0.24 * lags.sizes["measure"]), layout="constrained")
    panels = figure.subplots(1, len(references), sharey=True, squeeze=False)[0]
    for axes, reference in zip(panels, references, strict=True):
        own = lags.sel(reference=reference, event=event)
        axes.axvline(0, color=GRAY, lw=0.8)
        values = own[["lag_of_seed", "lag_low", "lag_high"]].to_array().values
        center = (np.nanmin(values) + np.nanmax(values)) / 2 if np.isfinite(values).any() else 0.0
        for row, measure in enumerate(lags.measure.values.tolist()):
            if measure == reference:
                continue
            one, (color, marker) = own.sel(measure=measure), LOOKS.get(measure, UNKNOWN)
            of_seed = one.lag_of_seed.values
            jitter = np.linspace(-0.18, 0.18, len(of_seed)) if len(of_seed) > 1 else np.zeros(1)
            axes.plot(of_seed, row + jitter, ".", color="0.6", ms=3, zorder=1)
            resolved = str(one.verdict.values) in ("before", "after")
            axes.plot([one.lag_low, one.lag_high], [row, row], color=color, lw=2, alpha=0.7, solid_capstyle="butt")
            axes.plot(one.lag, row, marker, color=color, ms=5, mfc=color if resolved else "white", mew=1)
            if str(one.verdict.values) == "too few seeds":
                left = np.nansum(of_seed - center) > 0  # the words stand where the seeds do not
                at_edge = {"xycoords": axes.get_yaxis_transform(), "ha": "left" if left else "right", "va": "center"}
                axes.annotate(f"too few seeds ({int(one.seeds)})", (0.01 if left else 0.99, row), fontsize=6, **at_edge)
        axes.set_xlabel(f"{event.capitalize()} after that of\n{measure_name(reference)}\n(difference in log step)")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_yticks(range(lags.sizes["measure"]), [measure_name(m) for m in lags.measure.values.tolist()])
    panels[0].set_ylim(lags.sizes["measure"] - 0.5, -0.5)
    return figure
