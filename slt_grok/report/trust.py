"""How far to trust the LLC of a run, in sentences and tables: its calibration, and the scale of the weights.

Pure functions of the datasets, as in `findings`.
"""

import xarray as xr

from slt_grok.plots.style import with_seed
from slt_grok.report.llc import effective
from slt_grok.report.tables import Table
from slt_grok.report.words import number, percent, plus_minus, step

TREATED = {
    "relative_gamma": "With γ = d/(ρ|w*|²) at each checkpoint",
    "rescaled_weights": "With the weights of every checkpoint scaled to the last one's norm",
}


def calibration(dataset: xr.Dataset) -> list[str]:
    """Why the settings are what they are."""
    return [str(reason) for reason in dataset.attrs["reasons"]]


def calibration_table(dataset: xr.Dataset) -> Table:
    """Return what was measured at each checkpoint of a calibration."""
    one = with_seed(dataset).isel(seed=0)
    rows = []
    for at in one.step.values.tolist():
        here = one.sel(step=at)
        llcs = [_plus_minus(here.llc.sel(batch=b), here.llc_se.sel(batch=b)) for b in ("full", "minibatch")]
        hmc = _plus_minus(here.llc_hmc, here.llc_hmc_se) if here.llc_hmc.notnull() else "–"
        rules = [number(float(here[name])) for name in ("weight_norm", "gamma_rule", "n_beta_rule", "curvature")]
        rows.append([step(at), *rules, *llcs, hmc, str(here.llc_status.sel(batch="full").values)])
    header = [
        "Step", "|w*|", "γ by the rule", "nβ by the rule", "Curvature", "LLC, full batch",
        f"LLC, batch {dataset.attrs['smaller_batch']}", "LLC by HMC", "Status",
    ]  # fmt: skip
    return Table("What the choice rests on", header, rows)


def confound(dataset: xr.Dataset) -> list[str]:
    """How much of the LLC's drop each treatment leaves, a sentence for each and seed."""
    sentences = []
    dataset = with_seed(dataset)
    for seed in dataset.seed.values.tolist():
        one = dataset.sel(seed=seed)
        start, end = int(one.drop_from), int(one.step[-1])
        fixed = one.sel(treatment="fixed_gamma")
        who = f"Seed {seed}: at" if dataset.sizes["seed"] > 1 else "At"
        span = f"from step {step(start)} to step {step(end)}"
        sentences.append(f"{who} fixed γ = {float(fixed.gamma[0]):g} the effective LLC {_change(fixed)}, {span}.")
        for treatment, words in TREATED.items():
            at = one.sel(treatment=treatment)
            text = f"{words} it {_change(at)}"
            if float(at["drop"]) > 0 and float(fixed["drop"]) > 0:
                text += f": {_plus_minus(at.drop_left, at.drop_left_se)} times the drop at fixed γ"
            statuses = set(at.llc_status.sel(step=[start, end]).values.astype(str)) - {"effective", "converged"}
            if statuses:
                text += f" (at one end the status is {', '.join(sorted(statuses))})"
            sentences.append(f"{text}.")
        trained, scaled = (
            float(one.baseline_loss.sel(step=start, treatment=t)) for t in ("fixed_gamma", "rescaled_weights")
        )
        text = f"Scaled, the network of step {step(start)} has a train loss of {number(scaled)} nats, as trained of "
        text += number(trained)
        if scaled > max(10 * trained, 0.1):
            text += ": it no longer computes what it had learned, so that treatment measures another function there"
        sentences.append(f"{text}.")
    return [*sentences, effective(dataset)]


def _change(at: xr.Dataset) -> str:
    """`falls by ..., so many per cent of what it was`, or `rises by`."""
    drop, share = float(at["drop"]), float(at.drop_share)
    word = "falls" if drop >= 0 else "rises"
    return f"{word} by {plus_minus(abs(drop), float(at.drop_se))}, {percent(abs(share))} of its value"


def _plus_minus(value: xr.DataArray, error: xr.DataArray) -> str:
    return plus_minus(float(value), float(error))
