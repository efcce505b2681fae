"""The numbers of a page: no two places disagree on a step or a value.

A run of 28 checkpoints whose LLC still falls at the end, so that a mean over its last checkpoints is not its end, and
whose landscape and weight scale were measured at the same checkpoints.
"""

import html
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from slt_grok.config import parse_config
from slt_grok.llc.weight_scale import TREATMENTS, drops
from slt_grok.measurement import Derived, Result
from slt_grok.plots.overview import middles
from slt_grok.report import page
from slt_grok.store.files import write_json
from slt_grok.transitions import summarize
from tests.conftest import CONFIG
from tests.transitions.test_measure import DENSE, logistic

STEPS = np.unique(np.r_[0, np.geomspace(20, 2600, 27).astype(int)])
SEED = 3


def over(values: np.ndarray, *dims: str) -> tuple[tuple[str, ...], np.ndarray]:
    return ("step", "seed", *dims), np.asarray(values)[:, None]


def llc() -> xr.Dataset:
    """From 20 to a noisy peak near 130 at step 100 to 300, down to 14 with a slope that goes on; melted before 60."""
    noise = 1 + 0.02 * np.random.default_rng(0).standard_normal(len(STEPS))
    value = (
        (20 + 110 * logistic(STEPS, 60) - 110 * logistic(STEPS, 900, 0.3)) * (1 - 0.1 * logistic(STEPS, 2600)) * noise
    )
    count, chains = len(STEPS), 2
    status = np.where(STEPS < 60, "melted", "effective")
    variables: dict[str, Any] = {
        "llc": over(value),
        "llc_se": over(0.02 * value),
        "llc_low": over(0.96 * value),
        "llc_high": over(1.04 * value),
        "llc_status": over(status),
        "llc_status_reason": over(np.full(count, "by construction")),
        "chain_health": over(np.full((count, chains), "healthy"), "chain"),
        "acceptance": over(np.full((count, chains), 0.9), "chain"),
        "resets": over(np.zeros((count, chains), int), "chain"),
        "distance": over(np.ones((count, chains, 2)), "chain", "look"),
    }
    plain = {
        "rhat": 1.01,
        "ess": 400.0,
        "drift": 0.1,
        "virial": 1.0,
        "fraction_below_initial_loss": 0.0,
        "window_noise": 5.0,
    }
    plain |= {"window_noise": 5.0, "baseline_loss": 1e-3}
    variables |= {name: over(np.full(count, number)) for name, number in plain.items()}
    attrs = {"n_beta": 27.2, "gamma": 129.0, "melting_loss": 2.0, "sampler": "underdamped", "n": 1000}
    return xr.Dataset(variables, {"step": STEPS, "seed": [SEED]}, attrs)


def data() -> dict[str, xr.Dataset]:
    general = logistic(DENSE, 1500)
    training = {
        "train_accuracy": over(logistic(DENSE, 100)),
        "test_accuracy": over(0.01 + 0.99 * general),
        "train_loss": over(10 ** (0.6 - 7 * logistic(DENSE, 130))),
        "test_loss": over(10 ** (0.6 + logistic(DENSE, 130) - 7 * general)),
    }
    norm = (38 + 4 * logistic(STEPS, 100) - 18 * logistic(STEPS, 1300))[:, None] * np.array([0.5, 1])
    landscape = {"weight_norm": over(norm, "component"), "gradient_norm": over(1 / (1 + STEPS))}
    coords = {"step": STEPS, "seed": [SEED]}
    of_scale = xr.concat([llc() for _ in TREATMENTS], xr.Variable("treatment", list(TREATMENTS)))
    of_scale = of_scale.transpose("step", "seed", "treatment", ...)
    return {
        "training": xr.Dataset(training, {"step": DENSE, "seed": [SEED]}),
        "llc": llc(),
        "landscape": xr.Dataset(landscape, coords | {"component": ["W_E", "total"]}),
        "confound": of_scale.assign(drops(of_scale)),
        "circuits": xr.Dataset({"excluded_loss": over(norm, "split")}, coords | {"split": ["test", "train"]}),
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Any:
    """A run of these datasets, with everything derived from them."""
    path = tmp_path_factory.mktemp("planted") / "run"
    path.mkdir()
    found = SimpleNamespace(
        path=path, config=parse_config(CONFIG | {"seeds": [SEED]}, "a test"), data=data(), manifest={}
    )
    for result in Derived.ordered():
        if (dataset := result.derive(found.data, found.config)) is not None:
            found.data[result.name] = dataset
    write_json(path / "summary.json", summarize(found.data))
    return found


@pytest.fixture(scope="module")
def lines(run) -> list[str]:
    """The page's rows, cells separated by bars, its key numbers likewise, and its other lines."""
    only, every = {"training", "llc", "confound", "transitions", "llc_correlation"}, Result.ordered
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(page, "planned", lambda *_: [])
        patch.setattr(Result, "ordered", classmethod(lambda _: [each for each in every() if each.name in only]))
        text = page.write(run).read_text(encoding="utf-8")
    text = re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r"</t[hd]><t[hd][^>]*>|</dt><dd>", " | ", text)
    text = html.unescape(re.sub(r"<[^>]*>", "\n", text)).replace("\u00a0", " ")
    return [line for line in text.splitlines() if line.strip()]


N = r"-?[\d,.]+"
INTERVAL = rf"({N}) \(({N}) to ({N})\)"
END, FALLS = "2,600", rf"^LLC \| {N} \| {N} \| down [^|]* \|"  # of the table of the landscape and the LLC
SCALED = rf"^{SEED} \| fixed γ \|"
PLACES = {
    "step of the LLC's peak": [
        rf"^Peak LLC\* \| .* at step ({N})$", rf"from the LLC's peak at step ({N}) to", rf"{SCALED} ({N}) to",
    ],
    "LLC at its peak": [
        rf"^Peak LLC\* \| ({N}) ±", rf"^PEAK \| {SEED} \| ({N}) ±", rf"^LLC \| ({N}) \| {N} \| down",
    ],
    "LLC at the end": [
        rf"^Final LLC\* \| ({N}) ±", rf"^{END} \| {SEED} \| ({N}) ±", rf"^LLC \| {N} \| ({N}) \| down",
    ],
    "error of the LLC at the end": [rf"^Final LLC\* \| {N} ± ({N})", rf"^{END} \| {SEED} \| {N} ± ({N})"],
    "drop of the LLC": [rf"^LLC drop\* \| ({N}) ± ({N})", rf"{SCALED} [^|]* \| ({N}) ± ({N})"],
    "LLC half way": [
        rf"^LLC half way by step \| {INTERVAL}$", rf"^LLC \| ({N}) \| ({N}) to ({N}) \|",
        rf"{FALLS} {INTERVAL} \|", rf"{SCALED}.*\| {INTERVAL} \|",
    ],
    "weight norm half way": [
        rf"^Weight norm \| ({N}) \| ({N}) to ({N}) \|", rf"^weight norm \|.*\| {INTERVAL} \|",
    ],
    "LLC half way on a logarithmic scale": [
        rf"^LLC \| {N} \| {N} to {N} \|.*\| ({N})$", rf"{FALLS} [^|]* \| ({N}) \|",
    ],
    "memorization": [rf"^Memorized by step \| ({N})$", rf"^Memorization \| ({N}) \|"],
    "generalization": [rf"^Generalized by step \| ({N})$", rf"^Cleanup \| ({N}) \|"],
    "melted estimates": [
        rf"; ({N}) of ({N}) LLC estimates melted and are omitted", rf"^Status: melted \| ({N}) of ({N})",
        rf"^Melted at ({N}) of ({N}) checkpoints", rf'^({N}) of ({N}) LLC estimates have the status "melted"',
    ],
}  # fmt: skip


@pytest.mark.parametrize("quantity", PLACES)
def test_no_two_places_of_the_page_disagree(quantity, lines, run):
    """Every place is found, and all print the same numbers up to the digits that they print."""
    peak = f"{summary_of(run)['llc_peak_step']:,}"
    found = []
    for pattern in PLACES[quantity]:
        matches = [match for line in lines if (match := re.search(pattern.replace("PEAK", peak), line))]
        assert matches, f"{pattern} is nowhere on the page"
        found += [[float(number.replace(",", "")) for number in match.groups()] for match in matches]
    assert len(found) >= 2
    for numbers in found:
        assert numbers == pytest.approx(found[0], rel=5e-3)


def summary_of(run: Any) -> dict[str, Any]:
    return summarize(run.data)


def test_the_end_is_the_last_estimate_with_its_own_error(run):
    """The mean of the last three, 2% higher here for each checkpoint before the last, is none of the page's numbers."""
    summary, estimates = summary_of(run), run.data["llc"].isel(seed=0)
    assert (summary["llc_final"], summary["llc_final_se"]) == (estimates.llc[-1], estimates.llc_se[-1])
    assert abs(estimates.llc[-3:].mean() / estimates.llc[-1] - 1) > 0.03


def test_half_way_is_half_of_the_fall_from_the_peak_to_the_end(run):
    """Up to two standard errors of the peak, which is the largest of several estimates of one plateau."""
    summary, estimates = summary_of(run), run.data["llc"].isel(seed=0)
    level = np.interp(np.log1p(summary["llc_half_way_step"]), np.log1p(STEPS), estimates.llc)
    middle = (summary["llc_peak"] + summary["llc_final"]) / 2
    assert middle - 2 * summary["llc_peak_se"] <= level <= middle


def test_the_figure_marks_the_steps_of_the_table(run):
    marked = [(event.measure, event.middle, event.low, event.high) for event in middles(run.data["transitions"])]
    order = summary_of(run)["order_of_events"]
    assert marked == [(event["measure"], event["step"], event["low"], event["high"]) for event in order]
