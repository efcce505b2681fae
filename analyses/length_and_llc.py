"""Whether description length drops when the LLC drops: both in bits, their changes within a seed, and lags over seeds.

The LLC enters as llc log2(n) with n train pairs, that is, lambda log n nats in bits (Watanabe 2013). The lengths are
those of the shortest program and of the shorter compression of the network itself (`slt_grok.program.measure`), for
each property to preserve. Only checkpoints in both datasets are used.

The middle of a drop is the point where half of the bits between the start level and the end level are gone, on a linear
scale for all curves, by the rules of `slt_grok.change`. Lengths only count from the LLC's maximum on, since
the answers of an untrained network have a long code. With at least four seeds, the lag of each middle behind the LLC's
is tested in log(1 + step) (`slt_grok.transitions.lag_test`) with draws of the fitted shape. The rank correlation is
Spearman's, of the changes between consecutive checkpoints from the LLC's maximum on: the values of any two falling
curves are correlated, but their changes need not be.
"""

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import spearmanr

from slt_grok.change import find_change, oriented, start_of_change
from slt_grok.errors import SltGrokError
from slt_grok.llc.variables import of_the_network
from slt_grok.rules import SHRINKING
from slt_grok.transitions.estimators import FEWEST, fitted
from slt_grok.transitions.lag_test import FEWEST_SEEDS, lag_of
from slt_grok.transitions.measures import with_seed

LLC = "llc"
DRAWS = 200
AT = ("peak", "middle", "end")  # of the LLC
EACH = ("measure", "seed")


def lengths(program: xr.Dataset, llc: xr.Dataset, samples: int) -> xr.Dataset:
    """Curves in bits at the common checkpoints: `bits` over (measure, step, seed).

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
        Measures: `llc`, and `program_KEEPS` and `network_KEEPS` for each property to preserve. `standard_error` over
        (step, seed): that of the LLC.

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
    curves = {LLC: llc.llc.where(of_the_network(llc)) * np.log2(samples)}
    error = llc.llc_se if "llc_se" in llc else xr.zeros_like(llc.llc)
    for keeps in program.keeps.values.tolist():
        kept = program.sel(keeps=keeps)
        curves[f"program_{keeps}"] = kept.program_bits.min("mixture")
        curves[f"network_{keeps}"] = kept.network_bits.min("compression")
    bits = xr.concat([c.reset_coords(drop=True) for c in curves.values()], pd.Index(list(curves), name="measure"))
    error = error.reset_coords(drop=True) * np.log2(samples)
    return xr.Dataset({"bits": bits, "standard_error": error}).transpose("measure", "step", "seed")


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
        `lag_low`, `lag_high` (95%), `p_value`; `seeds`, the number of seeds with both middles. Attribute `samples`.

    Raises
    ------
    SltGrokError
        As in `lengths`, or the LLC is nowhere finite.
    """
    curves = lengths(program, llc, samples)
    measures, seeds, steps = curves.measure.values.tolist(), curves.seed.values, curves.step.values
    bits, errors = curves.bits.values, curves.standard_error.values
    if not np.isfinite(bits[0]).any(0).all():
        raise SltGrokError("llc: expected a finite estimate for every seed at some checkpoint")
    shape = (len(measures), len(seeds))
    middle, draws = np.full((3, *shape), np.nan), np.full((*shape, DRAWS), np.nan)
    correlation, checkpoint = np.full((2, *shape), np.nan), np.zeros((len(AT), len(seeds)), int)
    for j, network in enumerate(seeds.tolist()):
        peak = int(np.nanargmax(bits[0, :, j]))
        after = bits[:, peak:, j]
        half = (after[0, 0] + after[0, np.isfinite(after[0])][-1]) / 2
        checkpoint[:, j] = peak, peak + (after[0] <= half).argmax(), len(steps) - 1
        for i, measure in enumerate(measures):
            stream = np.random.SeedSequence([seed, i, network])
            start, error = (0, errors[:, j]) if measure == LLC else (peak, None)
            middle[:, i, j], draws[i, j] = _middle(steps[start:], bits[i, start:, j], error, stream)
            changes = np.diff(after[[i, 0]], axis=1)
            changes = changes[:, np.isfinite(changes).all(0)]
            if measure != LLC and changes.shape[1] >= FEWEST and np.ptp(changes, axis=1).all():
                correlation[:, i, j] = spearmanr(*changes)
    return xr.Dataset(
        {
            "bits": (("measure", "at", "seed"), bits[:, checkpoint, np.arange(len(seeds))]),
            "checkpoint": (("at", "seed"), steps[checkpoint]),
            **{f"middle{suffix}": (EACH, middle[k]) for k, suffix in enumerate(("", "_low", "_high"))},
            "rank_correlation": (EACH, correlation[0]),
            "p_value_correlation": (EACH, correlation[1]),
            **{name: ("measure", values) for name, values in _lags(draws).items()},
        },
        {"measure": measures, "seed": seeds, "at": list(AT)},
        {"samples": samples},
    )


def _middle(
    steps: np.ndarray, values: np.ndarray, error: np.ndarray | None, stream: np.random.SeedSequence
) -> tuple[np.ndarray, np.ndarray]:
    """Step of the middle with both ends, (3,), and its draws in log(1 + step); NaN if unknown."""
    crossing_stream, shape_stream = stream.spawn(2)
    crossing = find_change(steps, values, SHRINKING, error, seed=crossing_stream)["middle"]
    x, y, noise = oriented(steps, values, SHRINKING, error)
    start = start_of_change(y, noise, SHRINKING) if len(y) else 0
    drawn = None
    if len(x) - start >= FEWEST:
        noise = None if noise is None else noise[start:]
        drawn = fitted(x[start:], y[start:], noise, SHRINKING, DRAWS, shape_stream)
    return np.array(crossing), np.full(DRAWS, np.nan) if drawn is None else drawn[1]


def _lags(draws: np.ndarray) -> dict[str, np.ndarray]:
    """Lag of every measure behind the first one over seeds, from draws (measure, seed, draw)."""
    numbers = np.full((4, len(draws)), np.nan)
    known = np.isfinite(draws + draws[0]).all(2)
    for i in range(1, len(draws)):
        if known[i].sum() >= FEWEST_SEEDS:
            numbers[:, i] = lag_of(draws[i, known[i]], draws[0, known[i]])[:4]
    return dict(zip(("lag", "lag_low", "lag_high", "p_value"), numbers, strict=True)) | {"seeds": known.sum(1)}
