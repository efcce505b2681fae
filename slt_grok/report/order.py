"""The phases of a run; over its seeds, which events come first and what moves with the LLC beyond the trend."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from slt_grok import plots, transitions
from slt_grok.errors import SltGrokError
from slt_grok.plots.style import measure_name
from slt_grok.report.figures import Shown, shown
from slt_grok.report.tables import Table
from slt_grok.report.words import capital, listing, percent, step
from slt_grok.transitions.lag_test import FEWEST_SEEDS
from slt_grok.transitions.lead_lag import REFERENCES

LABELS = ("training", "llc", "circuits", "landscape")
PREDICTORS = {"step": "the mean of the other seeds", "weight_norm": "the weight norm", "circuits": "the circuit"}
Said = tuple[list[str], list[Shown], list[Table]]


def events(datasets: Mapping[str, xr.Dataset], folder: Path) -> Said:
    """Phases; of several seeds the events of each, and lags where there are enough."""
    given: dict[str, Any] = {label: datasets[label] for label in LABELS if label in datasets}
    if "training" not in given or "transitions" not in datasets:
        return [], [], []
    found = transitions.by_estimator(**given)
    # excluded loss may fall back after its rise, which no sigmoid fits
    both = phases(transitions.phases(datasets["transitions"], found, "crossing"))
    if found.sizes["seed"] < 2:
        return [], [], both
    caption = (
        "The middle of every change in every seed, by a fitted shape, with its 95% interval; seeds in order of their "
        "rise in test accuracy."
    )
    drawn = [shown(plots.save(plots.event_raster(found), folder, "event_raster")[0], caption)]
    if found.sizes["seed"] < FEWEST_SEEDS:
        return [], drawn, both
    references = [name for name in ("unmirrored_test_accuracy", *REFERENCES) if name in found.measure]
    lags = transitions.lead_lag(found, references)
    caption = (
        "How much later than the reference each measure is half done, as a difference in log step (0.1 is 10% later): "
        "seeds in gray, their mean with its 95% interval, filled where the order is resolved after Holm's correction."
    )
    few = [name for name in references if (lags.sel(reference=name, event="middle").verdict == "too few seeds").all()]
    known = [name for name in references if name not in few]
    if few:
        caption += f" Too few seeds have the middle of {listing([measure_name(name) for name in few])}."
    if known:
        drawn.append(shown(plots.save(plots.lead_lag(lags.sel(reference=known)), folder, "lead_lag")[0], caption))
    middle = transitions.lag_table(lags.sel(event=["middle"]))
    rows = [
        [
            capital(measure_name(row.measure)),
            measure_name(row.reference),
            f"{row.lag:+.2f} ({row.lag_low:+.2f} to {row.lag_high:+.2f})".replace("+nan", "–"),
            f"{row.p_value_holm:.3f}".replace("nan", "–"),
            str(row.seeds),
            f"{row.verdict}{f'; without {row.left_out}' if row.left_out else ''}",
        ]
        for _, row in middle.iterrows()
    ]
    header = ["Measure", "Reference", "Lag of the middle in log step (95%)", "Holm’s p", "Seeds", "Order"]
    table = Table("Lag behind test accuracy and behind the LLC", header, rows, folded=True)
    return _orders(lags), drawn, [*both, table]


def phases(found: xr.Dataset) -> list[Table]:
    """Return the last step of each phase by both rules beside the published one.

    The median and range of several seeds.
    """

    def cell(rule: str, phase: str) -> str:
        own = found.sel(rule=rule, phase_boundary=phase)
        known = own.phase_step.values[np.isfinite(own.phase_step.values)]
        if not len(known):
            return "–"
        if found.sizes["seed"] > 1:
            return f"{step(np.median(known))} ({step(known.min())} to {step(known.max())}, {len(known)} seeds)"
        low, high = float(own.phase_step_low.item()), float(own.phase_step_high.item())
        return step(known[0]) + (f" ({step(low)} to {step(high)})" if np.isfinite(low) else "")

    names = found.phase_boundary.values.tolist()
    rows = [
        [capital(name.replace("_", " ")), cell("accuracy", name), cell("progress_measures", name), step(published)]
        for name, published in zip(names, found.published_phase_step.values.tolist(), strict=True)
    ]
    if all(row[1] == row[2] == "–" for row in rows):
        return []
    caption = (
        "Last step of each phase: by accuracies; by progress measures (excluded loss begins to rise, test loss begins "
        "to fall, and has fallen), with 95% intervals; and as read off by eye in arXiv:2301.05217, section 5, of "
        "another training at p = 113, so that order and ratios compare, not steps"
    )
    return [Table(caption, ["Phase", "By accuracies", "By progress measures", "Published run"], rows, folded=True)]


def _orders(lags: xr.Dataset) -> list[str]:
    """Return what is half done before and after each reference, in mean over the seeds."""
    sentences = []
    for reference in lags.reference.values.tolist():
        verdicts = lags.verdict.sel(reference=reference, event="middle").drop_sel(measure=reference)
        parts = []
        for word, text in (("before", "before it"), ("after", "after it"), ("not resolved", "not resolved")):
            names = [measure_name(str(name)) for name in verdicts.measure.values[verdicts.values == word]]
            if names:
                parts.append(f"{text} {listing(names)}")
        if parts:
            sentences.append(f"In mean over the seeds, beside {measure_name(reference)}: {'; '.join(parts)}.")
    return sentences


def beside(datasets: Mapping[str, xr.Dataset], folder: Path) -> Said:
    """Return what moves with the LLC beyond the trend, and what predicts it in held-out seeds.

    Nothing for too few seeds.
    """
    given: dict[str, Any] = {label: datasets[label] for label in LABELS if label in datasets}
    there = {"training", "llc", "circuits"} <= set(given)
    if not there or given["training"].sizes.get("seed", 1) < FEWEST_SEEDS:
        return [], [], []
    found = transitions.associate(**given)
    caption = (
        "Partial rank correlation of the LLC's changes from checkpoint to checkpoint with those of each measure, given "
        "train loss and weight norm: seeds in gray, their mean with its 95% interval. Pairing asks for more than what "
        "the seeds share, against the LLC of one seed with the measure of another."
    )
    drawn = [shown(plots.save(plots.association(found), folder, "association")[0], caption)]
    beyond = found.sel(measure=(found.verdict == "beyond the trend").values)
    names = [
        f"{measure_name(str(one.measure.values))} ({float(one.mean_correlation):+.2f}, "
        f"{float(one.mean_correlation_low):+.2f} to {float(one.mean_correlation_high):+.2f})"
        for one in (beyond.isel(measure=i) for i in range(beyond.sizes["measure"]))
    ]
    with_it = listing(names) if names else "none of the measures"
    sentences = [f"Given train loss and weight norm, and beyond what the seeds share, the LLC moves with {with_it}."]
    try:
        predicted = transitions.predict_llc(**given)
    except SltGrokError as error:
        return [*sentences, f"The LLC was not predicted in held-out seeds: {error}."], drawn, []
    caption = "Error of the LLC at the checkpoints of a seed that was held out, by what it was predicted from."
    drawn.append(shown(plots.save(plots.prediction(predicted), folder, "prediction")[0], caption))
    parts = [
        f"{text} leaves {percent(float(one.mean_drop_left))} of its fall unexplained"
        f" ({percent(float(one.mean_drop_left_low))} to {percent(float(one.mean_drop_left_high))})"
        for text, one in ((text, predicted.sel(predictors=name)) for name, text in PREDICTORS.items())
    ]
    sentences.append(f"In a held-out seed, {'; '.join(parts)}.")
    return sentences, drawn, []
