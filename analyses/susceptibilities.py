"""Susceptibilities of components of a network to samples.

Expectations are over the tempered, localized posterior p(w) ~ exp(-n_beta L(w) - gamma/2 |w - w*|^2); l_i is the loss
of sample i, L the training loss.

The susceptibility (Baker et al. 2504.18274, section 3 and appendix C.4) of a component C to sample i is, with
phi = L - L(w*), expectations <.>_C over the posterior in which only C's weights move, and <.> over that of all weights,
chi_i = -<phi (l_i - L)>_C + <phi>_C <l_i - L>, as in devinterp 2's `compute_susceptibilities`. Its term
-Cov_C(phi, l_i - L) requires only the component's draws. A negative susceptibility means that the losses of component
and sample covary more than average: the component serves that sample.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from loss_moments import LossMoments, Moments

from slt_grok.errors import SltGrokError
from slt_grok.llc.estimate import estimate
from slt_grok.llc.subspaces import Subspace
from slt_grok.llc.variables import VARIABLES as LLC_VARIABLES
from slt_grok.measurement import Variable
from slt_grok.trajectories import Trajectory

BAKER = "Baker et al. 2504.18274, section 3"
LLC_NAMES = ("llc", "llc_se", "llc_status")
VARIABLES = {
    "susceptibility": Variable(
        ("component", "sample"),
        "susceptibility",
        "-<phi (l_i - L)>_C + <phi>_C <l_i - L>, phi = L - L(w*)",
        BAKER,
        "nats^2",
    ),
    "susceptibility_covariance": Variable(
        ("component", "sample"), "susceptibility, covariance term", "-Cov_C(L, l_i - L)", BAKER, "nats^2"
    ),
    "loss_slope": Variable(
        ("component", "sample"),
        "slope of the sample's loss over the training loss",
        "Cov_C(L, l_i) / Var_C(L) = 1 - susceptibility_covariance / Var_C(L); 1 on average over the training samples",
    ),
    **{name: LLC_VARIABLES[name]._replace(dims=("component",)) for name in LLC_NAMES},
    "whole_status": LLC_VARIABLES["llc_status"]._replace(long_name="status, all weights"),
}


def susceptibilities(
    trajectory: Trajectory, components: Mapping[str, Subspace], *, every: int = 1, **settings: Any
) -> xr.Dataset:
    """Compute the susceptibility of each component to every pair, for each network.

    All weights are sampled once and each component once, at the same n_beta and gamma; moments of the pairs' losses are
    recorded along the way.

    Parameters
    ----------
    trajectory : Trajectory
        Networks of a modular task.
    components : Mapping[str, Subspace]
        Name -> weights that move, such as `slt_grok.llc.restrictions.frequencies(module, [k])`.
    every : int, optional
        Number of draws between evaluations of the pairs' losses.
    **settings
        Settings of `slt_grok.llc.estimate`, among them `n_beta` and `gamma`.

    Returns
    -------
    xarray.Dataset
        A dataset over the trajectory's dimensions, `component` and `sample`: `susceptibility`, its covariance term
        `susceptibility_covariance`, and `loss_slope`, which is scale-free and thus comparable across components and
        checkpoints; over `component`, the `llc`, `llc_se` and `llc_status` of these draws, and the `whole_status` of
        those of all weights; over `sample`, the coordinates `a`, `b`, `answer` and `trained`.

    Raises
    ------
    SltGrokError
        There is no component, or a setting is out of range.

    Examples
    --------
    >>> planes = {f"frequency {k}": restrictions.frequencies(networks.network.module, [k]) for k in (2, 14)}
    >>> susceptibilities(networks, planes, n_beta=1123, gamma=10, updates=800, every=4)
    """
    if not components:
        raise SltGrokError("components: expected at least one subspace, got none")
    inputs, targets = trajectory.task.data("all")
    losses = LossMoments(trajectory.network, inputs, targets, trained=trajectory.task.indices("train"), every=every)
    settings["observers"] = [losses]
    whole = estimate(trajectory, **settings)
    all_weights = losses.pooled(whole)
    by_component = []
    for subspace in components.values():
        result = estimate(trajectory, subspace=subspace, **settings)
        moments = losses.pooled(result)
        total, covariance_term = susceptibility(moments, all_weights, result.baseline_loss.values.ravel())
        scatter = moments.training_scatter
        values = {
            "susceptibility": total,
            "susceptibility_covariance": covariance_term,
            "loss_slope": scatter / scatter[:, moments.trained].mean(1, keepdims=True),
        }
        by_component.append(values | {name: result[name].values.ravel() for name in LLC_NAMES})
    stacked = {name: np.stack([values[name] for values in by_component], 1) for name in by_component[0]}
    stacked["whole_status"] = whole.llc_status.values.ravel()
    return trajectory.dataset(
        {name: (VARIABLES[name].dims, values, VARIABLES[name].attrs) for name, values in stacked.items()},
        component=list(components),
        a=("sample", inputs[:, 0].numpy()),
        b=("sample", inputs[:, 1].numpy()),
        answer=("sample", targets.numpy()),
        trained=("sample", np.isin(np.arange(len(inputs)), losses.trained.numpy())),
    ).assign_attrs({key: value for key, value in whole.attrs.items() if key != "dimension"})


def susceptibility(component: Moments, whole: Moments, baseline: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the susceptibility of a component to each sample, and its term -Cov_C(L, l_i - L), each (network, n).

    Expectations are plain means over the draws (without a degrees-of-freedom correction), as in devinterp 2.

    Parameters
    ----------
    component, whole : Moments
        Pooled moments of the same samples, with only the component's weights moving and with all weights moving.
    baseline : ndarray
        Loss L(w*), (network,).
    """
    covariance = component.training_scatter / component.count[:, None]
    covariance_term = covariance[:, component.trained].mean(1, keepdims=True) - covariance  # Var L - Cov(L, l_i)
    phi = component.training_loss - baseline
    gaps = [moments.training_loss[:, None] - moments.mean for moments in (component, whole)]  # <L - l_i>
    return covariance_term + phi[:, None] * (gaps[0] - gaps[1]), covariance_term
