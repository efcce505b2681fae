"""Bayesian influence functions between samples, and susceptibilities of components to samples.

Expectations are over the tempered, localized posterior p(w) ~ exp(-n_beta L(w) - gamma/2 |w - w*|^2); l_i is the loss
of sample i, L the training loss.

- Bayesian influence function (Kreer et al. 2509.26544, section 3): BIF_ij = -Cov(l_i, l_j), the rate at which the
  expected loss of sample j changes with the weight of l_i in the exponent; an additional copy of a training sample is a
  weight of n_beta / n. devinterp 2's `compute_bif` returns Cov (or the correlation) without the minus sign.
- Susceptibility (Baker et al. 2504.18274, section 3 and appendix C.4) of a component C to sample i: with
  phi = L - L(w*), expectations <.>_C over the posterior in which only C's weights move, <.> over that of all weights,
  chi_i = -<phi (l_i - L)>_C + <phi>_C <l_i - L>, as devinterp 2's `compute_susceptibilities` has it. Its part
  chi_i = -<phi (l_i - L)>_C + <phi>_C <l_i - L>, as in devinterp 2's `compute_susceptibilities`. The term
-Cov_C(phi, l_i - L) requires only the component's draws.
A negative susceptibility means that the losses of component and sample covary more than average: the component serves
that sample.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from slt_grok.errors import SltGrokError
from slt_grok.llc.estimate import estimate
from slt_grok.llc.moments import LossMoments, Moments
from slt_grok.llc.samplers.sampler import Sampler
from slt_grok.llc.subspaces import Subspace
from slt_grok.measurement import Variable
from slt_grok.trajectories import Trajectory

_BAKER = "Baker et al. 2504.18274, section 3"
_KREER = "Kreer et al. 2509.26544, section 3"

VARIABLES = {
    "influence": Variable(
        ("sample", "query"),
        "Bayesian influence function",
        "-Cov over draws of the losses of two samples",
        _KREER,
        "nats^2",
    ),
    "loss_correlation": Variable(
        ("sample", "query"),
        "correlation of the samples' losses",
        "Cov / (standard deviations), in [-1, 1]; its negative is the normalized influence",
        _KREER,
    ),
    "susceptibility": Variable(
        ("component", "sample"),
        "susceptibility",
        "-<phi (l_i - L)>_C + <phi>_C <l_i - L>, phi = L - L(w*)",
        _BAKER,
        "nats^2",
    ),
    "susceptibility_covariance": Variable(
        ("component", "sample"), "susceptibility, covariance term", "-Cov_C(L, l_i - L)", _BAKER, "nats^2"
    ),
    "loss_slope": Variable(
        ("component", "sample"),
        "slope of the sample's loss over the training loss",
        "Cov_C(L, l_i) / Var_C(L) = 1 - susceptibility_covariance / Var_C(L); 1 on average over the training samples",
    ),
}


_BY_SAMPLE = ("susceptibility", "susceptibility_covariance", "loss_slope")


def influence(result: xr.Dataset, losses: LossMoments) -> xr.Dataset:
    """Compute Bayesian influence functions between all samples of `losses`, from the draws of an estimate.

    Parameters
    ----------
    result : xarray.Dataset
        Result of `slt_grok.llc.estimate` with `losses` among its observers.
    losses : LossMoments
        Moments recorded with `covariance=True`.

    Returns
    -------
    xarray.Dataset
        A dataset over the estimate's dimensions, `sample` and `query`: `influence` (symmetric) and `loss_correlation`,
        NaN for a sample with constant loss.

    Raises
    ------
    SltGrokError
        The covariance was not recorded.
    """
    moments = losses.pooled(result)
    covariance = moments.covariance
    deviation = np.sqrt(moments.variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = covariance / (deviation[:, :, None] * deviation[:, None, :])
    shape = (*result.llc.shape, *covariance.shape[1:])
    dims = (*result.llc.dims, "sample", "query")
    return xr.Dataset(
        {
            "influence": (dims, -covariance.reshape(shape), VARIABLES["influence"].attrs),
            "loss_correlation": (dims, correlation.clip(-1, 1).reshape(shape), VARIABLES["loss_correlation"].attrs),
        },
        coords=result.llc.coords,
        attrs={key: result.attrs[key] for key in ("n_beta", "gamma")},
    )


def susceptibilities(
    trajectory: Trajectory,
    components: Mapping[str, Subspace],
    *,
    n_beta: float,
    gamma: float,
    sampler: Sampler | None = None,
    probes: str = "train",
    every: int = 1,
    **settings: Any,
) -> xr.Dataset:
    """Compute the susceptibility of each component to each pair, for each network.

    All weights are sampled once and each component once, at the same n_beta and gamma; moments of the pairs' losses are
    recorded along the way.

    Parameters
    ----------
    trajectory : Trajectory
        Networks of a modular task.
    components : Mapping[str, Subspace]
        Name -> weights that move, such as `slt_grok.llc.restrictions.frequencies(module, [k])`.
    n_beta, gamma : float
        See `slt_grok.llc.estimate`.
    sampler : Sampler or None, optional
        Sampler of all weights and of each component; by default, the rule of `slt_grok.llc.calibration` chooses a step
        for each.
    probes : str, optional
        Split whose pairs are probed, `train` or `all`; L is always the loss on the train split.
    every : int, optional
        Number of draws between evaluations of the pairs' losses.
    settings : Any
        Further settings of `slt_grok.llc.estimate`.

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
        There is no component, `probes` is unknown, or a setting is out of range.

    Examples
    --------
    >>> planes = {f"frequency {k}": restrictions.frequencies(networks.network.module, [k]) for k in (2, 14)}
    >>> susceptibilities(networks, planes, n_beta=1123, gamma=10, updates=800, every=4)
    """
    if not components:
        raise SltGrokError("components: expected at least one subspace, got none")
    if probes not in ("train", "all"):
        raise SltGrokError(f"probes: expected train or all, got {probes!r}")
    task = trajectory.task
    inputs, targets = task.data(probes)
    trained = None if probes == "train" else task.indices("train")
    losses = LossMoments(trajectory.network, inputs, targets, trained=trained, every=every)
    settings |= {"sampler": sampler, "n_beta": n_beta, "gamma": gamma, "observers": [losses]}
    whole = estimate(trajectory, **settings)
    all_weights = losses.pooled(whole)
    found: dict[str, list[np.ndarray]] = {name: [] for name in _BY_SAMPLE}
    results = []
    for subspace in components.values():
        result = estimate(trajectory, subspace=subspace, **settings)
        moments = losses.pooled(result)
        chi, own = susceptibility(moments, all_weights, result.baseline_loss.values.ravel())
        joint = moments.training_scatter
        slope = joint / joint[:, moments.trained].mean(1, keepdims=True)
        for name, values in zip(_BY_SAMPLE, (chi, own, slope), strict=True):
            found[name].append(values)
        results.append(result)
    variables: dict[str, Any] = {
        name: (("component", "sample"), np.stack(values, 1), VARIABLES[name].attrs) for name, values in found.items()
    }
    for name in ("llc", "llc_se", "llc_status"):
        variables[name] = (
            ("component",),
            np.stack([one[name].values.ravel() for one in results], 1),
            whole[name].attrs,
        )
    variables["whole_status"] = ((), whole.llc_status.values.ravel(), {"long_name": "status, all weights"})
    mask = np.isin(np.arange(len(inputs)), losses.trained.numpy())
    return trajectory.dataset(
        variables,
        component=list(components),
        a=("sample", inputs[:, 0].numpy()),
        b=("sample", inputs[:, 1].numpy()),
        answer=("sample", targets.numpy()),
        trained=("sample", mask),
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
    own = covariance[:, component.trained].mean(1, keepdims=True) - covariance  # Var L - Cov(L, l_i)
    phi = component.training_loss - baseline
    apart = (component.training_loss[:, None] - component.mean) - (whole.training_loss[:, None] - whole.mean)
    return own + phi[:, None] * apart, own
