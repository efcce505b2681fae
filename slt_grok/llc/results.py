"""What chains showed, as a labeled dataset: values, errors, diagnostics and statuses of each network."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from slt_grok.llc.diagnostics import ChainStatistics, Status, assess, average, chain_health, interval, wbic_slope
from slt_grok.llc.problem import Problem
from slt_grok.llc.regular import LEFT_THE_POINT, UNRESOLVED, Spectrum, is_regular
from slt_grok.llc.sampling import Chains, Schedule
from slt_grok.llc.variables import ATTRS, DIMS, EFFECTIVE


def dataset(
    problem: Problem,
    found: Chains,
    schedule: Schedule,
    n_betas: Sequence[float],
    gamma: float,
    spectra: Sequence[Spectrum | None] | None = None,
) -> xr.Dataset:
    """Return what was seen along chains in the order (network, temperature, chain), as a dataset.

    Parameters
    ----------
    problem, found, schedule, n_betas, gamma : Problem, Chains, Schedule, Sequence[float], float
        What was sampled, and how; temperatures from the coldest on.
    spectra : Sequence[Spectrum or None] or None, optional
        Of the Hessian at each network's w*, for the add-on at regular points.
    """
    networks, temperatures = len(problem.trajectory), len(n_betas)
    shape = (networks, temperatures, -1)
    traces, distance, virial, acceptance, resets = (
        values.unflatten(0, shape).numpy()
        for values in (found.losses, found.distance, found.virial, found.acceptance, found.resets)
    )
    draws = traces[..., schedule.burn_in + schedule.thinning - 1 :: schedule.thinning]
    d, rows = problem.subspace.dimension, []
    bounded = spectra is not None and schedule.batch_size is None
    for i, baseline in enumerate(problem.baselines):
        statistics = [
            ChainStatistics(
                draws[i, t],
                [chain_health(chain, baseline, n_beta, d, bounded) for chain in traces[i, t]],
                baseline,
                n_beta,
                virial[i, t],
            )
            for t, n_beta in enumerate(n_betas)
        ]
        averages = [average(one) for one in statistics]
        hessian = spectra[i] if spectra is not None else None
        correction = 0.0
        if hessian is not None and is_regular(hessian, averages, n_betas, gamma):
            correction = hessian.hidden(n_betas[0], gamma)
            averages = [
                a._replace(llc=a.llc + hessian.hidden(b, gamma)) for a, b in zip(averages, n_betas, strict=True)
            ]
        hotter = next((a for a, b in zip(averages, n_betas, strict=True) if n_betas[0] / b >= 15.9), None)
        best = averages[0]
        status = assess(best, statistics[0], problem.finite_minimizer, hotter)
        if hessian is not None and not hessian.resolved and status.status == "converged":
            status = Status("not converged (likely low)", UNRESOLVED)
        if hessian is not None and not correction and hessian.exceeds(best.llc, best.llc_se, n_betas[0], gamma):
            status = Status("not converged (likely low)", LEFT_THE_POINT)
        low, high = interval(best, n_betas[0], hotter if problem.finite_minimizer else None, regular=correction > 0)
        slope = wbic_slope(
            np.array(n_betas),
            np.array([baseline + a.llc / b for a, b in zip(averages, n_betas, strict=True)]),
            np.array([a.llc_se / b for a, b in zip(averages, n_betas, strict=True)]),
        )
        rows.append(
            {
                **{name: getattr(best, name) for name in ("llc", "llc_se", "rhat", "ess", "drift", "virial")},
                "llc_change": best.llc - hotter.llc if hotter is not None else np.nan,
                "llc_correction": correction,
                "llc_low": low,
                "llc_high": high,
                "fraction_below_initial_loss": best.share_below,
                "llc_status": status.status,
                "llc_status_reason": status.reason,
                "llc_at_temperature": [a.llc for a in averages],
                "llc_at_temperature_se": [a.llc_se for a in averages],
                "llc_wbic": slope[0],
                "llc_wbic_se": slope[1],
                "chain_health": statistics[0].health,
                "llc_chain": n_betas[0] * (draws[i, 0].mean(-1) - baseline),
            }
        )
    values: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
    values |= {
        "baseline_loss": problem.baselines,
        "resets": resets[:, 0],
        "acceptance": acceptance[:, 0],
        "distance": distance[:, 0],
        "loss_trace": draws[:, 0],
        "burn_in_loss": traces[:, 0, :, : schedule.burn_in],
    }
    absent = set() if temperatures > 1 else {"llc_wbic", "llc_wbic_se", "llc_change"}
    if spectra is None:
        absent.add("llc_correction")
    values = {name: value for name, value in values.items() if name not in absent}
    result = problem.trajectory.dataset(
        {name: (DIMS.get(name, ()), value, ATTRS[name]) for name, value in values.items()},
        chain=np.arange(traces.shape[2]),
        draw=np.arange(draws.shape[-1]),
        temperature=np.array(n_betas),
    )
    return result if problem.finite_minimizer else result.assign_attrs(comment=EFFECTIVE)
