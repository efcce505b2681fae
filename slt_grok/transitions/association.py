"""Whether the LLC moves with a measure beyond the trend that all of them share, and beyond loss and weight norm.

Increments from checkpoint to checkpoint, on each measure's scale, of the checkpoints that all seeds have. Within a seed
they are replaced by their ranks, and what the ranks of the increments of log train loss and of the weight norm explain
by least squares is taken away: the correlation of what is left is Kendall's partial rank correlation. The statistic is
its mean over seeds.

Two nulls, by permutation, two-sided:

- `pairing`: one seed's LLC with another seed's measure, both given the covariates of the LLC's seed (given each its
  own, covariates that stand for the course of training with an error would join the remainders of one seed and not
  those of two). Everything that seeds have in common, the course of training above all, is in the null too, so what is
  beyond it belongs to the seed. All orders of the seeds where they are few
  (up to 7), random ones else; with S seeds no p-value is below 1 / S!, so that m measures need
  S! >= 20 m: 4 seeds for one, 6 for twelve.
- `block`: within each seed the remainders of the measure in blocks of about n^(1/3) increments, in random order, so
  that what follows each other stays so. It tells an association within a seed from none; a course of training that all
  seeds share is no part of this null. It needs one seed only.

Holm's correction is over the measures, for each null. An association counts as beyond the trend by `pairing`.
"""

from itertools import permutations
from math import factorial

import numpy as np
import xarray as xr
from scipy.stats import rankdata, t

from slt_grok.transitions.lag_test import holm
from slt_grok.transitions.measures import RULES, curve, gathered, measured_in

COVARIATES = ("train_loss", "weight_norm", "sum_of_squared_weights")  # of the last two the first that is there
FEWEST_SEEDS = 4  # for the null by pairing
FEWEST_INCREMENTS = 8
MOST_ORDERS = 7  # seeds of which all orders are taken
SOURCE = "this package: slt_grok.transitions.association"


def remainders(increments: np.ndarray, covariates: np.ndarray) -> np.ndarray:
    """Ranks of increments (..., n) less what the ranks of the covariates (..., c, n) explain, of mean 0 and length 1.

    0 throughout where nothing is left.
    """
    return _left(_ranks(increments), _ranks(covariates))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks along the last axis, of mean 0."""
    return rankdata(values, axis=-1) - (values.shape[-1] + 1) / 2 if values.size else values


def _left(ranks: np.ndarray, given: np.ndarray) -> np.ndarray:
    """`remainders` of ranks."""
    basis = np.linalg.qr(np.swapaxes(given, -1, -2))[0]
    left = ranks - (basis @ (np.swapaxes(basis, -1, -2) @ ranks[..., None]))[..., 0]
    length = np.linalg.norm(left, axis=-1, keepdims=True)
    something = length > 1e-9 * np.linalg.norm(ranks, axis=-1, keepdims=True)
    return np.divide(left, length, out=np.zeros_like(left), where=something)


def pairing(
    llc: np.ndarray, measure: np.ndarray, covariates: np.ndarray, resamples: int, seed: np.random.SeedSequence | int
) -> tuple[float, float]:
    """Mean partial correlation less that of all pairings of the seeds, and its two-sided p-value.

    Parameters
    ----------
    llc, measure, covariates : ndarray
        Increments (seed, n), (seed, n) and (seed, c, n).
    resamples, seed : int, np.random.SeedSequence or int
        Of the random orders of more than `MOST_ORDERS` seeds.
    """
    first = remainders(llc, covariates)
    # every seed's measure given the covariates of the LLC's seed: (LLC's seed, measure's seed, n)
    second = _left(_ranks(measure)[None], _ranks(covariates)[:, None])
    correlation = np.einsum("sn,stn->st", first, second)
    count = len(first)
    if count <= MOST_ORDERS:
        orders = np.array(list(permutations(range(count))))
    else:
        generator = np.random.default_rng(seed)
        orders = np.array([range(count), *(generator.permutation(count) for _ in range(resamples))])
    means = correlation[np.arange(count), orders].mean(1)
    excess = means - correlation.mean()  # the trend that seeds share is the mean over pairings, not 0
    return float(excess[0]), float(np.mean(np.abs(excess) >= abs(excess[0]) - 1e-12))


def block(first: np.ndarray, second: np.ndarray, resamples: int, seed: np.random.SeedSequence | int) -> float:
    """Two-sided p-value of the mean correlation of remainders (seed, n) against blocks in random order."""
    generator, (count, n) = np.random.default_rng(seed), first.shape
    length = block_length(n)
    # blocks begin anywhere: the series is turned, cut into blocks (the last may be shorter), and these are shuffled
    keys = generator.random((resamples, count, -(-n // length))).repeat(length, axis=2)[:, :, :n]
    at = np.argsort(keys, axis=2, kind="stable")
    at = (at + generator.integers(n, size=(resamples, count, 1))) % n
    drawn = np.take_along_axis(np.broadcast_to(second, at.shape), at, 2)
    means = (first * drawn).sum(2).mean(1)
    observed = abs(float((first * second).sum(1).mean()))
    return float((1 + (np.abs(means) >= observed - 1e-12).sum()) / (resamples + 1))


def block_length(n: int) -> int:
    """Increments in a block: n^(1/3), rounded, at least 2."""
    return max(2, round(n ** (1 / 3)))


def associate(
    training: xr.Dataset,
    llc: xr.Dataset,
    circuits: xr.Dataset | None = None,
    landscape: xr.Dataset | None = None,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> xr.Dataset:
    """Partial rank correlation of the LLC's increments with those of every measure, and both nulls.

    Parameters
    ----------
    training, llc, circuits, landscape : xarray.Dataset, xarray.Dataset, xarray.Dataset or None, xarray.Dataset or None
        As in `measure`.
    resamples : int, optional
        Of each null.
    seed : int, optional
        Of the nulls.

    Returns
    -------
    xarray.Dataset
        Over (measure, seed): `partial_correlation` (-1 to 1). Over measure: `mean_correlation`, its 95% interval
        `mean_correlation_low`, `_high` (Student's over seeds of the inverse hyperbolic tangent),
        `correlation_beyond_trend` (less the mean over all pairings), `rank_correlation` (without covariates), `p_value`
        and `p_value_holm` over (null, measure), `seeds`, `increments`, `left_out` (seeds, and checkpoints of the LLC,
        by name), `given` (the covariates) and `verdict`: `beyond the trend`, `not resolved`, `too few seeds`, `too few
        increments` or `not measured`. NaN where the data do not suffice.

    Raises
    ------
    SltGrokError
        A dataset without `step`, without accuracies or without one of the seeds.
    """
    datasets = gathered(training=training, llc=llc, circuits=circuits, landscape=landscape)
    seeds = datasets["training"].seed.values
    curves = {name: scaled(datasets, name, seeds) for name in measured_in(datasets)}
    measures = [name for name in curves if name != "llc"]
    names = ("mean_correlation", "mean_correlation_low", "mean_correlation_high")
    names += ("rank_correlation", "correlation_beyond_trend")
    numbers = {name: np.full(len(measures), np.nan) for name in names}
    p_values = np.full((2, len(measures)), np.nan)
    of_seed = np.full((len(measures), len(seeds)), np.nan)
    words = {name: np.full(len(measures), "", dtype=object) for name in ("left_out", "given", "verdict")}
    counts = np.zeros((2, len(measures)), int)
    norm = next((name for name in COVARIATES[1:] if name in curves), None)
    for i, measure in enumerate(measures):
        weights = {"weight_norm", "sum_of_squared_weights"}
        covariates = ["train_loss", *([norm] if norm else [])]
        covariates = [c for c in covariates if c != measure and not (c in weights and measure in weights)]
        words["given"][i] = ", ".join(covariates)
        table = xr.align(*(curves[name] for name in ("llc", measure, *covariates)), join="inner")
        values = np.stack([one.values for one in table])  # (variable, step, seed)
        measured = np.isfinite(values).any(1).all(0)
        kept = np.isfinite(values[:, :, measured]).all((0, 2))
        changed = np.diff(values[:, kept][:, :, measured], axis=1).transpose(0, 2, 1)
        counts[:, i] = changed.shape[1:]
        steps = np.setdiff1d(curves["llc"].step.values, table[0].step.values[kept])
        words["left_out"][i] = _named(seeds[~measured], steps if measured.any() else [])
        if not measured.any() or changed.shape[2] < FEWEST_INCREMENTS:
            words["verdict"][i] = "too few increments" if measured.any() else "not measured"
            continue
        others = changed[2:].transpose(1, 0, 2)
        first, second = (remainders(one, others) for one in changed[:2])
        plain = [remainders(one, np.zeros((*one.shape[:1], 0, one.shape[1]))) for one in changed[:2]]
        each = (first * second).sum(1)
        of_seed[i, measured] = each
        numbers["mean_correlation"][i] = each.mean()
        numbers["rank_correlation"][i] = (plain[0] * plain[1]).sum(1).mean()
        streams = np.random.SeedSequence([seed, list(RULES).index(measure)]).spawn(2)
        p_values[1, i] = block(first, second, resamples, streams[1])
        words["verdict"][i] = "too few seeds"
        if len(each) >= FEWEST_SEEDS:
            z = np.arctanh(each.clip(-0.999999, 0.999999))
            reach = t.ppf(0.975, len(z) - 1) * z.std(ddof=1) / np.sqrt(len(z))
            for name, value in zip(names[1:3], np.tanh(z.mean() + np.array([-1, 1]) * reach), strict=True):
                numbers[name][i] = value
            numbers["correlation_beyond_trend"][i], p_values[0, i] = pairing(
                changed[0], changed[1], others, resamples, streams[0]
            )
    adjusted = np.stack([holm(row) for row in p_values])
    tested = np.isfinite(adjusted[0])
    words["verdict"][tested] = np.where(adjusted[0, tested] <= 0.05, "beyond the trend", "not resolved")
    smallest = np.array([1 / factorial(min(count, MOST_ORDERS)) for count in counts[0]]) * tested.sum()
    words["verdict"][tested & (smallest > 0.05)] = "too few seeds"  # no order of them could pass the correction
    text = {
        "mean_correlation": "mean over seeds of the partial rank correlation with the LLC",
        "mean_correlation_low": "lower end of its 95% interval",
        "mean_correlation_high": "upper end of its 95% interval",
        "rank_correlation": "mean over seeds of the rank correlation with the LLC",
        "correlation_beyond_trend": "mean partial correlation less that of all pairings of the seeds",
        "left_out": "seeds and checkpoints that were left out",
        "given": "covariates",
        "verdict": "whether the LLC moves with the measure beyond the trend",
    }
    variables: dict[str, tuple] = {
        name: ("measure", values.astype(str) if name in words else values, {"long_name": text[name], "source": SOURCE})
        for name, values in (numbers | words).items()
    }
    over = {"long_name": "partial rank correlation with the LLC", "source": SOURCE}
    variables["partial_correlation"] = (("measure", "seed"), of_seed, over)
    variables["p_value"] = (("null", "measure"), p_values, {"long_name": "p-value of no association"})
    variables["p_value_holm"] = (("null", "measure"), adjusted, {"long_name": "p-value of no association, Holm's"})
    variables["seeds"] = ("measure", counts[0], {"long_name": "seeds with the measure"})
    variables["increments"] = ("measure", counts[1], {"long_name": "increments of each seed"})
    coords = {"measure": measures, "seed": seeds, "null": ["pairing", "block"]}
    return xr.Dataset(variables, coords, {"resamples": resamples, "null_seed": seed})


def scaled(datasets: dict[str, xr.Dataset], measure: str, seeds: np.ndarray) -> xr.DataArray:
    """Return a measure over (step, seed) on the scale of its rule; NaN where it has no logarithm."""
    curves = [curve(datasets, measure, network) for network in seeds]
    values = np.stack([one.values for one in curves], axis=1)
    if RULES[measure][1].scale == "log":
        values = np.log(np.where(values > 0, values, np.nan))
    return xr.DataArray(values, dims=("step", "seed"), coords={"step": curves[0].steps, "seed": seeds})


def _named(seeds: np.ndarray, steps: np.ndarray | list) -> str:
    """Return the seeds and the steps that were left out."""
    parts = [f"seeds {', '.join(map(str, seeds))}"] if len(seeds) else []
    parts += [f"steps {', '.join(map(str, steps))}"] if len(steps) else []
    return "; ".join(parts)
