"""Tests of whether the LLC moves with a measure beyond the trend that all measures share, given loss and weight norm.

The data are increments between checkpoints available in all seeds, on each measure's scale. Within a seed, they are
replaced by their ranks, and a least-squares fit on the ranks of the increments of log train loss and weight norm is
subtracted: the correlation of the residuals is Kendall's partial rank correlation. The statistic is its mean over
seeds.

Two nulls, by two-sided permutation tests:

- `pairing`: the LLC of one seed with the measure of another, both given the covariates of the LLC's seed. (If each were
  given its own, covariates that are a noisy proxy of training progress would correlate the residuals within a seed
  but not across seeds.) Everything that seeds share, above all the course of training, is part of this null, so
  whatever exceeds it is specific to the seed. All permutations of the seeds are used for up to 7 seeds, random ones
  otherwise; with S seeds no p-value is below 1 / S!, so that m measures need
  S! >= 20 m: 4 seeds for one measure, 6 for twelve.
- `block`: within each seed, the measure's residuals are shuffled in blocks of about n^(1/3) increments, which preserves
  short-range order. It detects an association within a seed, but a course of training shared by all seeds is not part
  of this null. It needs only one seed.

Holm's correction is over the measures, for each null. An association is beyond the trend if it is by `pairing`.
"""

from collections.abc import Mapping, Sequence
from itertools import permutations
from math import factorial
from typing import Any, ClassVar

import numpy as np
import xarray as xr
from scipy.stats import rankdata, t

from slt_grok.format import capital
from slt_grok.measurement import Data, Derived, Drawing, Table, Variable
from slt_grok.transitions.lag_test import FEWEST_SEEDS, holm
from slt_grok.transitions.measures import Curves, declared, with_interval

COVARIATES = ("train_loss", "weight_norm", "sum_of_squared_weights")  # of the last two, the first available one
FEWEST_INCREMENTS = 8
MOST_ORDERS = 7  # number of seeds up to which all permutations are used
RULE = "by the rules in the docstring of slt_grok.transitions.association"
VARIABLES = {
    "partial_correlation": Variable(("measure", "seed"), "partial rank correlation with the LLC", RULE),
    **with_interval("mean_correlation", Variable(("measure",), "mean partial rank correlation with the LLC", RULE)),
    "rank_correlation": Variable(("measure",), "mean rank correlation with the LLC", "without covariates"),
    "correlation_beyond_trend": Variable(
        ("measure",), "mean partial correlation minus its mean over all pairings of seeds", RULE
    ),
    "p_value": Variable(("null", "measure"), "p-value of no association", RULE),
    "p_value_holm": Variable(("null", "measure"), "Holm-corrected p-value of no association", "over measures"),
    "seeds": Variable(("measure",), "seeds with the measure", "count"),
    "increments": Variable(("measure",), "increments per seed", "count"),
    "left_out": Variable(("measure",), "omitted seeds and checkpoints", "those without a value"),
    "given": Variable(("measure",), "covariates", RULE),
    "verdict": Variable(("measure",), "whether the LLC moves with the measure beyond the trend", RULE),
}


class Association(Derived):
    """Measures that move with the LLC beyond the trend; needs at least four seeds."""

    name = "association"
    title = "What moves with the LLC"
    position = 73
    variables: ClassVar[Mapping[str, Variable]] = VARIABLES  # pyright: ignore[reportIncompatibleMethodOverride]

    def derive(self, data: Data, config: Any) -> xr.Dataset | None:
        """Compute the associations."""
        return associate(data) if enough_seeds(data) else None

    def figures(self) -> Sequence[Drawing]:
        """Draw the correlations."""
        from slt_grok import plots

        caption = (
            "Partial rank correlation between changes of the LLC and of each measure from checkpoint to checkpoint, "
            "given train loss and weight norm: seeds in gray, their mean with its 95% interval. The pairing null, the "
            "LLC of one seed with the measure of another, contains whatever the seeds share."
        )
        return [Drawing("association", plots.association, caption, by_seed=False)]

    def tables(self, data: Data) -> Sequence[Table]:
        """Tabulate the mean correlations."""
        from slt_grok.plots.style import measure_name

        found = data[self.name]
        rows = [
            [
                capital(measure_name(str(one.measure.item()))),
                interval_text(one, "mean_correlation"),
                f"{one.p_value_holm.sel(null='pairing').item():.3f}",
                f"{one.p_value_holm.sel(null='block').item():.3f}",
                f"{one.verdict.item()}{f'; without {one.left_out.item()}' if one.left_out.item() else ''}",
            ]
            for one in (found.isel(measure=i) for i in range(found.sizes["measure"]))
        ]
        header = ["Measure", "Mean partial correlation (95%)", "Holm’s p, pairing", "Holm’s p, blocks", "Verdict"]
        return [Table("What moves with the LLC, given train loss and weight norm", header, rows, folded=True)]


def interval_text(one: Any, name: str) -> str:
    """Format an entry of a dataset or table row with its interval."""
    value, low, high = (float(one[f"{name}{end}"]) for end in ("", "_low", "_high"))
    return f"{value:+.2f} ({low:+.2f} to {high:+.2f})" if np.isfinite(value) else "–"


def enough_seeds(data: Data) -> bool:
    """Check for an LLC and circuit measures of enough seeds for a test over seeds."""
    measured = all(label in data and "step" in data[label].dims for label in ("training", "llc", "circuits"))
    return measured and data["training"].sizes.get("seed", 1) >= FEWEST_SEEDS


def remainders(increments: np.ndarray, covariates: np.ndarray) -> np.ndarray:
    """Residuals of the ranks of increments (..., n) given those of covariates (..., c, n), with mean 0 and norm 1.

    0 throughout if nothing remains.
    """
    return _left(_ranks(increments), _ranks(covariates))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks along the last axis, centered to mean 0."""
    return rankdata(values, axis=-1) - (values.shape[-1] + 1) / 2 if values.size else values


def _left(ranks: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Compute `remainders` from ranks."""
    basis = np.linalg.qr(np.swapaxes(given, -1, -2))[0]
    left = ranks - (basis @ (np.swapaxes(basis, -1, -2) @ ranks[..., None]))[..., 0]
    length = np.linalg.norm(left, axis=-1, keepdims=True)
    something = length > 1e-9 * np.linalg.norm(ranks, axis=-1, keepdims=True)
    return np.divide(left, length, out=np.zeros_like(left), where=something)


def pairing(
    llc: np.ndarray, measure: np.ndarray, covariates: np.ndarray, resamples: int, seed: np.random.SeedSequence | int
) -> tuple[float, float]:
    """Mean partial correlation minus its mean over all pairings of seeds, and its two-sided p-value.

    Parameters
    ----------
    llc, measure, covariates : ndarray
        Increments (seed, n), (seed, n) and (seed, c, n).
    resamples, seed : int, np.random.SeedSequence or int
        Number and seed of the random permutations, for more than `MOST_ORDERS` seeds.
    """
    first = remainders(llc, covariates)
    # each seed's measure given the covariates of the LLC's seed: (LLC's seed, measure's seed, n)
    second = _left(_ranks(measure)[None], _ranks(covariates)[:, None])
    correlation = np.einsum("sn,stn->st", first, second)
    count = len(first)
    if count <= MOST_ORDERS:
        orders = np.array(list(permutations(range(count))))
    else:
        generator = np.random.default_rng(seed)
        orders = np.array([range(count), *(generator.permutation(count) for _ in range(resamples))])
    means = correlation[np.arange(count), orders].mean(1)
    excess = means - correlation.mean()  # the shared trend makes the mean over pairings nonzero
    return float(excess[0]), float(np.mean(np.abs(excess) >= abs(excess[0]) - 1e-12))


def block(first: np.ndarray, second: np.ndarray, resamples: int, seed: np.random.SeedSequence | int) -> float:
    """Two-sided p-value of the mean correlation of residuals (seed, n) against shuffled blocks."""
    generator, (count, n) = np.random.default_rng(seed), first.shape
    length = block_length(n)
    # rotate the series randomly, cut it into blocks (the last may be shorter) and shuffle them
    keys = generator.random((resamples, count, -(-n // length))).repeat(length, axis=2)[:, :, :n]
    at = np.argsort(keys, axis=2, kind="stable")
    at = (at + generator.integers(n, size=(resamples, count, 1))) % n
    drawn = np.take_along_axis(np.broadcast_to(second, at.shape), at, 2)
    means = (first * drawn).sum(2).mean(1)
    observed = abs(float((first * second).sum(1).mean()))
    return float((1 + (np.abs(means) >= observed - 1e-12).sum()) / (resamples + 1))


def block_length(n: int) -> int:
    """Compute the number of increments per block: n^(1/3), rounded, at least 2."""
    return max(2, round(n ** (1 / 3)))


def associate(data: Data, *, resamples: int = 2000, seed: int = 0) -> xr.Dataset:
    """Compute partial rank correlations of the LLC's increments with those of every measure, and test both nulls.

    Parameters
    ----------
    data : mapping of str to xarray.Dataset
        A run's datasets, as in `measure`, including an LLC.
    resamples : int, optional
        Number of resamples for each null.
    seed : int, optional
        Seed of the resamples.

    Returns
    -------
    xarray.Dataset
        Over (measure, seed): `partial_correlation` (-1 to 1). Over measure: `mean_correlation`, its 95% interval
        `mean_correlation_low`, `_high` (Student's t over seeds on the inverse hyperbolic tangent),
        `correlation_beyond_trend` (minus the mean over all pairings), `rank_correlation` (without covariates),
        `p_value` and `p_value_holm` over (null, measure), `seeds`, `increments`, `left_out` (names of omitted seeds and
        checkpoints), `given` (the covariates) and `verdict`: `beyond the trend`, `not resolved`, `too few seeds`,
        `too few increments` or `not measured`. NaN if the data do not suffice.

    Raises
    ------
    SltGrokError
        A dataset lacks `step`, accuracies or one of the seeds.
    """
    curves = Curves(data)
    scaled = {name: curves.scaled(name) for name in curves.names}
    measures = [name for name in scaled if name != "llc"]
    over = {name: v.dims for name, v in VARIABLES.items() if v.dims == ("measure",)}
    words = {name: np.full(len(measures), "", dtype=object) for name in ("left_out", "given", "verdict")}
    counts = {name: np.zeros(len(measures), int) for name in ("seeds", "increments")}
    numbers = {name: np.full(len(measures), np.nan) for name in over if name not in words | counts}
    p_values = np.full((2, len(measures)), np.nan)
    of_seed = np.full((len(measures), len(curves.seeds)), np.nan)
    norm = next((name for name in COVARIATES[1:] if name in scaled), None)
    for i, measure in enumerate(measures):
        covariates = ["train_loss", *([norm] if norm else [])]
        covariates = [c for c in covariates if c != measure and not {c, measure} <= set(COVARIATES[1:])]
        words["given"][i] = ", ".join(covariates)
        table = xr.align(*(scaled[name] for name in ("llc", measure, *covariates)), join="inner")
        values = np.stack([one.values for one in table])  # (variable, step, seed)
        measured = np.isfinite(values).any(1).all(0)
        kept = np.isfinite(values[:, :, measured]).all((0, 2))
        changed = np.diff(values[:, kept][:, :, measured], axis=1).transpose(0, 2, 1)
        counts["seeds"][i], counts["increments"][i] = changed.shape[1:]
        steps = np.setdiff1d(scaled["llc"].step.values, table[0].step.values[kept])
        words["left_out"][i] = _named(curves.seeds[~measured], steps if measured.any() else [])
        if not measured.any() or changed.shape[2] < FEWEST_INCREMENTS:
            words["verdict"][i] = "too few increments" if measured.any() else "not measured"
            continue
        others = changed[2:].transpose(1, 0, 2)
        first, second = (remainders(one, others) for one in changed[:2])
        plain = [remainders(one, others[:, :0]) for one in changed[:2]]
        each = of_seed[i, measured] = (first * second).sum(1)
        numbers["mean_correlation"][i] = each.mean()
        numbers["rank_correlation"][i] = (plain[0] * plain[1]).sum(1).mean()
        streams = curves.stream(measure, seed).spawn(2)
        p_values[1, i] = block(first, second, resamples, streams[1])
        words["verdict"][i] = "too few seeds"
        if len(each) >= FEWEST_SEEDS:
            z = np.arctanh(each.clip(-0.999999, 0.999999))
            reach = t.ppf(0.975, len(z) - 1) * z.std(ddof=1) / np.sqrt(len(z))
            for end, sign in (("low", -1), ("high", 1)):
                numbers[f"mean_correlation_{end}"][i] = np.tanh(z.mean() + sign * reach)
            beyond, p_values[0, i] = pairing(changed[0], changed[1], others, resamples, streams[0])
            numbers["correlation_beyond_trend"][i] = beyond
    adjusted = np.stack([holm(row) for row in p_values])
    tested = np.isfinite(adjusted[0])
    words["verdict"][tested] = np.where(adjusted[0, tested] <= 0.05, "beyond the trend", "not resolved")
    smallest = np.array([1 / factorial(min(count, MOST_ORDERS)) for count in counts["seeds"]]) * tested.sum()
    words["verdict"][tested & (smallest > 0.05)] = "too few seeds"  # no permutation could pass the correction
    found = {name: column.astype(str) for name, column in words.items()} | numbers | counts
    found |= {"partial_correlation": of_seed, "p_value": p_values, "p_value_holm": adjusted}
    coords = {"measure": measures, "seed": curves.seeds, "null": ["pairing", "block"]}
    return declared(VARIABLES, found, coords, resamples=resamples, null_seed=seed)


def _named(seeds: np.ndarray, steps: np.ndarray | list) -> str:
    """Format the omitted seeds and steps."""
    parts = [f"seeds {', '.join(map(str, seeds))}"] if len(seeds) else []
    parts += [f"steps {', '.join(map(str, steps))}"] if len(steps) else []
    return "; ".join(parts)
