"""Finite-size scaling: how a quantity grows with a size p, and whether the transition is sharp in the limit.

Laws (`slt_grok.transitions.size_laws`) are fitted to the logarithms of the seeds' values, with normal noise of equal
variance at all sizes. They are compared by AICc and BIC with seeds as observations, and by the error in predicting the
mean log at a held-out size; each is tested for lack of fit against a free mean per size (F test with the
scatter of the seeds as pure error). Intervals: bootstrap over seeds within sizes, percentiles widened for few seeds
(Hesterberg 2015, doi:10.1080/00031305.2015.1089789, section 4.3).

Decision rules, fixed before any study:
- A law is supported if every other law that does not contain it as a special case has an AICc at least 4 larger and
  no smaller prediction error, and its own lack of fit has p >= 0.01; otherwise the question is undecided.
- Sharp: widths fall as p^-c, the interval of c lies above 0 and reaches 0.25, the power law fits, and the interval of
  the floor a in a + b p^-c ends below half of the width at the largest size. Smooth: the interval of c lies
  below 0.25, at which a tenfold p narrows the transition to 56%, and contains 0 or less; or the floor is resolved:
  its interval lies above 0 and AICc is at least 4 smaller with the floor than with the power law. Otherwise
  undecided.
- With fewer than four sizes, or fewer than four seeds beyond one per size, nothing is decided.
"""

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import f as fisher
from scipy.stats import norm
from scipy.stats import t as student

from slt_grok.transitions.size_laws import FLOOR, LAWS, Law, Sizes, fit, predict
from slt_grok.transitions.statuses import Verdict

DECISIVE = 4.0  # difference of AICc
LACK = 0.01
FEWEST_SIZES, FEWEST_EXTRA_SEEDS = 4, 4
SHARP = 0.25  # exponent
CURVE = 60  # number of points of a fitted curve
ANY_SIZES = np.array([2.0, 3.0])  # used only to get the names of a law's parameters
BOOTSTRAP = 2000


def scaling(
    table: pd.DataFrame, value: str, *, size: str = "size", bootstrap: int = BOOTSTRAP, seed: int = 0
) -> xr.Dataset:
    """Fit laws of a quantity against the size, and compare them.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per seed with the columns `value` and `size`, and optionally `seed`.
    value, size : str
        Columns of the quantity and the size.
    bootstrap, seed : int, optional
        Number of bootstrap samples for the intervals, and their seed.

    Returns
    -------
    xarray.Dataset
        Over `law`: `aicc`, `bic`, `aicc_weight`, `prediction_error` (root mean square error of the mean log y at
        held-out sizes), `lack_of_fit` (a p-value); over (law, parameter) `parameter_value`, `_low` and `_high`, 95%
        intervals, NaN if a law has no such parameter; over (law, between) `fitted`, `_low` and `_high` at sizes between
        the smallest and the largest; over `size`'s column name `mean_log` and `seeds`, also over `row` `measured`.
        Attributes: `verdict` (supported or undecided), `law`, `reason` (a sentence), `notes` (a sentence for each
        omitted row and each missing item).

    Raises
    ------
    SltGrokError
        A column is missing, or no row has a positive value.
    """
    sizes = Sizes.from_table(table, value, size)
    laws = _compare(sizes, size, LAWS, bootstrap, seed)
    verdict, law, reason = _verdict(laws)
    return laws.assign_attrs(quantity=value, verdict=verdict, law=law, reason=reason, notes=_notes(sizes))


def sharpness(
    table: pd.DataFrame, value: str = "width", *, size: str = "size", bootstrap: int = BOOTSTRAP, seed: int = 0
) -> xr.Dataset:
    """Decide whether the width of a transition, in log step, goes to zero with the size.

    Parameters
    ----------
    table : pandas.DataFrame
        As in `scaling`.
    value, size : str, optional
        Columns; `value` is a width in log steps.
    bootstrap, seed : int, optional
        As in `scaling`.

    Returns
    -------
    xarray.Dataset
        As in `scaling`, for the laws constant, power and floor. Attributes: `verdict` (sharp, smooth or undecided),
        `exponent`, `exponent_low`, `exponent_high` (c of p^-c), `floor_low`, `floor_high`, `reason`, `notes`.

    Raises
    ------
    SltGrokError
        As in `scaling`.
    """
    sizes = Sizes.from_table(table, value, size)
    compared = {"constant": LAWS["constant"], "power": LAWS["power"], "floor": FLOOR}
    laws = _compare(sizes, size, compared, bootstrap, seed)
    power, floor = laws.sel(law="power"), laws.sel(law="floor", parameter="a")
    exponent, low, high = (-float(power[f"parameter_{e}"].sel(parameter="exponent")) for e in ("value", "high", "low"))
    floor_low, floor_high = float(floor.parameter_low), float(floor.parameter_high)
    narrowest = float(np.exp(laws.mean_log[-1]))
    resolved = floor_low > 0 and float(power.aicc - floor.aicc) >= DECISIVE
    text = f"width ~ p^-c with c = {exponent:.2f} ({low:.2f} to {high:.2f}), floor {floor_low:.2g} to {floor_high:.2g}"
    if missing := _missing(laws):
        verdict, why, text = Verdict.UNDECIDED, missing, "nothing is fitted"
    elif resolved or (low <= 0 and high < SHARP):
        verdict, why = Verdict.SMOOTH, "there is a floor" if resolved else "the width hardly falls with p"
    elif low > 0 and high >= SHARP and floor_high < narrowest / 2 and float(power.lack_of_fit) >= LACK:
        verdict, why = Verdict.SHARP, "the width falls as a power of p, and any floor is below half of it"
    else:
        verdict, why = Verdict.UNDECIDED, "neither a fall to zero nor a floor is resolved"
    numbers = {"exponent": exponent, "exponent_low": low, "exponent_high": high}
    numbers |= {"floor_low": floor_low, "floor_high": floor_high, "notes": _notes(sizes)}
    return laws.assign_attrs(quantity=value, verdict=verdict, reason=f"{why}: {text}", **numbers)


def widths(transitions: xr.Dataset, measure: str) -> xr.DataArray:
    """Width of a measure's transition in log step, log((1 + end) / (1 + onset)), (seed,); NaN without a transition."""
    change = transitions.sel(measure=measure)
    return np.log1p(change.transition_end) - np.log1p(change.transition_onset)


def _compare(sizes: Sizes, size: str, laws: dict[str, Law], bootstrap: int, seed: int) -> xr.Dataset:
    """Fit every law to the same seeds."""
    p, counts, means, total = sizes.p, sizes.counts, sizes.means, int(sizes.counts.sum())
    redrawn = sizes.redrawn(bootstrap, np.random.default_rng(seed)) if sizes.freedom else None
    parameters = list(dict.fromkeys(n for law in laws.values() for n in law.shape(ANY_SIZES)[1]))
    ends = _percentiles(sizes.freedom)
    rows = {name: np.full(len(laws), np.nan) for name in ("aicc", "bic", "prediction_error", "lack_of_fit")}
    values = np.full((3, len(laws), len(parameters)), np.nan)
    between = np.geomspace(p[0], p[-1], CURVE)
    fitted = np.full((3, len(laws), CURVE), np.nan)
    for i, law in enumerate(laws.values()):
        if len(p) < law.parameters:
            continue
        best = fit(law, p, counts, means)
        fitted[0, i] = predict(law, best.parameters, between)
        places = [parameters.index(name) for name in best.parameters]
        values[0, i, places] = list(best.parameters.values())
        if redrawn is not None:
            draws = fit(law, p, counts, redrawn).parameters
            fitted[1:, i] = np.quantile(predict(law, draws, between), ends, axis=0)
            values[1:, i, places] = np.quantile(list(draws.values()), ends, axis=1)
        k = law.parameters + 1
        if sizes.scatter > 0 and total > k + 1:
            deviance = total * np.log((float(best.misfit) + sizes.scatter) / total)
            rows["aicc"][i] = deviance + 2 * k * total / (total - k - 1)
            rows["bic"][i] = deviance + k * np.log(total)
        rows["lack_of_fit"][i] = _lack(float(best.misfit), len(p) - law.parameters, sizes)
        rows["prediction_error"][i] = _prediction_error(law, sizes)
    weight = rows["aicc"]
    if np.isfinite(weight).any():
        weight = np.exp(-(weight - np.nanmin(weight)) / 2)
        weight = weight / np.nansum(weight)
    return xr.Dataset(
        {
            **{name: ("law", column) for name, column in (rows | {"aicc_weight": weight}).items()},
            **{f"parameter_{end}": (("law", "parameter"), values[i]) for i, end in enumerate(("value", "low", "high"))},
            **{f"fitted{end}": (("law", "between"), fitted[i]) for i, end in enumerate(("", "_low", "_high"))},
            "measured": ((size, "row"), pd.DataFrame([np.exp(log) for log in sizes.logs]).to_numpy(float)),
            "mean_log": (size, means),
            "seeds": (size, counts),
        },
        {
            "law": list(laws),
            "formula": ("law", [law.formula for law in laws.values()]),
            "parameter": parameters,
            size: p,
            "between": between,
        },
    )


def _percentiles(freedom: int) -> list[float]:
    """Percentiles of the central 95%, widened by the ratio of Student's t to the normal distribution."""
    tail = float(norm.cdf(student.ppf(0.025, freedom)))
    return [tail, 1 - tail]


def _lack(misfit: float, freedom: int, sizes: Sizes) -> float:
    """Compute the p-value of the means' misfit against the scatter of the seeds."""
    if freedom < 1 or not sizes.freedom or not sizes.scatter:
        return np.nan
    return float(fisher.sf((misfit / freedom) / (sizes.scatter / sizes.freedom), freedom, sizes.freedom))


def _prediction_error(law: Law, sizes: Sizes) -> float:
    """Root mean square error of the mean log at each size, predicted from the others."""
    if len(sizes.p) <= law.parameters:
        return np.nan
    errors = []
    for i, mean in enumerate(sizes.means):
        rest = sizes.without(i)
        best = fit(law, rest.p, rest.counts, rest.means)
        value = float(predict(law, best.parameters, sizes.p[i : i + 1])[0])
        errors.append(mean - np.log(value) if value > 0 else np.inf)
    return float(np.sqrt(np.mean(np.square(errors))))


def _missing(laws: xr.Dataset) -> str:
    """Describe what there is too little of; empty if nothing."""
    sizes, extra = laws.mean_log.size, int((laws.seeds - 1).sum())
    if sizes < FEWEST_SIZES:
        return f"{FEWEST_SIZES} sizes are needed, there are {sizes}"
    if extra < FEWEST_EXTRA_SEEDS:
        return f"{FEWEST_EXTRA_SEEDS} seeds beyond one per size are needed, there are {extra}"
    if not np.isfinite(laws.aicc).any():
        return "the seeds of a size all have the same value, so laws cannot be compared"
    return ""


def _verdict(laws: xr.Dataset) -> tuple[str, str, str]:
    """Verdict, law and sentence."""
    if missing := _missing(laws):
        return Verdict.UNDECIDED, "", missing
    table = laws[["aicc", "prediction_error", "lack_of_fit"]].reset_coords(drop=True).to_dataframe()
    name = str(table.index[table.aicc.argmin()])
    best = table.loc[name]
    text = f"{name} ({LAWS[name].formula}) has the smallest AICc"
    if best.lack_of_fit < LACK:
        return Verdict.UNDECIDED, name, f"{text}, but it does not fit: p = {best.lack_of_fit:.2g}"
    near = []
    for law, rival in table.drop(name).iterrows():
        behind, ahead = rival.aicc - best.aicc, rival.prediction_error < best.prediction_error
        if name not in LAWS[str(law)].special_cases and (behind < DECISIVE or ahead):
            near.append(f"{law} (AICc {behind:+.1f}{', predicts better' if ahead else ''})")
    if near:
        return Verdict.UNDECIDED, name, f"{text}, but not decisively against {', '.join(near)}"
    return Verdict.SUPPORTED, name, f"{text} by at least {DECISIVE:g}, and none of the other laws predicts better"


def _notes(sizes: Sizes) -> list[str]:
    single = [f"{p:g}" for p, m in zip(sizes.p, sizes.counts, strict=True) if m == 1]
    notes = [f"omitted: {row}" for row in sizes.omitted]
    if single and sizes.freedom:
        notes.append(f"one seed at size {', '.join(single)}: its scatter is taken from the other sizes")
    if not sizes.freedom:
        notes.append("no size has two seeds, so there are no intervals and no AICc")
    return notes
