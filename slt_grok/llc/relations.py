"""Bayesian influence between pairs by what they have in common: both tokens, the answer, a token, nothing."""

import numpy as np
import xarray as xr
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.llc.moments import LossMoments
from slt_grok.llc.sample_losses import healthy_chains
from slt_grok.measurement import Variable

RELATIONS = ("swapped", "same answer", "shared token", "unrelated")

VARIABLES = {
    "loss_correlation": Variable(
        ("relation",),
        "mean correlation of the losses of two pairs",
        "correlation over a chain's draws, mean over couples of pairs, mean over healthy chains; its "
        "negative is the normalized Bayesian influence function",
        "Kreer et al. 2509.26544, section 3",
    ),
    "loss_correlation_se": Variable(
        ("relation",),
        "standard error of the mean correlation",
        "standard deviation over healthy chains, by the root of their number",
    ),
    "couples": Variable(
        ("relation",), "number of couples of pairs of the relation", "number of couples of pairs of the relation"
    ),
}


def relations(pairs: Tensor, answers: Tensor) -> dict[str, np.ndarray]:
    """Which couples of different pairs have what in common: relation -> symmetric bool (n, n); each couple has one.

    `swapped` is (a, b) and (b, a); `shared token` any other couple with a token in common, at whatever position;
    `same answer` couples share no token.

    Parameters
    ----------
    pairs, answers : Tensor
        int64 (n, 2) and (n,), no pair twice.

    Raises
    ------
    SltGrokError
        Inputs that are no pairs of tokens.
    """
    if pairs.is_floating_point() or pairs.ndim != 2 or pairs.shape[1] != 2:
        raise SltGrokError(f"pairs: expected two tokens a sample, got inputs of shape {tuple(pairs.shape)}")
    a, b = pairs.numpy().T
    other = ~np.eye(len(a), dtype=bool)
    swapped = (a[:, None] == b) & (b[:, None] == a) & other
    share = (a[:, None] == a) | (a[:, None] == b) | (b[:, None] == a) | (b[:, None] == b)
    shared = share & other & ~swapped
    answer = (answers.numpy()[:, None] == answers.numpy()) & other & ~share
    return dict(zip(RELATIONS, (swapped, answer, shared, other & ~share & ~answer), strict=True))


def influence_by_relation(result: xr.Dataset, losses: LossMoments) -> xr.Dataset:
    """Mean correlation of the losses of two pairs at each network, by what the pairs have in common.

    Parameters
    ----------
    result : xarray.Dataset
        What `slt_grok.llc.estimate` returned with `losses` among its observers.
    losses : LossMoments
        Moments of pairs' losses that were taken with `covariance=True`.

    Returns
    -------
    xarray.Dataset
        A dataset over the estimate's dimensions and `relation`: `loss_correlation` in [-1, 1] and its standard error;
        over `relation` alone `couples`. NaN where no couple has the relation, or no chain is healthy.

    Raises
    ------
    SltGrokError
        The covariance was not taken, or the samples are no pairs of tokens.
    """
    groups = relations(losses.inputs, losses.targets)
    healthy = healthy_chains(result)
    moments = losses.by_chain(len(healthy))
    deviation = np.sqrt(moments.variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = moments.covariance / (deviation[..., :, None] * deviation[..., None, :])
        means = [correlation[..., group].sum(-1) / group.sum() for group in groups.values()]
    values = xr.DataArray(np.stack(means, -1), dims=("network", "chain", "relation")).where(healthy[..., None])
    error = values.std("chain", ddof=1) / np.sqrt(values.notnull().sum("chain"))
    dims, shape = (*result.llc.dims, "relation"), (*result.llc.shape, len(groups))
    return xr.Dataset(
        {
            "loss_correlation": (dims, values.mean("chain").values.reshape(shape), VARIABLES["loss_correlation"].attrs),
            "loss_correlation_se": (dims, error.values.reshape(shape), VARIABLES["loss_correlation_se"].attrs),
            "couples": ("relation", [int(group.sum()) // 2 for group in groups.values()], VARIABLES["couples"].attrs),
        },
        coords={**result.llc.coords, "relation": list(groups)},
        attrs={key: result.attrs[key] for key in ("n_beta", "gamma")},
    )
