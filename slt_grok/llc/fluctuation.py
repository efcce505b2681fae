"""Singular fluctuation and WAIC from the draws of an LLC estimate.

With losses l_i = -log p(y_i | x_i, w) and expectations over the tempered, localized posterior at beta = n_beta / n,
Watanabe 2010 (JMLR 11, 3571-3594, definitions 2 and 3, and theorem 1) has the functional variance
V = sum_i Var_w[l_i], the singular fluctuation nu = lim (beta/2) E[V], and WAIC = T + beta V / n, with the Bayes
training loss T = -1/n sum_i log E_w[exp(-l_i)]; the mean of WAIC over data sets is that of the Bayes generalization
loss up to o(1/n). For a regular model that realizes the truth, nu = d/2 at beta = 1.

The localization is a prior around a w* that has seen the data, so that of a network that only memorized, WAIC says how
well draws near w* fit, not how they generalize: `bayes_test_loss` is measured on samples not trained on.
"""

import numpy as np
import xarray as xr

from slt_grok.llc.moments import LossMoments, Moments
from slt_grok.llc.sample_losses import healthy_chains
from slt_grok.measurement import Variable

_WATANABE = "Watanabe 2010, JMLR 11, 3571-3594"
LIMIT = 0.4  # of a sample's variance, beyond which WAIC is not to be relied on (Vehtari et al. 1507.04544, section 2.2)

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
        "standard deviation of beta V / 2 over the healthy chains, by the root of their number",
    ),
    "gibbs_training_loss": Variable(
        (), "Gibbs training loss", "mean over draws of the training loss", _WATANABE, "nats"
    ),
    "bayes_training_loss": Variable(
        (), "Bayes training loss", "T = -1/n sum_i log mean over draws of exp(-l_i)", _WATANABE, "nats"
    ),
    "bayes_test_loss": Variable(
        (),
        "Bayes loss on samples not trained on",
        "-mean over these samples of log mean over draws of exp(-l_i)",
        _WATANABE,
        "nats",
    ),
    "waic": Variable((), "widely applicable information criterion", "T + beta V / n", _WATANABE, "nats"),
    "waic_se": Variable(
        (),
        "standard error of WAIC from the sampling",
        "standard deviation of T + beta V / n over the healthy chains, by the root of their number",
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
    """Singular fluctuation and WAIC of each network of an estimate.

    Parameters
    ----------
    result : xarray.Dataset
        What `slt_grok.llc.estimate` returned with `losses` among its observers.
    losses : LossMoments
        The moments of the training samples' losses, and where there are samples that are not `trained`, of theirs.

    Returns
    -------
    xarray.Dataset
        A dataset over the estimate's dimensions: `functional_variance`, `singular_fluctuation` and its standard error,
        `gibbs_training_loss`, `bayes_training_loss`, `waic` and its standard error, in nats a sample, and
        `share_of_large_variances`; with samples that are not trained on, `bayes_test_loss`. NaN where no chain is
        healthy; standard errors are NaN for fewer than two chains.

    Notes
    -----
    They are those of the density exp(-l): a loss that is no -log p up to a constant has to be scaled to one first.

    Examples
    --------
    >>> losses = LossMoments(networks.network, *networks.task.data("train"))
    >>> fluctuation(estimate(networks, n_beta=30, gamma=100, observers=[losses]), losses).singular_fluctuation
    """
    healthy = healthy_chains(result)
    by_chain = losses.by_chain(len(healthy))
    beta = result.attrs["n_beta"] / len(losses.trained)
    found, spread = _values(by_chain.pooled(healthy), beta), _values(by_chain, beta)
    for name in ("singular_fluctuation", "waic"):
        found[f"{name}_se"] = _chain_error(spread[name], healthy)
    shape = result.llc.shape
    return xr.Dataset(
        {name: (result.llc.dims, value.reshape(shape), VARIABLES[name].attrs) for name, value in found.items()},
        coords=result.llc.coords,
        attrs={"n_beta": result.attrs["n_beta"], "gamma": result.attrs["gamma"], "beta": beta},
    )


def _values(moments: Moments, beta: float) -> dict[str, np.ndarray]:
    """Each of the moments' leading shape."""
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


def _chain_error(values: np.ndarray, healthy: np.ndarray) -> np.ndarray:
    """Return the standard error of the mean over healthy chains, (network, chain) -> (network,)."""
    count = healthy.sum(1)
    mean = np.where(healthy, values, 0).sum(1) / np.maximum(count, 1)
    square = np.where(healthy, values - mean[:, None], 0) ** 2
    return np.sqrt(square.sum(1) / np.where(count > 1, (count - 1) * count, np.nan))
