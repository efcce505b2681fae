"""P4. Dead neurons leave the LLC unchanged.

Question: does the LLC of a trained network change where neurons are added that answer nothing?
Hypothesis: no, whether they are switched off for good or have the zero weights that weight decay leaves.
Reads: study `seeds`, arm `main`, the last checkpoint of each seed that generalized, from the sixth of them on, and
measures: the LLC as trained and with half as many neurons added, by the study's own LLC settings.
`zero`: input weights, bias and output weights 0, the state that weight decay leaves; `off`: bias -10 and else 0, which
no draw at these settings reaches.
Test: paired over seeds.
Effects: mean over seeds of log(LLC with added neurons / LLC as trained), for `zero` and for `off`.
Rule: |effect| below log 1.05 for both, by the interval of the effect (equivalence). Refuted: the interval of one lies
beyond it. Undecided: an interval holds log 1.05, or fewer than 3 seeds. (`off` is the control: a ReLU that no draw
reaches has no gradient, so that a change there would be the estimator's.)
Written 2026-11-21, before the study ran, for the first five seeds: undecided, and some 14 would decide. On 2026-11-22
turned to the seeds that this answer had not used, before they were measured.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from rule import Condition, Finding, magnitude, mean, over_seeds
from tables import keep, usable
from verdict import main

import slt_grok
from slt_grok.config import parse_config
from slt_grok.errors import SltGrokError
from slt_grok.llc.diagnostics import EXCLUDED
from slt_grok.llc.measurement import LLC, estimate_by
from slt_grok.models.network import Network
from slt_grok.plots.palette import BLUE
from slt_grok.settings import Deferred
from slt_grok.store import RunDirectory
from slt_grok.studies.results import StudyResults
from slt_grok.trajectories import Trajectory

STUDY = "seeds"
STATES, USED, SHARE, MOST = {"zero": 0.0, "off": -10.0}, 5, 0.5, np.log(1.05)


def widened(one: Trajectory, model: Deferred, bias: float) -> Trajectory:
    """Return the networks with more neurons, of this bias and without weights.

    The function is the same if the bias is at most 0.
    """
    more = model.settings.model_copy(update={"d_mlp": int(model.settings.d_mlp * (1 + SHARE))})  # pyright: ignore[reportAttributeAccessIssue]
    module = replace(model, settings=more).construct(tokens=one.task.tokens, classes=one.task.classes)
    network = Network(module, one.task)
    parameters = {}
    for name, tensor in one.parameters.items():
        wide = torch.full((*one.shape, *network.shapes[name]), bias if name == "b_in" else 0.0, dtype=tensor.dtype)
        wide[tuple(slice(size) for size in tensor.shape)] = tensor
        parameters[name] = wide
    return replace(one, network=network, parameters=parameters)


def measured(study: StudyResults) -> tuple[pd.DataFrame, list[str]]:
    """Return a row for each seed with the LLC as trained and with added neurons of each state."""
    rows, left_out = usable(study, [], arm="main")
    found = []
    for _, row in rows.iloc[USED:].iterrows():
        run = RunDirectory(study.path / str(row.run))
        config = parse_config(run.manifest["config"], str(run.path / "manifest.json"))
        settings = config.settings(LLC)
        if settings is None or not {"b_in", "W_out"} <= set(slt_grok.trajectory(run.path).parameters):
            raise SltGrokError(f"{run.path}: expected a network with a layer of neurons, and LLC settings")
        every = slt_grok.trajectory(run.path)
        one = every.isel(step=[-1], seed=[every.coords["seed"].tolist().index(row.seed)])
        variants = {"as trained": one} | {name: widened(one, config.model, bias) for name, bias in STATES.items()}
        estimates = {name: estimate_by(settings, variant) for name, variant in variants.items()}
        if unusable := [name for name, one in estimates.items() if one.llc_status.isin(EXCLUDED).any()]:
            left_out.append(f"{row.run}, seed {row.seed}: melted or diverged {', '.join(unusable)}")
        else:
            llc = {name: one.llc.item() for name, one in estimates.items()}
            found.append({"run": row.run, "seed": row.seed} | llc)
    return pd.DataFrame(found, columns=["run", "seed", "as trained", *STATES]), left_out


def judged(seen: pd.DataFrame, left_out: list[str]) -> Finding:
    """Return the rule of this file's docstring, on the LLCs."""
    seen, others = keep(seen, seen[["as trained", *STATES]].to_numpy(dtype=float).min(1) > 0, "an LLC is not above 0")
    conditions = []
    for name in STATES:
        logs = np.log(seen[name].to_numpy(dtype=float) / seen["as trained"].to_numpy(dtype=float))
        effect = magnitude(over_seeds(mean, logs, conditions=len(STATES)))
        conditions.append(Condition(f"|log change of the LLC|, {name}", effect, "below", float(MOST)))
    return Finding(conditions, seen, left_out + others)


def decide(study: StudyResults) -> Finding:
    """Return the rule of this file's docstring."""
    return judged(*measured(study))


def panel(axes: Axes, finding: Finding) -> None:
    """Draw the LLC of each network with and without added neurons."""
    names = ["off", "as trained", "zero"]
    for _, row in finding.seen.iterrows():
        axes.plot(range(3), [row[name] for name in names], "o-", color=BLUE, ms=3, lw=0.8)
    axes.set(ylabel="LLC at the end")
    axes.set_xticks(range(3), ["with neurons\nswitched off", "as trained", "with neurons\nof zero weights"])


if __name__ == "__main__":
    main(__file__, __doc__, decide, panel)
