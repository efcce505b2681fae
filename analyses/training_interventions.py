"""What interventions in training do to the LLC and to generalization, seed by seed.

Usage: python analyses/training_interventions.py [--out FOLDER] STUDY
STUDY is the directory of the study `interventions`, or another whose arm `plain` has the seeds of its other arms.
Writes training_interventions.json and a figure into results/.

Of each arm: how many seeds generalize (interval of Clopper and Pearson 1934), and the LLC at the first checkpoint, at
its largest and at the last one (mean over seeds, Student's 95% interval). Against the plain run of the same seed: the
ratio of the LLC at the end, and of its largest, as a geometric mean with Student's interval of the paired differences
of logarithms (`claims/rule.py`), simultaneous over the interventions for each of the two quantities. Decision rule,
written before the study was measured: an intervention changes the LLC where that interval does not hold 1; else this
number of seeds does not say. Fewer than 3 seeds have no interval.
"""

from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from claims.rule import UNDECIDED, mean, over_seeds, share
from matplotlib.figure import Figure
from runs_below import below_runs, command_line, llc_settings, picture, plain

from slt_grok import load_study
from slt_grok.errors import SltGrokError
from slt_grok.plots import lines
from slt_grok.plots.style import WIDTH, step_axis, styled
from slt_grok.plots.treatments import STYLES
from slt_grok.report.baseline import changes
from slt_grok.store.files import write_json
from slt_grok.studies.provenance import environment
from slt_grok.studies.results import StudyResults
from slt_grok.studies.run import Run

PLAIN = "plain"
AGAINST = ("llc_final", "llc_peak")


def mean_of(values: pd.Series | np.ndarray) -> dict[str, float | int | None]:
    """Return a mean over the seeds that have the quantity."""
    known = np.asarray(values, dtype=float)
    effect = over_seeds(mean, known[np.isfinite(known)])
    return plain({"value": effect.value, "low": effect.low, "high": effect.high, "seeds": effect.seeds[0]})


def ratio(ours: pd.DataFrame, theirs: pd.DataFrame, name: str, conditions: int) -> dict[str, float | int | str | None]:
    """Return the ratio of a quantity in one arm to another over the seeds that both have, and what it says."""
    logs = over_seeds(
        mean, np.log((ours[[name]] / theirs[[name]]).dropna().to_numpy(float)[:, 0]), conditions=conditions
    )
    word = "lower" if logs.high < 0 else "higher" if logs.low > 0 else UNDECIDED
    ends = {end: float(np.exp(x)) if isfinite(x := getattr(logs, end)) else None for end in ("value", "low", "high")}
    return ends | {"seeds": logs.seeds[0], "says": word if isfinite(logs.high) else "too few seeds"}


def of_arm(done: pd.DataFrame, llc: xr.Dataset) -> dict[str, Any]:
    """Return what an arm's seeds do by themselves."""
    generalized = int((done.outcome == "generalized").sum())
    effect = share(generalized, len(done), fewest=1)
    return {
        "generalized": {"seeds": generalized, "of": len(done), "low": effect.low, "high": effect.high},
        "generalization_step": {str(seed): step for seed, step in done.generalization_step.items()},
        "key_frequencies": {str(seed): [int(k) for k in known] for seed, known in done.key_frequencies.items()},
        "llc_first": mean_of(llc.llc.isel(step=0).values),
        "llc_peak": mean_of(done.llc_peak),
        "llc_final": mean_of(done.llc_final),
        "test_accuracy_final": mean_of(done.test_accuracy_final),
    }


def content_of(study: StudyResults) -> dict[str, Any]:
    """Every arm, each intervention next to the plain runs, and by name what is not used.

    Raises
    ------
    SltGrokError
        The study has no arm `plain` or no other one, or no run of one of them is done.
    """
    arms = study.table.arm.unique().tolist()
    if PLAIN not in arms or len(arms) < 2:
        raise SltGrokError(f"{study.path}: expected an arm {PLAIN} and others, got {', '.join(arms)}")
    done = {arm: study.rows(arm=arm, status="available").set_index("seed") for arm in arms}
    found: dict[str, Any] = {}
    for arm, rows in done.items():
        found[arm] = of_arm(rows, study.dataset("llc", arm=arm))
        if arm != PLAIN:
            found[arm] |= {
                f"{name}_over_plain": ratio(rows, done[PLAIN], name, len(arms) - 1)
                for name in ("llc_final", "llc_peak")
            }
    not_used = [
        f"{row.run}, seed {row.seed}: {row.status} ({row.reason})"
        for _, row in study.table.iterrows()
        if row.status != "available"
    ]
    return {"arms": found, "not_used": not_used}


@styled
def figure(study: StudyResults) -> Figure:
    """LLC and unmirrored test accuracy along training, of each intervention and of the plain runs."""
    arms = [arm for arm in study.table.arm.unique().tolist() if arm != PLAIN]
    made = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    panels = made.subplots(2, len(arms), sharex=True, sharey="row", squeeze=False)
    rows = (("llc", "llc", "LLC"), ("circuits", "unmirrored_test_accuracy", "Unmirrored test accuracy"))
    steps_text = ""
    for (label, name, text), line in zip(rows, panels, strict=True):
        baseline = study.dataset(label, arm=PLAIN)[name]
        for arm, axes in zip(arms, line, strict=True):
            values = study.dataset(label, arm=arm)[name]
            lines.over_seeds(axes, baseline, label="plain", **STYLES[0])
            lines.over_seeds(axes, values, label="intervened", **STYLES[1])
            run = Run(study.path / study.rows(arm=arm, status="available").run.iloc[0])
            for step in changes(run.config.training):
                axes.axvline(step, color="0.5", lw=0.8, ls=":")
            step_axis(axes, values.step.values, narrow=True)
            steps_text = axes.get_xlabel()
            axes.set_xlabel("")
            axes.spines[["top", "right"]].set_visible(False)
        line[0].set_ylabel(text)
    for arm, axes in zip(arms, panels[0], strict=True):
        axes.set_title(arm.replace("_", " "))
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
    content = {"command": command, "llc_settings": llc_settings(paths)} | found | {"environment": environment()}
    write_json(out / "training_interventions.json", plain(content))
    picture(figure(study), out, "training_interventions")
    for arm, one in found["arms"].items():
        share, end = one["generalized"], one["llc_final"]
        line = f"{arm}: {share['seeds']} of {share['of']} seeds generalize, LLC at the end {end['value']:.1f}"
        if arm != PLAIN:
            against = one["llc_final_over_plain"]
            line += f", {against['value']:.2f} times the plain runs' ({against['says']})"
        print(line)
    for sentence in found["not_used"]:
        print(f"not used: {sentence}")


if __name__ == "__main__":
    command_line(main, __doc__, "STUDY")
