"""Tables of LLC measurements: the worst diagnostics, omitted chains, and every estimate."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import xarray as xr

from slt_grok.format import known, number, plus_minus
from slt_grok.llc.diagnostics import HEALTHY, TRUSTED, descent_in
from slt_grok.measurement import Table


def summary_table(llc: xr.Dataset) -> Table:
    """Tabulate the counts of statuses and the worst value of each diagnostic, with its checkpoint."""
    statuses, counts = np.unique(llc.llc_status.values.astype(str), return_counts=True)
    drift, acceptance = llc.drift / abs(llc.llc), llc.acceptance.mean("chain")
    below = llc.fraction_below_initial_loss
    rows = [
        *[[f"Status: {status}", f"{count} of {llc.llc.size}"] for status, count in zip(statuses, counts, strict=True)],
        ["Omitted chains", f"{int((llc.chain_health != HEALTHY).sum())} of {llc.chain_health.size}"],
        ["Chains reset to the checkpoint", f"{int((llc.resets > 0).sum())} of {llc.resets.size}"],
        ["Largest R-hat", _worst(llc.rhat, llc.rhat, ".3f")],
        ["Smallest effective sample size", _worst(llc.ess, -llc.ess, ".0f")],
        ["Largest drift between the halves of the draws, relative to the LLC", _worst(drift, abs(drift), "+.1%")],
        ["Virial farthest from 1", _worst(llc.virial, abs(llc.virial - 1), ".3f")],
        ["Largest fraction of draws below the checkpoint's loss", _worst(below, below, ".1%")],
        ["Smallest acceptance of a Langevin proposal", _worst(acceptance, -acceptance, ".2f")],
    ]
    return Table("Diagnostics of the LLC", ["", ""], rows)


def estimate_text(estimate: xr.Dataset) -> str:
    """Format one LLC with its standard error, and with its status if that is untrusted."""
    text, doubt = plus_minus(estimate.llc.item(), estimate.llc_se.item()), doubt_of(estimate)
    return f"{text} ({doubt})" if doubt else text


def doubt_of(estimate: xr.Dataset) -> str:
    """State the status of one estimate if it is untrusted, see `doubt_about`."""
    reason = str(estimate.llc_status_reason.item()) if "llc_status_reason" in estimate else ""
    return doubt_about(str(estimate.llc_status.item()), descent_in(reason))


def doubts_at(estimates: xr.Dataset, steps: Sequence[int]) -> str:
    """State the untrusted statuses among the estimates of one seed at some steps; empty if all are trusted."""
    doubts = {step: doubt_of(estimates.sel(step=step)) for step in steps}
    return "; ".join(f"step {step:,}: {doubt}" for step, doubt in doubts.items() if doubt)


def doubt_about(status: Any, descent: Any) -> str:
    """State an untrusted status; empty for a trusted or unknown one.

    Parameters
    ----------
    status : str or None
        Status of the estimate.
    descent : float or None
        Fall of the potential in a short descent, by one to two times which a value is low that is not at a minimum.
    """
    if not status or status in TRUSTED:
        return ""
    return f"{status}, low by {low_by(descent)}" if known(descent) else status


def low_by(descent: float) -> str:
    """Format by how much a value is low that is not at a minimum."""
    return f"{number(descent)} to {number(2 * descent)}"


def _worst(values: xr.DataArray, badness: xr.DataArray, form: str) -> str:
    """Format the value where `badness` is largest, with its coordinates; a dash if nothing is finite."""
    finite = np.isfinite(badness)
    if not finite.any():
        return "–"
    worst = values[badness.where(finite, -np.inf).argmax(...)]
    return f"{worst.item():{form}} ({', '.join(f'{dim} {worst[dim].item():,}' for dim in values.dims)})"


def omitted_chains(llc: xr.Dataset) -> list[Table]:
    """Tabulate the chains that failed, if any."""
    health = llc.chain_health.stack(place=("step", "seed", "chain"))
    failed = health[(health != HEALTHY).values]
    rows = [
        [f"{step:,}", str(seed), str(chain), str(reason)]
        for (step, seed, chain), reason in zip(failed.place.values, failed.values, strict=True)
    ]
    table = Table("Omitted chains", ["Step", "Seed", "Chain", "Reason"], rows, folded=len(rows) > 8)
    return [table] if rows else []


def estimates_table(llc: xr.Dataset) -> Table:
    """Tabulate each estimate with its interval, status and diagnostics."""
    rows = []
    for step, seed in product(llc.step.values, llc.seed.values):
        estimate = llc.sel(step=step, seed=seed)
        rows.append(
            {
                "Step": f"{step:,}",
                "Seed": str(seed),
                "Effective LLC ± SE": plus_minus(estimate.llc.item(), estimate.llc_se.item()),
                "Noise alone": number(estimate.window_noise.item()),
                "95% interval": f"{estimate.llc_low.item():.4g} to {estimate.llc_high.item():.4g}",
                "Status": str(estimate.llc_status.values),
                "Reason": str(estimate.llc_status_reason.values),
                "R-hat": f"{estimate.rhat.item():.3f}",
                "ESS": f"{estimate.ess.item():.0f}",
                "Drift": f"{estimate.drift.item():+.2g}",
                "Virial": f"{estimate.virial.item():.3f}",
                "Below L(w*)": f"{estimate.fraction_below_initial_loss.item():.1%}",
                "Acceptance": f"{estimate.acceptance.mean().item():.2f}",
                "|w − w*|": f"{estimate.distance[..., -1].mean().item():.3g}",
                "Resets": str(estimate.resets.sum().item()),
            }
        )
    return Table("All LLC estimates", list(rows[0]), [list(row.values()) for row in rows], folded=True)
