"""Networks after surgery beside those before: right answers, margin, loss and LLC of each, over all inputs.

Nothing is trained. A network after surgery need be at no minimum of its loss: its LLC may be negative, and then says
that the chains go on training. At a finite (n_beta, gamma) the LLC of networks of different size or weight scale
compares only under the same localization; the weight norm stands beside it.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import xarray as xr

from slt_grok.circuits.margins import margins
from slt_grok.errors import SltGrokError
from slt_grok.interventions.weights import VARIANT
from slt_grok.tasks import SPLITS
from slt_grok.trajectories import Trajectory

KEPT = ("llc", "llc_se", "llc_low", "llc_high", "llc_status", "llc_status_reason")
ATTRS = {
    "accuracy": ("accuracy", "1", "share of pairs whose largest logit is the label"),
    "loss": ("loss", "nats", "mean cross-entropy over the split in float64"),
    "worst_margin": ("worst margin", "nats", "min over all pairs of the right logit less the largest wrong one"),
    "weight_norm": ("weight norm", "1", "sqrt(sum w^2) over all weights"),
    "parameters": ("weights", "1", "number of weights"),
    "modulus": ("modulus", "1", "p"),
}


def measure(variants: Mapping[str, Trajectory], llc: Callable[[Trajectory], xr.Dataset] | None = None) -> xr.Dataset:
    """Return what each variant answers, on every pair, and its LLC.

    Parameters
    ----------
    variants : Mapping[str, Trajectory]
        Name -> a single network (leading dimensions of length 1 or none), of any modulus and size.
    llc : callable or None, optional
        Its estimate, such as `slt_grok.llc.estimate` with a run's settings; None to leave it out.

    Returns
    -------
    xarray.Dataset
        Over `variant`: `worst_margin`, `weight_norm`, `parameters`, `modulus`, `llc`, `llc_se`, `llc_low`, `llc_high`,
        `llc_status`, `llc_status_reason`; with `split` also `accuracy` and `loss` (NaN on a split without pairs).

    Raises
    ------
    SltGrokError
        No variant, several networks in one, or one without a task.
    """
    if not variants:
        raise SltGrokError("variants: expected at least one")
    rows = [_row(name, one, llc) for name, one in variants.items()]
    return xr.concat(rows, VARIANT, combine_attrs="drop_conflicts").assign_coords({VARIANT: list(variants)})


def _row(name: str, one: Trajectory, llc: Callable[[Trajectory], xr.Dataset] | None) -> xr.Dataset:
    if len(one) != 1:
        raise SltGrokError(f"variant {name}: expected a single network, got {len(one)}")
    single = replace(one, parameters={k: tensor[0] for k, tensor in one.stacked().items()}, dims=(), coords={})
    values: dict[str, Any] = evaluate(single)
    found = single.dataset(
        {
            key: (
                ("split",) if np.ndim(value) else (),
                [value],
                dict(zip(("long_name", "units", "definition"), ATTRS[key], strict=True)),
            )
            for key, value in values.items()
        },
        split=list(SPLITS),
    )
    return found if llc is None else found.merge(llc(_named(single, name))[list(KEPT)].isel({VARIANT: 0}, drop=True))


def _named(single: Trajectory, name: str) -> Trajectory:
    """With its name as a coordinate, so that each variant has random streams of its own."""
    parameters = {key: tensor[None] for key, tensor in single.parameters.items()}
    return replace(single, parameters=parameters, dims=(VARIANT,), coords={VARIANT: np.array([name])})


def evaluate(single: Trajectory) -> dict[str, Any]:
    """`accuracy` and `loss` by split, `worst_margin` over all pairs, `weight_norm`, `parameters`, `modulus`.

    Weights count in float64.
    """
    task, parameters = single.task, {name: tensor.double() for name, tensor in single.parameters.items()}
    with torch.no_grad():
        logits = single.network.outputs(parameters, task.inputs).double()
    right, wrong, _ = margins(logits[None], task.labels)
    accuracies, losses = [], []
    for split in SPLITS:
        rows, labels = task.indices(split), task.data(split)[1]
        accuracies.append(float((logits[rows].argmax(-1) == labels).double().mean()))
        losses.append(float(single.network.loss(logits[rows], labels).mean()))
    weights = torch.cat([tensor.flatten() for tensor in parameters.values()])
    return {
        "accuracy": accuracies,
        "loss": losses,
        "worst_margin": float((right - wrong).min()),
        "weight_norm": float(weights.norm()),
        "parameters": len(weights),
        "modulus": task.modulus,
    }
