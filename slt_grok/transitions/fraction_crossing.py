"""The train fraction at which generalization takes over: predicted from free energies, observed in a sweep, compared.

Predicted, `measured`: where the mean difference of the free energies, interpolated linearly in log n between fractions
that have both phases, becomes positive for good. `fitted`: the intersection of two power laws F = a n^b, one for each
phase through the means at all its fractions; only this one reaches fractions where no seed generalizes, and it is then
marked as extrapolated. Intervals are the central 95% of posterior draws (Jeffreys' prior): of the means for `measured`,
assuming the same relative spread over seeds at all fractions; of both laws' coefficients for `fitted`, with the scatter
of the seeds around them. The two phases of a seed are taken to be independent.

Observed: the fraction at which half of the seeds generalize, by logistic regression on log fraction, P = f((log r - log
r50) / s), where each seed at each fraction is one independent trial. The interval is from the profile likelihood (3.84
/ 2 nats below its maximum), with s between a thousandth of and four times the range of log fraction: it stays finite
for separated outcomes, which are common with few seeds, and is open if all fractions are on one side.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from scipy.stats import binomtest, chi2

from slt_grok.change import COVERAGE
from slt_grok.errors import SltGrokError
from slt_grok.transitions.free_energy import PHASES
from slt_grok.transitions.statuses import Phase, Verdict

DRAWS = 2000
GRID = (301, 40)  # numbers of middles and widths
CUTOFF = float(chi2.ppf(0.95, 1) / 2)
PRECISE = 2.0  # largest ratio of an interval's ends that can support a prediction


class Crossing(NamedTuple):
    """A train fraction with its 95% interval and an explanatory note.

    Parameters
    ----------
    fraction : float
        The train fraction; NaN if there is no crossing.
    low, high : float
        Ends of the interval; 0 and infinity if open.
    note : str
        How it was obtained, or why it is unknown.
    """

    fraction: float
    low: float
    high: float
    note: str


class Comparison(NamedTuple):
    """A verdict and its reason.

    Parameters
    ----------
    verdict : str
        `supported`, `refuted` or `undecided`.
    reason : str
        A sentence.
    """

    verdict: str
    reason: str


def predicted_measured(energies: xr.Dataset, *, draws: int = DRAWS, seed: int = 0) -> Crossing:
    """Predict the crossing by interpolation between the fractions that have both phases.

    Parameters
    ----------
    energies : xarray.Dataset
        From `free_energy`, over at least one train fraction.
    draws, seed : int, optional
        Number of draws of the mean free energies, and their seed.
    """
    known = energies.where(energies.seeds_with_both > 0, drop=True)
    fractions = known.train_fraction.values
    if len(fractions) < 2:
        return _unknown(f"both phases are measured at {len(fractions)} train fractions, at least 2 are needed")
    x = np.log(known.n.values.astype(float))
    generator = np.random.default_rng(seed)
    first, second = (_drawn_means(known.sel(phase=phase), draws, generator) for phase in PHASES)
    turn = _turn(x, known.mean_difference.values)
    note = "where the measured difference changes sign"
    if turn == -np.inf:
        note = (
            f"generalizing has the lower free energy from the smallest fraction with both phases, {fractions[0]:g}, on"
        )
    elif turn == np.inf:
        note = f"memorizing has the lower free energy up to the largest fraction with both phases, {fractions[-1]:g}"
    return _crossing(known, turn, np.array([_turn(x, row) for row in first - second]), note)


def predicted_fitted(energies: xr.Dataset, *, draws: int = DRAWS, seed: int = 0) -> Crossing:
    """Predict the crossing as the intersection of two power laws of n, one per phase.

    Parameters
    ----------
    energies : xarray.Dataset
        From `free_energy`.
    draws, seed : int, optional
        Number of draws of the laws' coefficients, and their seed.
    """
    generator, lines = np.random.default_rng(seed), []
    for phase in PHASES:
        energy = energies.free_energy.sel(phase=phase).transpose("train_fraction", "seed").values
        places, _ = np.nonzero(np.isfinite(energy))
        if (count := len(np.unique(places))) < 2:
            return _unknown(f"the {phase} phase is measured at {count} train fractions, a power law needs at least 2")
        values = energy[np.isfinite(energy)]
        if (values <= 0).any():
            return _unknown(f"a free energy of the {phase} phase is not above 0")
        lines.append(_power_law(np.log(energies.n.values[places].astype(float)), np.log(values), draws, generator))
    meeting, drawn = (_meet(first, second) for first, second in zip(*lines, strict=True))
    both = energies.train_fraction.values[energies.seeds_with_both.values > 0]
    value = np.exp(float(meeting)) / _n_per_fraction(energies)
    if np.isinf(meeting):
        note = "memorizing does not grow faster with n than generalizing: the power laws do not meet in that order"
    elif len(both) and both.min() <= value <= both.max():
        note = "power laws, between fractions that have both phases"
    else:
        note = "power laws, extrapolated beyond the fractions that have both phases"
    if np.isnan(drawn).any():
        drawn, note = np.array([-np.inf, np.inf]), f"{note}; each law has only two points, so the error is unknown"
    return _crossing(energies, float(meeting), drawn, note)


def observed_crossing(fractions: np.ndarray, generalized: np.ndarray) -> Crossing:
    """Estimate the fraction at which half of the seeds generalize.

    Parameters
    ----------
    fractions, generalized : ndarray
        Train fraction (positive) and outcome (0 or 1) of each trained seed, (trial,).

    Raises
    ------
    SltGrokError
        There is no trial, or a fraction is not positive.
    """
    fractions, generalized = np.asarray(fractions, float), np.asarray(generalized, float)
    if not len(fractions) or not (fractions > 0).all():
        raise SltGrokError(f"train fractions: expected at least one, all above 0, got {fractions.tolist()}")
    levels, where = np.unique(np.log(fractions), return_inverse=True)
    trials, wins = np.bincount(where), np.bincount(where, weights=generalized)
    if len(levels) < 2:
        return _unknown("one train fraction: a sweep needs at least 2")
    span = levels[-1] - levels[0]
    middles = np.linspace(levels[0] - span / 2, levels[-1] + span / 2, GRID[0])
    widths = np.geomspace(span / 1000, 4 * span, GRID[1])
    z = (levels - middles[:, None, None]) / widths[None, :, None]
    likelihood = -(wins * np.logaddexp(0, -z) + (trials - wins) * np.logaddexp(0, z)).sum(-1)
    profile = likelihood.max(1)
    inside = np.flatnonzero(profile >= profile.max() - CUTOFF)
    best = middles[np.isclose(profile, profile.max(), rtol=0, atol=1e-6)].mean()
    # include the neighbors of the grid points inside, so that no part of the interval is lost
    low = 0.0 if inside[0] == 0 else float(np.exp(middles[inside[0] - 1]))
    high = np.inf if inside[-1] == GRID[0] - 1 else float(np.exp(middles[inside[-1] + 1]))
    share = wins / trials
    if wins.sum() in (0, trials.sum()):
        what = "every seed generalizes" if wins.sum() else "no seed generalizes"
        return _unknown(f"{what} at every train fraction of the sweep", low, high)
    separated = set(share) == {0.0, 1.0} and (np.diff(share) >= 0).all()
    note = f"{int(trials.sum())} seeds at {len(levels)} train fractions"
    if separated:
        note += "; outcomes are separated, so the crossing is not resolved between two fractions"
    return Crossing(float(np.exp(best)), low, high, note)


def compare(predicted: Crossing, observed: Crossing) -> Comparison:
    """Decide whether the free energy predicts the observed crossing.

    Refuted if the 95% intervals are disjoint; supported if they overlap, both crossings are known and the ends of each
    interval differ by at most a factor of 2; undecided otherwise.
    """
    both = {"predicted": predicted, "seen": observed}
    text = ", ".join(f"{name} {c.fraction:.3g} ({c.low:.3g} to {c.high:.3g}; {c.note})" for name, c in both.items())
    if predicted.high < observed.low or observed.high < predicted.low:
        side = "below" if predicted.high < observed.low else "above"
        return Comparison(Verdict.REFUTED, f"the predicted crossing lies {side} the observed one: {text}")
    known = all(np.isfinite(c.fraction) for c in both.values())
    precise = all(c.low > 0 and c.high / c.low <= PRECISE for c in both.values())
    if known and precise:
        return Comparison(Verdict.SUPPORTED, f"the intervals overlap: {text}")
    why = "an interval spans more than a factor 2" if known else "one of the crossings is unknown"
    return Comparison(Verdict.UNDECIDED, f"{why}: {text}")


def against_training(energies: xr.Dataset) -> xr.Dataset:
    """Compare, at each train fraction, the phase with the lower free energy with the one that training chose.

    Training's choice is the majority of seeds if the Clopper-Pearson 95% interval of the fraction that generalizes lies
    on one side of one half (six unanimous seeds are enough, five are not).

    Parameters
    ----------
    energies : xarray.Dataset
        From `free_energy`.

    Returns
    -------
    xarray.Dataset
        Over train_fraction: `posterior_phase` and `training_phase` (a phase or `undecided`), `generalized_share`,
        `_low` and `_high`, `agreement` (agree, disagree or undecided) and `agreement_reason`, a sentence.
    """
    rows = []
    for i, fraction in enumerate(energies.train_fraction.values):
        row = energies.isel(train_fraction=i)
        outcomes = row.generalized.dropna("seed").values
        wins, trials = int(outcomes.sum()), len(outcomes)
        low, high = share_interval(wins, trials)
        training = _preferred(low - 0.5, high - 0.5)
        difference = [float(row[f"mean_difference{end}"]) for end in ("", "_low", "_high")]
        posterior = _preferred(*difference[1:])
        agreement = "agree" if training == posterior else "disagree"
        verdict = Verdict.UNDECIDED if Verdict.UNDECIDED in (training, posterior) else agreement
        energy = "the posterior's preference is unknown, since no seed has both phases"
        if np.isfinite(difference[0]):
            preferred = "neither phase" if posterior == Verdict.UNDECIDED else f"the {posterior} phase"
            numbers = "F differs by {:.3g} nats, {:.3g} to {:.3g}".format(*difference)
            energy = f"the posterior prefers {preferred} ({numbers})"
        outcome = f"{wins} of {trials} seeds generalized"
        rows.append(
            {
                "posterior_phase": posterior,
                "training_phase": training,
                "generalized_share": wins / trials if trials else np.nan,
                "generalized_share_low": low,
                "generalized_share_high": high,
                "agreement": verdict,
                "agreement_reason": f"train fraction {fraction:g}: {energy}; {outcome}: {verdict}",
            }
        )
    index = pd.Index(energies.train_fraction.values, name="train_fraction")
    return xr.Dataset.from_dataframe(pd.DataFrame(rows, index)).assign_coords(train_fraction=energies.train_fraction)


def _preferred(low: float, high: float) -> str:
    """Phase that an interval prefers: above 0 generalizing, below 0 memorizing."""
    return Phase.GENERALIZING if low > 0 else Phase.MEMORIZING if high < 0 else Verdict.UNDECIDED


def share_interval(wins: int, trials: int) -> tuple[float, float]:
    """Clopper-Pearson 95% interval of a proportion (1934, doi:10.1093/biomet/26.4.404)."""
    if not trials:
        return 0.0, 1.0
    ends = binomtest(wins, trials).proportion_ci(method="exact")
    return ends.low, ends.high


def _turn(x: np.ndarray, difference: np.ndarray) -> float:
    """Point after which a piecewise linear curve stays above 0; -inf if it is always above, inf if it ends below."""
    below = np.flatnonzero(difference <= 0)
    if not len(below):
        return -np.inf
    last = below[-1]
    if last == len(x) - 1:
        return np.inf
    fraction = -difference[last] / (difference[last + 1] - difference[last])
    return float(x[last] + fraction * (x[last + 1] - x[last]))


def _unknown(note: str, low: float = 0.0, high: float = np.inf) -> Crossing:
    return Crossing(np.nan, low, high, note)


def _crossing(energies: xr.Dataset, log_n: float, drawn: np.ndarray, note: str) -> Crossing:
    """Build the crossing from a value of log n and its draws."""
    scale = _n_per_fraction(energies)
    low, high = np.exp(np.quantile(drawn, np.array(COVERAGE) / 100, method="nearest")) / scale
    return Crossing(float(np.exp(log_n) / scale) if np.isfinite(log_n) else np.nan, float(low), float(high), note)


def _n_per_fraction(energies: xr.Dataset) -> float:
    """Compute the total number of samples, up to the rounding of n."""
    return float((energies.n / energies.train_fraction).mean())


def _drawn_means(energies: xr.Dataset, draws: int, generator: np.random.Generator) -> np.ndarray:
    """Draws of a phase's mean free energy at each fraction, (draw, train_fraction).

    The relative spread over seeds is the same at all fractions; for single seeds, the LLC's error is used.
    """
    energy = energies.free_energy.transpose("train_fraction", "seed").values
    means, counts = np.nanmean(energy, 1), np.isfinite(energy).sum(1)
    freedom = int((counts - 1).sum())
    normal = generator.standard_normal((draws, len(means)))
    if freedom == 0:
        return means + np.nanmean(energies.free_energy_se.transpose("train_fraction", "seed").values, 1) * normal
    spread = np.sqrt(np.nansum((energy / means[:, None] - 1) ** 2) / generator.chisquare(freedom, (draws, 1)))
    return means * (1 + spread * normal / np.sqrt(counts))


def _power_law(
    x: np.ndarray, y: np.ndarray, draws: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Slope and intercept of a line: least squares (2,) and posterior draws (2, draw); NaN for two points."""
    design = np.stack([x, np.ones_like(x)], 1)
    best, *_ = np.linalg.lstsq(design, y)
    freedom = len(x) - 2
    if freedom == 0:
        return best, np.full((2, draws), np.nan)
    spread = np.sqrt(((y - design @ best) ** 2).sum() / generator.chisquare(freedom, draws))
    root = np.linalg.cholesky(np.linalg.inv(design.T @ design))
    return best, best[:, None] + root @ generator.standard_normal((2, draws)) * spread


def _meet(memorizing: np.ndarray, generalizing: np.ndarray) -> np.ndarray:
    """Compute log n at the intersection of two lines (2, ...); inf if memorizing does not grow faster."""
    (slope, height), (other_slope, other_height) = memorizing, generalizing
    with np.errstate(divide="ignore", invalid="ignore"):
        meeting = (other_height - height) / (slope - other_slope)
    return np.where(slope - other_slope <= 0, np.inf, meeting)  # NaN stays NaN
