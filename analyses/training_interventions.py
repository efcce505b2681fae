"""What do interventions in training do to the LLC and to generalisation, seed by seed?

Usage: python analyses/training_interventions.py [--out FOLDER] STUDY
STUDY is the directory of the study `interventions`, or another whose arm `plain` has the seeds of its other arms.
Writes training_interventions.json and a figure into results/.

Of each arm: how many seeds generalise (interval of Clopper and Pearson 1934), and the LLC at the first checkpoint, at
its largest and at the last one (mean over seeds, Student's 95% interval). Against the plain run of the same seed: the
ratio of the LLC at the end, and of its largest, as a geometric mean with Student's interval of the paired differences
of logarithms. These are simultaneous over the arms, of level 1 - 0.05 / (number of interventions). Decision rule,
written before the study was measured: an intervention changes the LLC where that interval does not hold 1; else this
number of seeds does not say. Fewer than 3 seeds have no interval.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator
from runs_below import below_runs, command_line, plain
from scipy.stats import binomtest, sem, t

from slt_grok import load_study, plots
from slt_grok.errors import SltGrokError
from slt_grok.plots.style import GREY, VERMILION, WIDTH, over_seeds, step_axis, styled
from slt_grok.store.files import write_json
from slt_grok.studies.provenance import environment
from slt_grok.studies.results import StudyResults

PLAIN = "plain"
FEWEST_SEEDS = 3


def student(values: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    """A mean over seeds and Student's interval; NaN where there are too few seeds."""
    if len(values) < FEWEST_SEEDS:
        return float(values.mean()) if len(values) else np.nan, np.nan, np.nan
    reach = float(t.ppf((1 + level) / 2, len(values) - 1) * sem(values))
    value = float(values.mean())
    return value, value - reach, value + reach


def mean(values: np.ndarray) -> dict[str, float | int]:
    """A mean over the seeds that have the quantity."""
    known = values[np.isfinite(values)]
    value, low, high = student(known)
    return {"value": value, "low": low, "high": high, "seeds": len(known)}


def ratio(ours: pd.DataFrame, theirs: pd.DataFrame, name: str, level: float) -> dict[str, float | int | str]:
    """The ratio of a quantity in one arm to another over the seeds that both have, and what it says."""
    logs = np.log((ours[[name]] / theirs[[name]]).dropna().to_numpy(dtype=float)[:, 0])
    value, low, high = (float(np.exp(one)) for one in student(logs, level))
    if len(logs) < FEWEST_SEEDS:
        word = "too few seeds"
    else:
        word = "lower" if high < 1 else "higher" if low > 1 else "undecided at this power"
    return {"value": value, "low": low, "high": high, "seeds": len(logs), "says": word}


def of_arm(done: pd.DataFrame, llc: xr.Dataset) -> dict[str, Any]:
    """What an arm's seeds do by themselves."""
    generalised = int((done.outcome == "generalised").sum())
    ends = binomtest(generalised, len(done)).proportion_ci(0.95, "exact")
    return {
        "generalised": {"seeds": generalised, "of": len(done), "low": float(ends.low), "high": float(ends.high)},
        "llc_first": mean(llc.llc.isel(step=0).values.astype(float)),
        "llc_peak": mean(done.llc_peak.to_numpy(dtype=float)),
        "llc_final": mean(done.llc_final.to_numpy(dtype=float)),
        "test_accuracy_final": mean(done.test_accuracy_final.to_numpy(dtype=float)),
    }


def content_of(study: StudyResults) -> dict[str, Any]:
    """Every arm, each intervention beside the plain runs, and by name what is not used.

    Raises
    ------
    SltGrokError : the study has no arm `plain` or no other one, or no run of one of them is done.
    """
    arms = study.table.arm.unique().tolist()
    if PLAIN not in arms or len(arms) < 2:
        raise SltGrokError(f"{study.path}: expected an arm {PLAIN} and others, got {', '.join(arms)}")
    level = 1 - 0.05 / (len(arms) - 1)
    done = {arm: study.rows(arm=arm, status="done").set_index("seed") for arm in arms}
    found: dict[str, Any] = {}
    for arm, rows in done.items():
        found[arm] = of_arm(rows, study.dataset("llc", arm=arm))
        if arm != PLAIN:
            found[arm] |= {
                f"{name}_over_plain": ratio(rows, done[PLAIN], name, level) for name in ("llc_final", "llc_peak")
            }
    not_used = [
        f"{row.run}, seed {row.seed}: {row.status} ({row.reason})"
        for _, row in study.table.iterrows()
        if row.status != "done"
    ]
    return {"arms": found, "not_used": not_used}


def changes(study: StudyResults, arm: str) -> list[int]:
    """The steps at which an arm's training changes."""
    name = "training.weight_decay_changes"
    rows = study.rows(arm=arm)
    values = rows[name].iloc[0] if name in rows else None
    return [int(one["step"]) for one in values] if isinstance(values, list | np.ndarray) else []


@styled
def figure(study: StudyResults) -> Figure:
    """LLC and unmirrored test accuracy along training, of each intervention and beside it of the plain runs."""
    arms = [arm for arm in study.table.arm.unique().tolist() if arm != PLAIN]
    made = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    panels = made.subplots(2, len(arms), sharex=True, sharey="row", squeeze=False)
    rows = (("llc", "llc", "LLC"), ("circuits", "unmirrored_test_accuracy", "Unmirrored test accuracy"))
    steps_text = ""
    for column, arm in enumerate(arms):
        for (label, name, text), axes in zip(rows, panels[:, column], strict=True):
            beside, values = (study.dataset(label, arm=which)[name] for which in (PLAIN, arm))
            over_seeds(axes, beside, GREY, "plain", ls="--")
            over_seeds(axes, values, VERMILION, "intervened")
            for step in changes(study, arm):
                axes.axvline(step, color="black", lw=0.8, ls=":")
            step_axis(axes, values.step.values)
            steps_text = axes.get_xlabel()
            axes.xaxis.set_major_locator(FixedLocator([0, 100, 1_000, 10_000]))  # the panels are narrow
            axes.set_xlabel("")
            axes.spines[["top", "right"]].set_visible(False)
            if column == 0:
                axes.set_ylabel(text)
        panels[0, column].set_title(arm.replace("_", " "))
    made.supxlabel(steps_text, fontsize=8)
    made.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return made


def main(paths: list[Path], out: Path) -> None:
    """Read, compare, draw, write, print."""
    if len(paths) > 1:
        raise SltGrokError(f"expected one study, got {', '.join(map(str, paths))}")
    study = load_study(paths[0])
    found = content_of(study)
    command = f"python analyses/training_interventions.py {below_runs(paths[0])}"
    out.mkdir(parents=True, exist_ok=True)
    content = {"command": command} | found | {"environment": environment()}
    write_json(out / "training_interventions.json", plain(content))
    plots.save(figure(study), out, "training_interventions")
    for arm, one in found["arms"].items():
        share, end = one["generalised"], one["llc_final"]
        line = f"{arm}: {share['seeds']} of {share['of']} seeds generalise, LLC at the end {end['value']:.1f}"
        if arm != PLAIN:
            against = one["llc_final_over_plain"]
            line += f", {against['value']:.2f} times the plain runs' ({against['says']})"
        print(line)
    for sentence in found["not_used"]:
        print(f"not used: {sentence}")


if __name__ == "__main__":
    command_line(main, __doc__, "STUDY")
