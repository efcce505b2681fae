"""Whether the circuit predicts the LLC better than the weight norm does, in held-out seeds.

Each seed is held out in turn. A ridge regression on the others predicts its LLC at every checkpoint from measures of
the same checkpoint, each on its rule's scale. There are four sets of predictors: `step` (the mean LLC of the other
seeds at that step: the shared trend), `weight_norm`, `circuits`, and `both`. The penalty is chosen by leave-one-out
prediction among the other seeds.

Error: root mean square over the checkpoints of the held-out seed, in units of the LLC. Errors of held-out seeds are not
independent, since their training seeds overlap: the standard error of a mean difference is s sqrt(1/S + 1/(S - 1))
(Nadeau and Bengio 2003, with one test seed and S - 1 training seeds), with Student's quantile for S - 1 degrees of
freedom.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import xarray as xr
from scipy.stats import t

from slt_grok.errors import SltGrokError
from slt_grok.format import capital
from slt_grok.measurement import Data, Derived, Drawing, Table, Variable
from slt_grok.transitions.association import NORMS, enough_seeds
from slt_grok.transitions.lag_test import FEWEST_SEEDS
from slt_grok.transitions.measures import Curves, declared, interval_text, with_interval

PREDICTORS = ("step", "weight_norm", "circuits", "both")
CIRCUITS = ("restricted_loss_sum", "excluded_loss", "neuron_share", "gini_embedding", "gini_neuron_logit_map")
PENALTIES = np.geomspace(1e-3, 1e3, 7)  # times the number of rows
UNITS = "units of the LLC"
EACH, OVER = ("predictors", "seed"), ("predictors",)
VARIABLES = {
    "llc": Variable(("step", "seed"), "LLC", "at the checkpoints and seeds where all variables are available"),
    "prediction": Variable(("predictors", "step", "seed"), "predicted LLC", "by ridge regression on the other seeds"),
    "error": Variable(EACH, "error in the held-out seed", "root mean square over checkpoints", units=UNITS),
    "mean_error": Variable(OVER, "mean error over held-out seeds", "mean of error", units=UNITS),
    "drop_left": Variable(EACH, "unpredicted fraction of the LLC's drop", "1 - predicted change / observed change"),
    **with_interval("mean_drop_left", Variable(OVER, "mean unpredicted fraction of the drop", "mean of drop_left")),
    **with_interval(
        "error_difference", Variable(OVER, "error minus that of weight norm", "mean over held-out seeds", units=UNITS)
    ),
}


class Prediction(Derived):
    """Prediction of the LLC in held-out seeds; needs at least four seeds."""

    name = "prediction"
    title = "Prediction of the LLC"
    position = 74
    variables: ClassVar[Mapping[str, Variable]] = VARIABLES  # pyright: ignore[reportIncompatibleMethodOverride]

    def derive(self, data: Data, config: Any) -> xr.Dataset | None:
        """Compute the predictions, or None if the datasets do not suffice."""
        try:
            return predict_llc(data) if enough_seeds(data) else None
        except SltGrokError:
            return None

    def figures(self) -> Sequence[Drawing]:
        """Draw the errors."""
        from slt_grok import plots

        caption = "Error of the predicted LLC at the checkpoints of a held-out seed, by set of predictors."
        return [Drawing("prediction", plots.prediction, caption, by_seed=False)]

    def columns(self, dataset: xr.Dataset) -> dict[str, Any]:
        """Return no columns, since predictions involve all seeds."""
        return {}

    def tables(self, data: Data) -> Sequence[Table]:
        """Tabulate the errors and the unpredicted fraction of the drop."""
        dataset = data[self.name]
        rows = [
            [
                capital(row.predictors.item().replace("_", " ")),
                f"{row.mean_error.item():.3g}",
                interval_text(row, "error_difference"),
                interval_text(row, "mean_drop_left"),
            ]
            for row in (dataset.sel(predictors=name) for name in PREDICTORS)
        ]
        header = [
            "Predictors",
            "Mean error",
            "Error minus that of weight norm (95%)",
            "Unpredicted fraction of the drop (95%)",
        ]
        return [Table("The LLC in held-out seeds", header, rows, folded=True)]


def ridge(features: np.ndarray, target: np.ndarray, queries: np.ndarray, penalty: float) -> np.ndarray:
    """Predict (m,) at `queries` (m, c) by ridge regression of `target` (n,) on standardized `features` (n, c)."""
    center, scale = features.mean(0), features.std(0)
    scale = np.where(scale > 0, scale, 1.0)
    rows = (features - center) / scale
    normal = rows.T @ rows + penalty * len(rows) * np.eye(rows.shape[1])
    return target.mean() + (queries - center) / scale @ np.linalg.solve(normal, rows.T @ (target - target.mean()))


def held_out(target: np.ndarray, predictors: np.ndarray) -> np.ndarray:
    """Predict a target (seed, step) from predictors (seed, step, c), each seed from the others."""

    def predict(seeds: np.ndarray, held: int, penalty: float) -> np.ndarray:
        rows = predictors[seeds].reshape(-1, predictors.shape[2])
        return ridge(rows, target[seeds].ravel(), predictors[held], penalty)

    def error(seeds: np.ndarray, penalty: float) -> float:
        return sum(((predict(seeds[seeds != s], s, penalty) - target[s]) ** 2).mean() for s in seeds)

    predictions = []
    for seed in range(len(target)):
        others = np.delete(np.arange(len(target)), seed)
        errors = [error(others, penalty) for penalty in PENALTIES]
        predictions.append(predict(others, seed, PENALTIES[np.argmin(errors)]))
    return np.stack(predictions)


def compare(first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    """Mean of first - second over held-out seeds (S,), and its 95% interval."""
    difference = first - second
    count, mean = len(difference), difference.mean()
    reach = t.ppf(0.975, count - 1) * difference.std(ddof=1) * np.sqrt(1 / count + 1 / (count - 1))
    return float(mean), float(mean - reach), float(mean + reach)


def drop_remaining(target: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Fraction of each seed's fall from its largest value to its last (seed, step) that the predictions miss.

    NaN for a seed whose largest value is its last.
    """
    rows, peak = np.arange(len(target)), target.argmax(1)
    observed = target[rows, peak] - target[:, -1]
    change = predicted[:, rows, peak] - predicted[:, :, -1]
    return 1 - change / np.where(observed > 0, observed, np.nan)


def predict_llc(data: Data) -> xr.Dataset:
    """Predict the LLC of held-out seeds from circuit measures and from the weight norm, and compare the errors.

    Parameters
    ----------
    data : mapping of str to xarray.Dataset
        A run's datasets, as in `measure`, with LLC and circuits. The weight norm is that of the landscape, if
        available, or else the sum of squares.

    Returns
    -------
    xarray.Dataset
        `llc` (step, seed) and `prediction` (predictors, step, seed); `error` (predictors, seed), root mean square; over
        predictors, `mean_error` and `error_difference`, its mean difference from that of weight norm (below 0: better),
        with `error_difference_low` and `_high` (95%). `drop_left` (predictors, seed): the fraction of the held-out
        seed's fall from its largest LLC to its last that is not predicted, 1 - (predicted change) / (observed change),
        0 if all of it is and 1 if none; `mean_drop_left`, `_low` and `_high` as above, over the seeds
        whose LLC falls, NaN with fewer than 4 of them. Circuit measures that are missing in some seed are not used (the
        attribute `circuit_measures` lists those used), nor checkpoints that lack a value in some seed
        (`steps_left_out`).

    Raises
    ------
    SltGrokError
        Fewer than 4 seeds have an LLC, there is no weight norm, or no checkpoint has all variables.
    """
    curves = Curves(data)
    scaled = {name: curves.scaled(name) for name in curves.names if name in ("llc", *NORMS, *CIRCUITS)}
    known = scaled["llc"].notnull().any("step").values
    if known.sum() < FEWEST_SEEDS:
        raise SltGrokError(f"llc: expected at least {FEWEST_SEEDS} seeds to hold one out, got {int(known.sum())}")
    norm = next((name for name in NORMS if name in scaled), None)
    if norm is None:
        raise SltGrokError(f"landscape: expected weight_norm, or circuits with {NORMS[1]}, got neither")
    scaled = {name: array.isel(seed=known) for name, array in scaled.items()}
    used = [name for name in CIRCUITS if name in scaled and scaled[name].notnull().any("step").all()]
    arrays = xr.align(*(scaled[name] for name in ("llc", norm, *used)), join="inner")
    values = np.stack([array.values for array in arrays])  # (variable, step, seed)
    complete = np.isfinite(values).all((0, 2))
    if complete.sum() < 2 or not used:
        raise SltGrokError(
            "circuits: expected checkpoints with the LLC, weight norm and circuit of every seed, got none"
        )
    target, *columns = values[:, complete].transpose(0, 2, 1)
    columns = np.stack(columns, axis=-1)
    mean_of_others = (target.sum(0) - target) / (len(target) - 1)
    predictors = (columns[..., :1], columns[..., 1:], columns)
    predicted = np.stack([mean_of_others, *(held_out(target, selected) for selected in predictors)])
    error, left = np.sqrt(((predicted - target) ** 2).mean(2)), drop_remaining(target, predicted)
    falls = np.isfinite(left).all(0)
    intervals: dict[str, Sequence[tuple[float, ...]]] = {"error_difference": [compare(row, error[1]) for row in error]}
    if falls.sum() >= FEWEST_SEEDS:
        intervals["mean_drop_left"] = [compare(row[falls], np.zeros(falls.sum())) for row in left]
    else:
        intervals["mean_drop_left"] = [(np.nan,) * 3] * len(left)
    results = {
        "llc": target.T,
        "prediction": predicted.swapaxes(1, 2),
        "error": error,
        "mean_error": error.mean(1),
        "drop_left": left,
    }
    for name, rows in intervals.items():
        results |= {name + end: column for end, column in zip(("", "_low", "_high"), np.transpose(rows), strict=True)}
    steps, seeds = arrays[0].step.values, curves.seeds
    coords = {"predictors": list(PREDICTORS), "step": steps[complete], "seed": seeds[known]}
    return declared(
        VARIABLES,
        results,
        coords,
        circuit_measures=", ".join(used),
        weight_norm=norm,
        steps_left_out=", ".join(map(str, steps[~complete])),
        seeds_left_out=", ".join(map(str, seeds[~known])),
    )
