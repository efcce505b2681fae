"""Run one case of the zoo: compare the default estimate with the truth."""

import time
from typing import Any

import numpy as np
import torch

from slt_grok.llc import estimate
from slt_grok.llc.diagnostics import TRUSTED, LLCStatus
from slt_grok.llc.exact import multiplicity_correction
from slt_grok.progress import ignore
from slt_grok.zoo.cases import parse
from slt_grok.zoo.problem import KnownProblem


def measure(text: str, seed: int) -> dict[str, Any]:
    """Estimate the LLC of a case with default settings, and compare it with the truth.

    Parameters
    ----------
    text : str
        Name of the case, see `slt_grok.zoo.cases.parse`.
    seed : int
        Seed of the problem and the chains.

    Returns
    -------
    dict[str, Any]
        `case`, `family`, `seed`, `parameters`; `truth`, `multiplicity`; `estimate`, `standard_error`, `low`, `high`,
        `relative_error`; `estimate_with_multiplicity` = estimate + (m - 1) / log(n_beta) and its `relative_error_...`;
        `covered`: whether the truth is between `low` and `high`; `status`, `reason`, `converged`; `flagged`: any status
        that is not trusted; the `settings` chosen by the rule, `seconds`. If the estimate is not finite, `failed` is
        True and the numbers are None; for an exception, `reason` is its message.
    """
    start = time.perf_counter()
    problem, facts = _pose(text, seed)
    truth = problem.truth
    try:
        result = estimate(
            problem.module, problem.data, loss=problem.loss, seed=seed, max_seconds=None, on_progress=ignore
        )
    except Exception as error:  # an estimator that raises fails this case, not the entire zoo
        return failure(text, seed, f"{type(error).__name__}: {error}", time.perf_counter() - start)
    names = ("llc", "llc_low", "llc_high", "llc_status", "llc_status_reason")
    value, low, high, status, reason = (result[name].item() for name in names)
    if not np.isfinite(value):
        return failure(text, seed, f"{status}: {reason}", time.perf_counter() - start)
    corrected = value + multiplicity_correction(truth.multiplicity, result.attrs["n_beta"])
    return facts | {
        "estimate": value,
        "standard_error": result.llc_se.item(),
        "low": low,
        "high": high,
        "relative_error": value / truth.value - 1,
        "estimate_with_multiplicity": corrected,
        "relative_error_with_multiplicity": corrected / truth.value - 1,
        "covered": low <= truth.value <= high,
        "status": status,
        "reason": reason,
        "converged": status == LLCStatus.CONVERGED,
        "flagged": status not in TRUSTED,
        "failed": False,
        "settings": {name: result.attrs[name] for name in ("n_beta", "gamma", "step_size", "burn_in", "draws")},
        "seconds": time.perf_counter() - start,
    }


def failure(text: str, seed: int, reason: str, seconds: float = 0.0) -> dict[str, Any]:
    """Build the row of a case without a result."""
    numbers = ("estimate", "standard_error", "low", "high", "relative_error")
    corrected = ("estimate_with_multiplicity", "relative_error_with_multiplicity")
    return {
        **_pose(text, seed)[1],
        **dict.fromkeys((*numbers, *corrected)),
        "covered": False,
        "status": "failed",
        "reason": reason,
        "converged": False,
        "flagged": True,
        "failed": True,
        "settings": {},
        "seconds": seconds,
    }


def _pose(text: str, seed: int) -> tuple[KnownProblem, dict[str, Any]]:
    """Draw the problem, and collect its known properties."""
    case = parse(text)
    problem = case.problem(torch.Generator().manual_seed(seed))
    return problem, {
        "case": text,
        "family": case.family,
        "seed": seed,
        "parameters": sum(parameter.numel() for parameter in problem.module.parameters()),
        "truth": problem.truth.value,
        "multiplicity": problem.truth.multiplicity,
    }
