"""Singular fluctuation and WAIC from the draws of an LLC estimate.

With losses l_i = -log p(y_i | x_i, w) and expectations over the tempered, localized posterior at beta = n_beta / n,
Watanabe 2010 (JMLR 11, 3571-3594, definitions 2 and 3, and theorem 1) has the functional variance
V = sum_i Var_w[l_i], the singular fluctuation nu = lim (beta/2) E[V], and WAIC = T + beta V / n, with the Bayes
training loss T = -1/n sum_i log E_w[exp(-l_i)]; the mean of WAIC over data sets is that of the Bayes generalization
loss up to o(1/n). For a regular model that realizes the truth, nu = d/2 at beta = 1.

The localization is a prior around a w* that has seen the data, so for a network that has only memorized, WAIC measures
how well draws near w* fit, not how they generalize: `bayes_test_loss` is computed on held-out samples.
"""

import numpy as np
import xarray as xr
from loss_moments import LossMoments, Moments, estimate_dataset, healthy_chains, mean_and_error

from slt_grok.measurement import Variable

_WATANABE = "Watanabe 2010, JMLR 11, 3571-3594"
LIMIT = 0.4  # of a sample's variance: WAIC is unreliable above it (Vehtari et al. 1507.04544, section 2.2)

VARIABLES = {
    "functional_variance": Variable(
        (),
        "functional variance",
        "V = sum over the training samples of the variance of their loss over draws",
        _WATANABE,
    ),
    "singular_fluctuation": Variable(
        (),
        "singular fluctuation",
        "nu = beta V / 2 with beta = n_beta / n, at the estimate's n_beta and gamma",
        _WATANABE,
    ),
    "singular_fluctuation_se": Variable(
        (),
        "standard error of the singular fluctuation",
        "standard deviation of beta V / 2 over the healthy chains / sqrt(their number)",
    ),
    "gibbs_training_loss": Variable(
        (), "Gibbs training loss", "mean over draws of the training loss", _WATANABE, "nats"
    ),
    "bayes_training_loss": Variable(
        (), "Bayes training loss", "T = -1/n sum_i log mean over draws of exp(-l_i)", _WATANABE, "nats"
    ),
    "bayes_test_loss": Variable(
        (),
        "Bayes loss on held-out samples",
        "-mean over these samples of log mean over draws of exp(-l_i)",
        _WATANABE,
        "nats",
    ),
    "waic": Variable((), "widely applicable information criterion", "T + beta V / n", _WATANABE, "nats"),
    "waic_se": Variable(
        (),
        "standard error of WAIC from the sampling",
        "standard deviation of T + beta V / n over the healthy chains / sqrt(their number)",
        "this package",
        "nats",
    ),
    "share_of_large_variances": Variable(
        (),
        "fraction of training samples whose loss varies too much for WAIC",
        f"fraction of samples with beta Var_w[l_i] above {LIMIT}",
        "Vehtari et al. 1507.04544, section 2.2",
    ),
}


def fluctuation(result: xr.Dataset, losses: LossMoments) -> xr.Dataset:
    """Compute singular fluctuation and WAIC of each network of an estimate.

    Parameters
    ----------
    result : xarray.Dataset
        Result of `slt_grok.llc.estimate` with `losses` among its observers.
    losses : LossMoments
        Moments of the losses of the training samples and, if not all samples are `trained`, of the held-out ones.

    Returns
    -------
    xarray.Dataset
        A dataset over the estimate's dimensions: `functional_variance`, `singular_fluctuation` and its standard error,
        `gibbs_training_loss`, `bayes_training_loss`, `waic` and its standard error, in nats per sample, and
        `share_of_large_variances`; with held-out samples, also `bayes_test_loss`. NaN if no chain is healthy; standard
        errors are NaN for fewer than two chains.

    Notes
    -----
    The values refer to the density exp(-l): a loss that is not -log p up to a constant must first be scaled to one.

    Examples
    --------
    >>> losses = LossMoments(networks.network, *networks.task.data("train"))
    >>> fluctuation(estimate(networks, n_beta=30, gamma=100, observers=[losses]), losses).singular_fluctuation
    """
    healthy = healthy_chains(result)
    by_chain = losses.by_chain(len(healthy))
    beta = result.attrs["n_beta"] / len(losses.trained)
    values, values_by_chain = _values(by_chain.pooled(healthy), beta), _values(by_chain, beta)
    for name in ("singular_fluctuation", "waic"):
        values[f"{name}_se"] = mean_and_error(values_by_chain[name], healthy)[1]
    return estimate_dataset(result, VARIABLES, values).assign_attrs(beta=beta)


def _values(moments: Moments, beta: float) -> dict[str, np.ndarray]:
    """Compute the variables, each with the leading shape of the moments."""
    variance = moments.variance[..., moments.trained]
    total, n = variance.sum(-1), variance.shape[-1]
    bayes = -moments.log_mean_likelihood
    training = bayes[..., moments.trained].mean(-1)
    others = np.delete(bayes, moments.trained, axis=-1)
    return {
        "functional_variance": total,
        "singular_fluctuation": beta * total / 2,
        "gibbs_training_loss": moments.training_loss,
        "bayes_training_loss": training,
        "waic": training + beta * total / n,
        "share_of_large_variances": np.where(np.isnan(total), np.nan, (beta * variance > LIMIT).mean(-1)),
        **({"bayes_test_loss": others.mean(-1)} if others.size else {}),
    }
