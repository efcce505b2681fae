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
from slt_grok.transitions.measures import Curves, declared, event_stream, interval_text, measure_name, with_interval
from slt_grok.transitions.statuses import Verdict

NORMS = ("weight_norm", "sum_of_squared_weights")  # the first available one is a covariate
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
        dataset = data[self.name]
        rows = [
            [
                capital(measure_name(row.measure.item())),
                interval_text(row, "mean_correlation"),
                f"{row.p_value_holm.sel(null='pairing').item():.3f}",
                f"{row.p_value_holm.sel(null='block').item():.3f}",
                f"{row.verdict.item()}{f'; without {row.left_out.item()}' if row.left_out.item() else ''}",
            ]
            for row in (dataset.sel(measure=name) for name in dataset.measure.values)
        ]
        header = ["Measure", "Mean partial correlation (95%)", "Holm’s p, pairing", "Holm’s p, blocks", "Verdict"]
        return [Table("What moves with the LLC, given train loss and weight norm", header, rows, folded=True)]


def enough_seeds(data: Data) -> bool:
    """Check for an LLC and circuit measures of enough seeds for a test over seeds."""
    measured = all(label in data and "step" in data[label].dims for label in ("training", "llc", "circuits"))
    return measured and data["training"].sizes.get("seed", 1) >= FEWEST_SEEDS


def remainders(increments: np.ndarray, covariates: np.ndarray) -> np.ndarray:
    """Residuals of the ranks of increments (..., n) given those of covariates (..., c, n), with mean 0 and norm 1.

    0 throughout if nothing remains.
    """
    ranks = _ranks(increments)
    basis = np.linalg.qr(np.swapaxes(_ranks(covariates), -1, -2))[0]
    rest = ranks - (basis @ (np.swapaxes(basis, -1, -2) @ ranks[..., None]))[..., 0]
    length = np.linalg.norm(rest, axis=-1, keepdims=True)
    remains = length > 1e-9 * np.linalg.norm(ranks, axis=-1, keepdims=True)
    return np.divide(rest, length, out=np.zeros_like(rest), where=remains)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks along the last axis, centered to mean 0."""
    return rankdata(values, axis=-1) - (values.shape[-1] + 1) / 2 if values.size else values


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
    second = remainders(measure[None], covariates[:, None])
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
    order = np.argsort(keys, axis=2, kind="stable")
    order = (order + generator.integers(n, size=(resamples, count, 1))) % n
    shuffled = np.take_along_axis(np.broadcast_to(second, order.shape), order, 2)
    means = (first * shuffled).sum(2).mean(1)
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
    rows = [_associate_one(name, scaled, resamples, event_stream(name, seed)) for name in measures]
    values = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    values["p_value"] = values["p_value"].T
    values["p_value_holm"] = np.stack([holm(p_values) for p_values in values["p_value"]])
    adjusted = values["p_value_holm"][0]
    tested = np.isfinite(adjusted)
    smallest = np.array([1 / factorial(min(count, MOST_ORDERS)) for count in values["seeds"]])
    resolvable = smallest * tested.sum() <= 0.05  # else no permutation could pass the correction
    verdict = np.where(adjusted <= 0.05, Verdict.BEYOND_TREND, Verdict.NOT_RESOLVED)
    verdict = np.where(resolvable, verdict, Verdict.TOO_FEW_SEEDS)
    values["verdict"] = np.where(tested, verdict, values["verdict"])
    coords = {"measure": measures, "seed": curves.seeds, "null": ["pairing", "block"]}
    return declared(VARIABLES, values, coords, resamples=resamples, null_seed=seed)


def _associate_one(
    measure: str, scaled: Mapping[str, xr.DataArray], resamples: int, stream: np.random.SeedSequence
) -> dict[str, Any]:
    """Compute the row of one measure of `associate`, without corrections for several measures."""
    norm = next((name for name in NORMS if name in scaled), None)
    covariates = [] if measure == "train_loss" else ["train_loss"]
    covariates += [norm] if norm and measure not in NORMS else []
    table = xr.align(*(scaled[name] for name in ("llc", measure, *covariates)), join="inner")
    seeds, steps = table[0].seed.values, table[0].step.values
    values = np.stack([column.values for column in table])  # (variable, step, seed)
    measured = np.isfinite(values).any(1).all(0)
    kept = np.isfinite(values[:, :, measured]).all((0, 2))
    increments = np.diff(values[:, kept][:, :, measured], axis=1).transpose(0, 2, 1)
    omitted_steps = np.setdiff1d(scaled["llc"].step.values, steps[kept]) if measured.any() else []
    names = ("mean_correlation", "mean_correlation_low", "mean_correlation_high", "rank_correlation")
    row: dict[str, Any] = dict.fromkeys((*names, "correlation_beyond_trend"), np.nan) | {
        "partial_correlation": np.full(len(seeds), np.nan),
        "p_value": np.full(2, np.nan),
        "seeds": increments.shape[1],
        "increments": increments.shape[2],
        "left_out": _list_omitted(seeds[~measured], omitted_steps),
        "given": ", ".join(covariates),
    }
    if not measured.any():
        return row | {"verdict": Verdict.NOT_MEASURED}
    if increments.shape[2] < FEWEST_INCREMENTS:
        return row | {"verdict": Verdict.TOO_FEW_INCREMENTS}
    given = increments[2:].transpose(1, 0, 2)
    llc, other = (remainders(series, given) for series in increments[:2])
    correlations = row["partial_correlation"][measured] = (llc * other).sum(1)
    without = [remainders(series, given[:, :0]) for series in increments[:2]]
    row |= {"mean_correlation": correlations.mean(), "rank_correlation": (without[0] * without[1]).sum(1).mean()}
    pairing_stream, block_stream = stream.spawn(2)
    row["p_value"][1] = block(llc, other, resamples, block_stream)
    if len(correlations) >= FEWEST_SEEDS:
        z = np.arctanh(correlations.clip(-0.999999, 0.999999))
        reach = t.ppf(0.975, len(z) - 1) * z.std(ddof=1) / np.sqrt(len(z))
        row["mean_correlation_low"], row["mean_correlation_high"] = np.tanh(z.mean() + reach * np.array([-1, 1]))
        excess, row["p_value"][0] = pairing(increments[0], increments[1], given, resamples, pairing_stream)
        row["correlation_beyond_trend"] = excess
    return row | {"verdict": Verdict.TOO_FEW_SEEDS}  # unless tested


def _list_omitted(seeds: np.ndarray, steps: np.ndarray | list) -> str:
    """Format the omitted seeds and steps."""
    parts = [f"seeds {', '.join(map(str, seeds))}"] if len(seeds) else []
    parts += [f"steps {', '.join(map(str, steps))}"] if len(steps) else []
    return "; ".join(parts)
