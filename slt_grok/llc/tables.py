"""Tables of LLC measurements: the worst diagnostics, omitted chains, and every estimate."""

import numpy as np
import xarray as xr

from slt_grok.format import plus_minus
from slt_grok.llc.diagnostics import HEALTHY
from slt_grok.measurement import Table


def summary_table(llc: xr.Dataset) -> Table:
    """Tabulate the counts of statuses and the worst value of each diagnostic, with its checkpoint."""
    statuses, counts = np.unique(llc.llc_status.values.astype(str), return_counts=True)
    rows = [[f"Status: {v}", f"{n} of {llc.llc.size}"] for v, n in zip(statuses, counts, strict=True)]
    rows.append(["Omitted chains", f"{int((llc.chain_health != HEALTHY).sum())} of {llc.chain_health.size}"])
    rows.append(["Chains reset to the checkpoint", f"{int((llc.resets > 0).sum())} of {llc.resets.size}"])
    for label, values, badness, form in (
        ("Largest R-hat", llc.rhat, llc.rhat, ".3f"),
        ("Smallest effective sample size", llc.ess, -llc.ess, ".0f"),
        ("Largest drift between the halves of the draws, relative to the LLC", llc.drift / abs(llc.llc), None, "+.1%"),
        ("Virial farthest from 1", llc.virial, abs(llc.virial - 1), ".3f"),
        ("Largest fraction of draws below the checkpoint's loss", llc.fraction_below_initial_loss, None, ".1%"),
        (
            "Smallest acceptance of a Langevin proposal",
            llc.acceptance.mean("chain"),
            -llc.acceptance.mean("chain"),
            ".2f",
        ),
    ):
        rows.append([label, _worst(values, abs(values) if badness is None else badness, form)])
    return Table("Diagnostics of the LLC", ["", ""], rows)


def _worst(values: xr.DataArray, badness: xr.DataArray, form: str) -> str:
    """Format the value where `badness` is largest, with its coordinates; a dash if nothing is finite."""
    known = np.where(np.isfinite(badness.values), badness.values, -np.inf)
    place = np.unravel_index(known.argmax(), known.shape)
    if known[place] == -np.inf:
        return "–"
    at = ", ".join(f"{dim} {values[dim].values[i]:,}" for dim, i in zip(values.dims, place, strict=True))
    return f"{float(values.values[place]):{form}} ({at})"


def omitted_chains(llc: xr.Dataset) -> list[Table]:
    """Tabulate the chains that failed, if any."""
    health = llc.chain_health.transpose("step", "seed", "chain")
    places = np.argwhere((health != HEALTHY).values).tolist()
    if not places:
        return []
    rows = [
        [f"{llc.step.values[i]:,}", str(llc.seed.values[j]), str(llc.chain.values[k]), str(health.values[i, j, k])]
        for i, j, k in places
    ]
    return [Table("Omitted chains", ["Step", "Seed", "Chain", "Reason"], rows, folded=len(rows) > 8)]


def estimates_table(llc: xr.Dataset) -> Table:
    """Tabulate each estimate with its interval, status and diagnostics."""
    distance = llc.distance.isel(look=-1).mean("chain")
    rows = []
    for i, step in enumerate(llc.step.values):
        for j, seed in enumerate(llc.seed.values):
            one = llc.isel(step=i, seed=j)
            rows.append(
                [
                    f"{step:,}",
                    str(seed),
                    plus_minus(one.llc.item(), one.llc_se.item()),
                    f"{float(one.llc_low):.4g} to {float(one.llc_high):.4g}",
                    str(one.llc_status.values),
                    str(one.llc_status_reason.values),
                    f"{float(one.rhat):.3f}",
                    f"{float(one.ess):.0f}",
                    f"{float(one.drift):+.2g}",
                    f"{float(one.virial):.3f}",
                    f"{float(one.fraction_below_initial_loss):.1%}",
                    f"{float(one.acceptance.mean()):.2f}",
                    f"{float(distance[i, j]):.3g}",
                    str(int(one.resets.sum())),
                ]
            )
    header = [
        "Step", "Seed", "Effective LLC ± SE", "95% interval", "Status", "Reason", "R-hat", "ESS", "Drift", "Virial",
        "Below L(w*)", "Acceptance", "|w − w*|", "Resets",
    ]  # fmt: skip
    return Table("All LLC estimates", header, rows, folded=True)
