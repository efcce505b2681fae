"""Whether description length drops when the LLC drops: both in bits, their changes within a seed, and lags over seeds.

The LLC enters as llc log2(n) with n train pairs, that is, lambda log n nats in bits (Watanabe 2013). The lengths are
those of the shortest program and of the shorter compression of the network itself (`slt_grok.program.measure`), for
each property to preserve. Only checkpoints in both datasets are used.

The middle of a drop is the point where half of the bits between the start level and the end level are gone, on a linear
scale for all curves, by the rules of `slt_grok.transitions.change`. Lengths only count from the LLC's maximum on, since
the answers of an untrained network have a long code. With at least four seeds, the lag of each middle behind the LLC's
is tested in log(1 + step) (`slt_grok.transitions.lag_test`) with draws of the fitted shape. The rank correlation is
Spearman's, of the changes between consecutive checkpoints from the LLC's maximum on: the values of any two falling
curves are correlated, but their changes need not be.
"""

import numpy as np
import xarray as xr
from scipy.stats import spearmanr

from slt_grok.errors import SltGrokError
from slt_grok.measurement import Variable
from slt_grok.transitions.change import find_change, oriented, start_of_change
from slt_grok.transitions.estimators import FEWEST, fitted
from slt_grok.transitions.lag_test import FEWEST_SEEDS, lag_of
from slt_grok.transitions.measures import SHRINKING, declared, not_diverged, with_interval, with_seed

LLC = "llc"
DRAWS = 200
AT = ("peak", "middle", "end")  # of the LLC
EACH, OVER, STEPS = ("measure", "seed"), ("measure",), "training steps"
RULE = "by the rules in the docstring of slt_grok.transitions.description_length"
VARIABLES = {
    "bits": Variable(("measure", "at", "seed"), "description length", RULE, units="bits"),
    "checkpoint": Variable(("at", "seed"), "checkpoint", "peak, middle and end of the LLC's drop", units=STEPS),
    **with_interval("middle", Variable(EACH, "middle of the drop", RULE, units=STEPS), "interval"),
    "rank_correlation": Variable(EACH, "rank correlation of the changes with those of the LLC", "Spearman's"),
    "p_value_correlation": Variable(EACH, "p-value of no correlation", "from Spearman's correlation"),
    **with_interval("lag", Variable(OVER, "lag of the middle behind the LLC's", RULE, units="log training steps")),
    "p_value": Variable(OVER, "p-value of no lag", RULE),
    "seeds": Variable(OVER, "seeds with both middles", "count"),
}


def lengths(program: xr.Dataset, llc: xr.Dataset, samples: int) -> xr.Dataset:
    """Curves in bits at the common checkpoints: `bits` and `standard_error` over (measure, step, seed).

    Parameters
    ----------
    program : xarray.Dataset
        From `slt_grok.program.measure`, over (step,) or (step, seed).
    llc : xarray.Dataset
        `llc`, and optionally `llc_se` and `llc_status`, over the same dimensions. Diverged estimates are omitted.
    samples : int
        Number n of train pairs.

    Returns
    -------
    xarray.Dataset
        Measures: `llc`, and `program_KEEPS` and `network_KEEPS` for each property to preserve, with standard error 0.

    Raises
    ------
    SltGrokError
        A variable is missing, `samples` is below 2, or the datasets share no checkpoint or seed.
    """
    for label, dataset, name in (
        ("program", program, "program_bits"),
        ("program", program, "network_bits"),
        ("llc", llc, "llc"),
    ):
        if name not in dataset:
            raise SltGrokError(f"{label}: expected a variable {name}, got {', '.join(map(str, dataset.data_vars))}")
    if samples < 2:
        raise SltGrokError(f"samples: expected at least 2 train pairs, got {samples}")
    program, llc = with_seed(program, "program"), with_seed(llc, "llc")
    program, llc = xr.align(program, llc, join="inner", exclude=set(program.dims) - {"step", "seed"} | {"draw"})
    if not program.sizes["step"] or not program.sizes["seed"]:
        raise SltGrokError("program, llc: expected common checkpoints and seeds, found none")
    value = llc.llc.where(not_diverged(llc))
    error = llc.llc_se if "llc_se" in llc else xr.zeros_like(value)
    curves = {LLC: value * np.log2(samples)}
    for keeps in program.keeps.values.tolist():
        of = program.sel(keeps=keeps)
        curves[f"program_{keeps}"] = of.program_bits.min("mixture")
        curves[f"network_{keeps}"] = of.network_bits.min("compression")
    measure = xr.DataArray(list(curves), dims="measure", name="measure")
    bits = xr.concat([c.reset_coords(drop=True) for c in curves.values()], dim=measure)
    own = (error * np.log2(samples)).reset_coords(drop=True)
    return xr.Dataset({
        "bits": bits.transpose("measure", "step", "seed").assign_attrs(long_name="description length", units="bits"),
        "standard_error": (own.expand_dims(measure=measure) * (measure == LLC)).transpose("measure", "step", "seed"),
    })  # fmt: skip


def description_length(program: xr.Dataset, llc: xr.Dataset, samples: int, seed: int = 0) -> xr.Dataset:
    """Lengths at the LLC's maximum, midpoint and end, the middles of all drops, and their lags.

    Parameters
    ----------
    program, llc, samples : xarray.Dataset, xarray.Dataset, int
        As in `lengths`.
    seed : int, optional
        Seed of the draws.

    Returns
    -------
    xarray.Dataset
        Over (measure, seed): `bits` also over `at`; `middle`, `middle_low` and `middle_high` in training steps (NaN
        without a drop by the rule); `rank_correlation` of the changes with the LLC's and `p_value_correlation`. Over
        (at, seed): `checkpoint`, the steps used: of the largest LLC, the first one with at most half of the drop left,
        and the last. Over measure, NaN with fewer than 4 seeds: `lag` of the middle behind the LLC's in log step,
        `lag_low`, `lag_high` (95%), `p_value`; `seeds`, the number of seeds with both middles.

    Raises
    ------
    SltGrokError
        As in `lengths`, or the LLC is nowhere finite.
    """
    found = lengths(program, llc, samples)
    measures, seeds, steps = found.measure.values.tolist(), found.seed.values, found.step.values
    if not np.isfinite(found.bits.sel(measure=LLC)).any("step").all():
        raise SltGrokError("llc: expected a finite estimate for every seed at some checkpoint")
    shape = (len(measures), len(seeds))
    middle, draws = np.full((*shape, 3), np.nan), np.full((*shape, DRAWS), np.nan)
    correlation, checkpoint = np.full((*shape, 2), np.nan), np.zeros((len(AT), len(seeds)), int)
    bits = found.bits.values
    for j, network in enumerate(seeds.tolist()):
        of_llc = bits[0, :, j]
        peak = int(np.nanargmax(of_llc))
        half = (of_llc[peak] + of_llc[np.isfinite(of_llc)][-1]) / 2
        down = np.flatnonzero(of_llc[peak:] <= half)
        checkpoint[:, j] = peak, peak + int(down[0]) if len(down) else len(steps) - 1, len(steps) - 1
        for i, measure in enumerate(measures):
            stream = np.random.SeedSequence([seed, i, network])
            if measure == LLC:
                middle[i, j], draws[i, j] = _middle(steps, of_llc, found.standard_error.values[0, :, j], stream)
            else:
                middle[i, j], draws[i, j] = _middle(steps[peak:], bits[i, peak:, j], None, stream)
            if i and len(steps) - peak > FEWEST:
                one, other = np.diff(bits[i, peak:, j]), np.diff(of_llc[peak:])
                known = np.isfinite(one) & np.isfinite(other)
                if known.sum() >= FEWEST and np.ptp(one[known]) > 0 and np.ptp(other[known]) > 0:
                    correlation[i, j] = tuple(spearmanr(one[known], other[known]))
    values = {
        "bits": bits[:, checkpoint, np.arange(len(seeds))],
        "checkpoint": steps[checkpoint],
        **{f"middle{suffix}": middle[..., k] for k, suffix in enumerate(("", "_low", "_high"))},
        "rank_correlation": correlation[..., 0],
        "p_value_correlation": correlation[..., 1],
        **_lags(draws),
    }
    coords = {"measure": measures, "seed": seeds, "at": list(AT)}
    return declared(VARIABLES, values, coords, samples=samples, draws=DRAWS, draws_seed=seed)


def _middle(
    steps: np.ndarray, values: np.ndarray, error: np.ndarray | None, stream: np.random.SeedSequence
) -> tuple[np.ndarray, np.ndarray]:
    """Step of the middle with both ends, (3,), and its draws in log(1 + step); NaN if unknown."""
    of_crossing, of_shape = stream.spawn(2)
    crossing = find_change(steps, values, SHRINKING, error, seed=of_crossing)["middle"]
    x, y, noise = oriented(steps, values, SHRINKING, error)
    first = start_of_change(y, noise, SHRINKING) if len(y) else 0
    drawn = None
    if len(x) - first >= FEWEST:
        drawn = fitted(x[first:], y[first:], None if noise is None else noise[first:], SHRINKING, DRAWS, of_shape)
    return np.array(crossing), np.full(DRAWS, np.nan) if drawn is None else drawn[1]


def _lags(draws: np.ndarray) -> dict[str, np.ndarray]:
    """Lag of every measure behind the first one over seeds, from draws (measure, seed, draw)."""
    numbers, seeds = np.full((4, len(draws)), np.nan), np.zeros(len(draws), int)
    for i, own in enumerate(draws):
        known = np.isfinite(own).all(1) & np.isfinite(draws[0]).all(1)
        seeds[i] = known.sum()
        if i and seeds[i] >= FEWEST_SEEDS:
            numbers[:, i] = lag_of(own[known], draws[0][known])[:4]
    return dict(zip(("lag", "lag_low", "lag_high", "p_value"), numbers, strict=True)) | {"seeds": seeds}
