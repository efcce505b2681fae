"""What keeps a reader from taking the numbers of a run too far, in sentences.

Pure functions of the summary and the datasets, as in `findings`.
"""

import numpy as np
import xarray as xr

from slt_grok.report.findings import Config, Datasets, by_seed, guess_loss
from slt_grok.report.llc import Summary, known_number, llc_dropped
from slt_grok.report.words import known, number, plural, sentence, step


def caveats(summary: Summary, datasets: Datasets, config: Config) -> list[str]:
    """Return what keeps a reader from taking the numbers too far."""
    sentences = [
        f"{label} was not measured, so its panels and sentences are absent."
        for name, label in (("circuits", "The Fourier circuit"), ("landscape", "The landscape"))
        if name not in datasets
    ]
    if "llc" in datasets:
        sentences += _llc_caveats(summary, datasets["llc"])
        sentences += _left_the_basin(datasets["llc"], config)
    if "landscape" in datasets and "llc" in datasets:
        sentences += _weight_scale(summary, datasets["landscape"], datasets["llc"], "confound" in datasets)
    return sentences + [sentence(flag) for flag in summary.get("flags") or []]


def _llc_caveats(summary: Summary, dataset: xr.Dataset) -> list[str]:
    sentences = []
    out = int((dataset.chain_health != "healthy").sum())
    if out:
        every = plural(dataset.chain_health.size, "chain")
        sentences.append(
            f"{out} of {every} {'was' if out == 1 else 'were'} left out by name, as the table of health says."
        )
    usable = int(np.isfinite(dataset.llc.values).sum())
    if any(known(s.get("llc_peak")) for s in (by_seed(summary).values() or [summary])) and usable > 1:
        sentences.append(
            "A peak is the largest of several estimates with error and so leans high, and the drop with it."
        )
    return sentences


def _left_the_basin(dataset: xr.Dataset, config: Config) -> list[str]:
    """Chains that lose more than a guess have left what the network knows: n_beta sets the value there."""
    guess = guess_loss(config)
    if guess is None or not known_number(dataset.attrs, "n_beta"):
        return []
    sampled = dataset.baseline_loss + dataset.llc / dataset.attrs["n_beta"]
    fitted = dataset.baseline_loss < guess / 2
    above = dataset.step.values[((sampled > guess) & fitted).values.reshape(len(dataset.step), -1).any(1)]
    if not len(above):
        return []
    first, last = (step(int(above[i])) for i in (0, -1))
    return [
        f"At {plural(len(above), 'checkpoint')} (first at step {first}, last at step {last}) the chains' mean loss is "
        f"above that of guessing, {number(guess)} nats, though the checkpoint has learned: its chains lose what it has "
        "learned, so the value there is set by this nβ and γ, and is no limit of large nβ."
    ]


def _weight_scale(summary: Summary, landscape: xr.Dataset, dataset: xr.Dataset, treated: bool) -> list[str]:
    """At fixed gamma part of a drop may be the weights' scale: say so where the norm changed by over 5%."""
    if by_seed(summary) or not llc_dropped(summary) or not known(summary.get("llc_peak_step")):
        return []
    norm = landscape.weight_norm.sel(component="total")
    norm = norm.isel(seed=0) if "seed" in norm.dims else norm
    start, end = float(norm.sel(step=summary["llc_peak_step"], method="nearest")), float(norm.isel(step=-1))
    if not (start > 0 and abs(end / start - 1) > 0.05):
        return []
    at = f" at fixed γ = {dataset.attrs['gamma']:g}" if known_number(dataset.attrs, "gamma") else ""
    return [
        f"From the LLC's peak to the end the norm of the weights goes from {number(start)} to {number(end)}{at}: "
        "part of the drop may be the scale of the weights, "
        + ("see “LLC and weight scale”." if treated else "which slt-grok measure RUN --only confound separates.")
    ]
