"""Bayesian influence functions between samples, and susceptibilities of components to samples.

Expectations are over the tempered, localised posterior p(w) ~ exp(-n_beta L(w) - gamma/2 |w - w*|^2); l_i is the loss
of sample i, L the training loss.

- Bayesian influence function (Kreer et al. 2509.26544, section 3): BIF_ij = -Cov(l_i, l_j), the rate at which the
  expected loss of sample j changes with the weight of l_i in the exponent; one copy more of a training sample is a
  weight of n_beta / n. devinterp 2's `compute_bif` gives Cov (or the correlation) without the minus sign.
- Susceptibility (Baker et al. 2504.18274, section 3 and appendix C.4) of a component C to sample i: with
  phi = L - L(w*), expectations <.>_C over the posterior in which only C's weights move, <.> over that of all weights,
  chi_i = -<phi (l_i - L)>_C + <phi>_C <l_i - L>, as devinterp 2's `compute_susceptibilities` has it. Its part
  -Cov_C(phi, l_i - L) needs the component's own draws alone.

A negative susceptibility means that the component's loss and the sample's rise and fall together more than the average
sample's does: the component serves that sample.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from slt_grok.errors import SltGrokError
from slt_grok.llc.estimate import estimate
from slt_grok.llc.moments import LossMoments, Moments
from slt_grok.llc.samplers import Sampler
from slt_grok.llc.subspaces import Subspace
from slt_grok.trajectories import Trajectory

_BAKER = "Baker et al. 2504.18274, section 3"
_KREER = "Kreer et al. 2509.26544, section 3"

ATTRS = {
    "influence": {
        "long_name": "Bayesian influence function",
        "units": "nats^2",
        "definition": "-Cov over draws of the losses of two samples",
        "source": _KREER,
    },
    "loss_correlation": {
        "long_name": "correlation of the samples' losses",
        "definition": "Cov / (standard deviations), in [-1, 1]; its negative is the normalised influence",
        "source": _KREER,
    },
    "susceptibility": {
        "long_name": "susceptibility",
        "units": "nats^2",
        "definition": "-<phi (l_i - L)>_C + <phi>_C <l_i - L>, phi = L - L(w*)",
        "source": _BAKER,
    },
    "susceptibility_covariance": {
        "long_name": "susceptibility, the component's own part",
        "units": "nats^2",
        "definition": "-Cov_C(L, l_i - L)",
        "source": _BAKER,
    },
}


def influence(result: xr.Dataset, losses: LossMoments) -> xr.Dataset:
    """Bayesian influence functions between all samples of `losses`, from the draws of an estimate.

    Parameters
    ----------
    result : what `slt_grok.llc.estimate` returned with `losses` among its observers.
    losses : moments that were taken with `covariance=True`.

    Returns
    -------
    A dataset over the estimate's dimensions, `sample` and `query`: `influence` (symmetric) and `loss_correlation`,
    NaN for a sample whose loss does not vary.

    Raises
    ------
    SltGrokError : the covariance was not taken.
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
            "influence": (dims, -covariance.reshape(shape), ATTRS["influence"]),
            "loss_correlation": (dims, correlation.clip(-1, 1).reshape(shape), ATTRS["loss_correlation"]),
        },
        coords=result.llc.coords,
        attrs={key: result.attrs[key] for key in ("n_beta", "gamma")},
    )


def susceptibilities(
    trajectory: Trajectory,
    components: Mapping[str, Subspace],
    *,
    sampler: Sampler,
    n_beta: float,
    gamma: float,
    probes: str = "train",
    every: int = 1,
    **settings: Any,
) -> xr.Dataset:
    """Susceptibility of each component to each pair, at each network.

    All weights are sampled once and each component once, all at the same n_beta, gamma and step: a component's largest
    curvature is at most that of all weights. Moments of the pairs' losses are taken on the way.

    Parameters
    ----------
    trajectory : networks of a modular task.
    components : name -> the weights that move, such as `slt_grok.llc.restrictions.frequencies(module, [k])`.
    sampler, n_beta, gamma : see `slt_grok.llc.estimate`; `slt_grok.llc.calibration` has a rule for them.
    probes : the split whose pairs are probed, `train` or `all`; L is the loss on the train split in any case.
    every : draws from one look at the pairs' losses to the next.
    settings : others of `slt_grok.llc.estimate`.

    Returns
    -------
    A dataset over the trajectory's dimensions, `component` and `sample`: `susceptibility` and
    `susceptibility_covariance`; over `component` the `llc`, `llc_se` and `llc_verdict` of these draws; over `sample`
    the coordinates `a`, `b`, `answer` and `trained`.

    Raises
    ------
    SltGrokError : no component, other probes, or a setting out of its range.

    Examples
    --------
    >>> planes = {f"frequency {k}": restrictions.frequencies(networks.network.module, [k]) for k in (2, 14)}
    >>> susceptibilities(networks, planes, sampler=UnderdampedLangevin(0.006, 40), n_beta=1123, gamma=100, every=4)
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
    chi, own_part, results = [], [], []
    for subspace in components.values():
        result = estimate(trajectory, subspace=subspace, **settings)
        baseline = result.baseline_loss.values.ravel()
        total, own = susceptibility(losses.pooled(result), all_weights, baseline)
        chi.append(total)
        own_part.append(own)
        results.append(result)
    variables: dict[str, Any] = {
        "susceptibility": (("component", "sample"), np.stack(chi, 1), ATTRS["susceptibility"]),
        "susceptibility_covariance": (
            ("component", "sample"),
            np.stack(own_part, 1),
            ATTRS["susceptibility_covariance"],
        ),
    }
    for name in ("llc", "llc_se", "llc_verdict"):
        variables[name] = (
            ("component",),
            np.stack([one[name].values.ravel() for one in results], 1),
            whole[name].attrs,
        )
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
    """Susceptibility of a component to each sample, and the part -Cov_C(L, l_i - L) of it, each (network, n).

    Expectations are means over the draws there are (no degree of freedom is taken off), so that they are those of
    devinterp 2 on the same draws.

    Parameters
    ----------
    component, whole : pooled moments of the same samples, with only the component's weights moving and with all.
    baseline : L(w*), (network,).
    """
    covariance = component.training_scatter / component.count[:, None]
    own = covariance[:, component.trained].mean(1, keepdims=True) - covariance  # Var L - Cov(L, l_i)
    phi = component.training_loss - baseline
    apart = (component.training_loss[:, None] - component.mean) - (whole.training_loss[:, None] - whole.mean)
    return own + phi[:, None] * apart, own
