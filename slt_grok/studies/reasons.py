"""What a calibration measured, by name, and the reasons of the choice in sentences made from it."""

from typing import Any

import numpy as np
import torch
import xarray as xr

from slt_grok.llc.variables import ATTRS as LLC_ATTRS
from slt_grok.trajectories import Trajectory

_RULE = "the rules of slt_grok.llc.calibration"
_LAU = "Lau et al. 2308.12108, definition 3"
_NEAL = "Neal 1206.1901"
AGREES = 3.0  # standard errors

ATTRS = {
    "weight_norm": {"long_name": "norm of the weights", "definition": "|w*|", "source": _RULE},
    "gamma_rule": {
        "long_name": "localization by the rule",
        "definition": "d / (rho |w*|^2) with rho = 0.7",
        "source": _RULE,
    },
    "n_beta_rule": {
        "long_name": "inverse temperature by the rule",
        "definition": "n_beta at which A / gamma is the square of the updates asked for over 20",
        "source": _RULE,
    },
    "curvature_rule": {
        "long_name": "curvature of the pilots",
        "definition": "largest curvature A of n_beta L + gamma/2 |w - w*|^2 at chain states, at the rule's n_beta",
        "source": _RULE,
    },
    "curvature": {
        "long_name": "curvature at the choice",
        "definition": "largest curvature A of n_beta L + gamma/2 |w - w*|^2 where the full batch's chains end",
        "source": _RULE,
    },
    "llc_hmc": {
        "long_name": "LLC by Hamiltonian Monte Carlo",
        "definition": "n_beta (mean of the draws' losses - baseline_loss), full batch, at the chosen n_beta and gamma",
        "source": _NEAL,
    },
    "llc_hmc_se": {
        "long_name": "standard error of the LLC by Hamiltonian Monte Carlo",
        "definition": "as llc_se",
        "source": _NEAL,
    },
    "acceptance_hmc": {
        "long_name": "acceptance of Hamiltonian Monte Carlo",
        "definition": "mean acceptance probability of the proposals",
        "source": _NEAL,
    },
}


def neighborhood(trajectory: Trajectory, rho: float) -> xr.Dataset:
    """|w*| and the gamma that the rule asks for, at every network."""
    stack = trajectory.stacked(torch.float64)
    flat = torch.cat([tensor.flatten(1) for tensor in stack.values()], 1)
    square, d = flat.square().sum(1).numpy(), flat.shape[1]
    return trajectory.dataset(
        {
            "weight_norm": ((), np.sqrt(square), ATTRS["weight_norm"]),
            "gamma_rule": ((), d / (rho * square), ATTRS["gamma_rule"]),
        }
    )


def maps(mapped: xr.Dataset, shape: tuple[int, int]) -> xr.Dataset:
    """LLCs at a list of settings as two maps: over step and n_beta, and over gamma.

    Parameters
    ----------
    mapped : xarray.Dataset
        Over (step, seed, setting); first every step at every n_beta, then the gammas.
    shape : tuple[int, int]
        Number of steps and of n_betas.

    Returns
    -------
    xarray.Dataset
        `llc_by_step`, `llc_by_step_se`, `llc_by_step_status` over (step, seed, step_size, n_beta) and `llc_by_gamma`,
        `llc_by_gamma_se`, `llc_by_gamma_status` over (step, seed, gamma).
    """
    count = shape[0] * shape[1]
    first, second = mapped.isel(setting=slice(count)), mapped.isel(setting=slice(count, None))
    lead = ("step", "seed")
    coords = {
        "step_size": first.step_size.values.reshape(shape)[:, 0],
        "n_beta": first.n_beta.values.reshape(shape)[0],
        "gamma": second.gamma.values,
    }
    variables: dict[str, Any] = {}
    for name, suffix in (("llc", ""), ("llc_se", "_se"), ("llc_status", "_status")):
        at = first[name].transpose(*lead, "setting").values
        grid = at.reshape(*at.shape[:2], *shape)
        variables[f"llc_by_step{suffix}"] = ((*lead, "step_size", "n_beta"), grid, LLC_ATTRS[name])
        row = second[name].transpose(*lead, "setting").values
        variables[f"llc_by_gamma{suffix}"] = ((*lead, "gamma"), row, LLC_ATTRS[name])
    return xr.Dataset(variables, coords={"step": mapped.step, "seed": mapped.seed, **coords})


def used_batch(found: xr.Dataset) -> str:
    """Return the coordinate `batch` of the choice."""
    return "full" if found.attrs["batch_size"] == "full" else "minibatch"


def sentences(found: xr.Dataset, rho: float, safety: float, sweeps: float, tolerance: float) -> list[str]:
    """Return a sentence for each choice, and what the checks say."""
    one, attrs = found.isel(seed=0), found.attrs
    steps = [f"{step:,}" for step in one.step.values.tolist()]
    widest, stiffest = int(one.gamma_rule.values.argmax()), int(one.n_beta_rule.values.argmin())
    updates = attrs["draws"] + attrs["burn_in"]

    def each(values: xr.DataArray, form: str) -> str:
        return ", ".join(f"{value:{form}} at step {step}" for step, value in zip(steps, values.values, strict=True))

    change = one.llc.sel(batch="minibatch") / one.llc.sel(batch="full") - 1
    best = one.sel(batch=used_batch(found))
    said = [
        f"Measured at steps {', '.join(steps)}; one setting for all checkpoints, since only then do values compare.",
        f"gamma = {attrs['gamma']:g}: the largest of d / ({rho:g} |w*|²) over the checkpoints (step {steps[widest]}), "
        f"so that the neighborhood is nowhere wider than {rho:g} |w*|².",
        f"n_beta = {attrs['n_beta']:g}: the smallest at which A / gamma = ({updates}/{sweeps:g})² over the checkpoints "
        f"(step {steps[stiffest]}), A being the largest curvature of n_beta L + gamma/2 |w - w*|²: {updates} updates "
        f"then pass through every direction some {sweeps:g} times.",
        f"step_size = {attrs['step_size']:g}: {safety:g} / sqrt(A); where the chains end A is "
        f"{each(one.curvature, '.3g')}, and a step is stable up to 2 / sqrt(A) = "
        f"{2 / np.sqrt(float(one.curvature.max())):.2g}.",
    ]
    by = f"change the LLC by {each(100 * change, '+.1f')} (in %)"
    measured = f"batches of {attrs['smaller_batch']} of the {attrs['n']} samples {by}"
    if attrs["smaller_batch"] == attrs["n"]:
        said.append(f"batch_size = full: there are only {attrs['n']} samples.")
    elif attrs["batch_size"] == "full":
        said.append(f"batch_size = full: {measured}, more than {tolerance:.0%}.")
    else:
        said.append(f"batch_size = {attrs['batch_size']}: {measured}.")
    drift = 100 * best.drift / abs(best.llc)
    said.append(f"With it the draws' second half differs from the first by {each(drift, '+.1f')} (in % of the LLC).")
    said += [_agreement(best.isel(step=i), steps[i]) for i in range(len(steps)) if np.isfinite(best.llc_hmc[i])]
    return said


def _agreement(one: xr.Dataset, step: str) -> str:
    """Return what Hamiltonian Monte Carlo says about the LLC of a checkpoint."""
    llc, se, exact, exact_se = (float(one[name]) for name in ("llc", "llc_se", "llc_hmc", "llc_hmc_se"))
    errors = abs(llc - exact) / np.hypot(se, exact_se)
    word = "agrees" if errors < AGREES else "does not agree"
    return (
        f"At step {step} the effective LLC {llc:.4g} ± {se:.2g} {word} with {exact:.4g} ± {exact_se:.2g} by "
        f"Hamiltonian Monte Carlo on the full batch: {errors:.1f} standard errors apart (acceptance "
        f"{float(one.acceptance_hmc):.2f})."
    )


def numbers(found: xr.Dataset) -> list[dict[str, Any]]:
    """Return what was measured at each checkpoint, JSON-able; NaN as None."""
    one = found.isel(seed=0)
    plain = ("weight_norm", "gamma_rule", "n_beta_rule", "curvature_rule", "curvature", "llc_hmc", "llc_hmc_se")
    rows = []
    for step in one.step.values.tolist():
        here = one.sel(step=step)
        row: dict[str, Any] = {"step": step} | {name: float(here[name]) for name in (*plain, "acceptance_hmc")}
        for batch in one.batch.values.tolist():
            for name in ("llc", "llc_se", "drift", "virial", "rhat", "ess"):
                row[f"{name}_{batch}"] = float(here[name].sel(batch=batch))
            row[f"llc_status_{batch}"] = str(here.llc_status.sel(batch=batch).values)
        rows.append({key: None if isinstance(v, float) and not np.isfinite(v) else v for key, v in row.items()})
    return rows
