"""Bayesian influence between pairs by what they share: both tokens, the answer, a token, or nothing."""

import numpy as np
import xarray as xr
from loss_moments import LossMoments, estimate_dataset, healthy_chains, mean_and_error
from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.measurement import Variable

RELATIONS = ("swapped", "same answer", "shared token", "unrelated")

VARIABLES = {
    "loss_correlation": Variable(
        ("relation",),
        "mean correlation of the losses of two pairs",
        "correlation over a chain's draws, averaged over couples of pairs and over healthy chains; its "
        "negative is the normalized Bayesian influence function",
        "Kreer et al. 2509.26544, section 3",
    ),
    "loss_correlation_se": Variable(
        ("relation",),
        "standard error of the mean correlation",
        "standard deviation over healthy chains / sqrt(their number)",
    ),
    "couples": Variable(
        ("relation",), "number of couples of pairs of the relation", "number of couples of pairs of the relation"
    ),
}


def relations(pairs: Tensor, answers: Tensor) -> dict[str, np.ndarray]:
    """Classify couples of different pairs: relation -> symmetric bool (n, n); each couple has one relation.

    `swapped` is (a, b) and (b, a); `shared token` is any other couple with a token in common, at any position; `same
    answer` couples share no token.

    Parameters
    ----------
    pairs, answers : Tensor
        int64 (n, 2) and (n,), all pairs distinct.

    Raises
    ------
    SltGrokError
        The inputs are not pairs of tokens.
    """
    if pairs.is_floating_point() or pairs.ndim != 2 or pairs.shape[1] != 2:
        raise SltGrokError(f"pairs: expected two tokens per sample, got inputs of shape {tuple(pairs.shape)}")
    a, b = pairs.numpy().T
    other = ~np.eye(len(a), dtype=bool)
    swapped = (a[:, None] == b) & (b[:, None] == a) & other
    share = (a[:, None] == a) | (a[:, None] == b) | (b[:, None] == a) | (b[:, None] == b)
    shared = share & other & ~swapped
    answer = (answers.numpy()[:, None] == answers.numpy()) & other & ~share
    return dict(zip(RELATIONS, (swapped, answer, shared, other & ~share & ~answer), strict=True))


def influence_by_relation(result: xr.Dataset, losses: LossMoments) -> xr.Dataset:
    """Average the correlation of the losses of two pairs for each network, by what the pairs share.

    Parameters
    ----------
    result : xarray.Dataset
        Result of `slt_grok.llc.estimate` with `losses` among its observers.
    losses : LossMoments
        Moments of the pairs' losses recorded with `covariance=True`.

    Returns
    -------
    xarray.Dataset
        A dataset over the estimate's dimensions and `relation`: `loss_correlation` in [-1, 1] and its standard error;
        over `relation` alone, `couples`. NaN if no couple has the relation, or no chain is healthy.

    Raises
    ------
    SltGrokError
        The covariance was not recorded, or the samples are not pairs of tokens.
    """
    groups = relations(losses.inputs, losses.targets)
    healthy = healthy_chains(result)
    moments = losses.by_chain(len(healthy))
    deviation = np.sqrt(moments.variance)
    with np.errstate(divide="ignore", invalid="ignore"):
        correlation = moments.covariance / (deviation[..., :, None] * deviation[..., None, :])
        by_chain = [correlation[..., group].sum(-1) / group.sum() for group in groups.values()]
    mean, error = mean_and_error(np.stack(by_chain, -1), healthy)
    values = {"loss_correlation": mean, "loss_correlation_se": error}
    couples = [int(group.sum()) // 2 for group in groups.values()]
    return estimate_dataset(result, VARIABLES, values, relation=list(groups)).assign(
        couples=("relation", couples, VARIABLES["couples"].attrs)
    )
