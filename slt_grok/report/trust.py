"""How far to trust the LLC of a run, in sentences and tables: its calibration, and the scale of the weights.

Pure functions of the datasets, as in `findings`.
"""

import xarray as xr

from slt_grok.plots.style import with_seed
from slt_grok.report.findings import effective
from slt_grok.report.tables import Table
from slt_grok.report.words import capital, number, percent, plus_minus, step

TREATED = {
    "relative_gamma": "with γ relative to the weights, d/(ρ|w*|²) at each checkpoint",
    "rescaled_weights": "with the weights of every checkpoint scaled to the last one's norm",
}


def calibration(dataset: xr.Dataset) -> list[str]:
    """Why the settings are what they are."""
    return [str(reason) for reason in dataset.attrs["reasons"]]


def calibration_table(dataset: xr.Dataset) -> Table:
    """What was measured at each checkpoint of a calibration."""
    one = with_seed(dataset).isel(seed=0)
    rows = []
    for at in one.step.values.tolist():
        here = one.sel(step=at)
        llcs = [_plus_minus(here.llc.sel(batch=b), here.llc_se.sel(batch=b)) for b in ("full", "minibatch")]
        hmc = _plus_minus(here.llc_hmc, here.llc_hmc_se) if here.llc_hmc.notnull() else "–"
        rules = [number(float(here[name])) for name in ("weight_norm", "gamma_rule", "n_beta_rule", "curvature")]
        rows.append([step(at), *rules, *llcs, hmc, str(here.llc_verdict.sel(batch="full").values)])
    header = [
        "Step", "|w*|", "γ by the rule", "nβ by the rule", "Curvature", "LLC, full batch",
        f"LLC, batch {dataset.attrs['smaller_batch']}", "LLC by HMC", "Verdict",
    ]  # fmt: skip
    return Table("What the choice rests on", header, rows)


def confound(dataset: xr.Dataset) -> list[str]:
    """How much of the LLC's drop each treatment leaves, a sentence for each and seed."""
    sentences = []
    dataset = with_seed(dataset)
    for seed in dataset.seed.values.tolist():
        one = dataset.sel(seed=seed)
        start, end = int(one.drop_from), int(one.step[-1])
        who = f"Seed {seed}: from" if dataset.sizes["seed"] > 1 else "From"
        fixed = one.sel(treatment="fixed_gamma")
        gamma = float(fixed.gamma.isel(step=0))
        sentences.append(
            f"{who} step {step(start)} to step {step(end)} the effective LLC falls by "
            f"{_plus_minus(fixed['drop'], fixed.drop_se)} at fixed γ = {gamma:g}, {percent(float(fixed.drop_share))} "
            "of what it was."
        )
        for treatment, words in TREATED.items():
            at = one.sel(treatment=treatment)
            text = (
                f"{capital(words)} it falls by {_plus_minus(at['drop'], at.drop_se)}, {percent(float(at.drop_share))} "
                f"of what it was: {_plus_minus(at.drop_left, at.drop_left_se)} times the drop at fixed γ"
            )
            if treatment == "rescaled_weights":
                losses = (float(x.baseline_loss.sel(step=start)) for x in (at, fixed))
                text += "; the rescaled network's loss there is {} nats, as trained {}".format(*map(number, losses))
            doubted = at.llc_verdict.sel(step=[start, end]).values.astype(str)
            if bad := sorted({str(v) for v in doubted} - {"effective", "converged"}):
                text += f" (at an end the verdict is {', '.join(bad)})"
            sentences.append(text + ".")
    return [*sentences, effective(dataset)]


def _plus_minus(value: xr.DataArray, error: xr.DataArray) -> str:
    return plus_minus(float(value), float(error))
