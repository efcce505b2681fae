"""Made-up runs with the variables that a real one has: a network that groks, and a random table that does not.

The curves are smooth steps in log time with a little noise, so that a figure made from them looks like a real one and
a sentence about them has a known truth.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from slt_grok.store import RunDirectory
from slt_grok.store.files import write_json
from slt_grok.transitions import drops

MODULUS = 53
KEYS = (5, 12, 23)
STEPS = np.array([0, 10, 20, 50, 100, 150, 250, 400, 600, 800, 1000, 1250, 1500, 1750, 2000, 2500, 3000, 4000, 5000])
FREQUENCY = np.arange(1, (MODULUS + 1) // 2)
SPLITS = ["train", "test", "all"]
MEMORIZED, GENERALIZED = 250, 2000


def rise(step: np.ndarray, middle: float, width: float = 0.12) -> np.ndarray:
    """A smooth step from 0 to 1 in log10(step) around `middle`."""
    return 1 / (1 + np.exp(-(np.log10(step + 1) - np.log10(middle)) / width))


def _noise(rng: np.random.Generator, *shape: int, scale: float = 0.03) -> np.ndarray:
    return np.exp(scale * rng.standard_normal(shape))


def training(seeds: int = 1, grok: bool = True) -> xr.Dataset:
    """Losses and accuracies, on a denser `step` than the checkpoints."""
    step = np.unique(np.r_[0, np.geomspace(1, 5000, 160).astype(int)])
    rng = np.random.default_rng(1)
    memory, general = rise(step, 170), rise(step, 1450) * grok
    chance = 1 / MODULUS
    values = {
        "train_loss": 10 ** (0.6 - 3.6 * memory - 3.2 * rise(step, 1500, 0.3)),
        "test_loss": 10 ** (0.6 + 0.9 * memory - 7.0 * general),
        "train_accuracy": chance + (1 - chance) * rise(step, 130, 0.08),
        "test_accuracy": chance + (1 - chance) * rise(step, 1500, 0.06) * grok,
    }
    variables = {}
    for name, curve in values.items():
        spread = _noise(rng, len(step), seeds, scale=0.05 if "loss" in name else 0.004)
        array = curve[:, None] * spread
        variables[name] = (("step", "seed"), np.minimum(array, 1) if "accuracy" in name else array)
    return xr.Dataset(variables, coords={"step": step, "seed": np.arange(seeds)})


def llc(seeds: int = 1, grok: bool = True, diverged: tuple[int, ...] = (), chains: int = 4) -> xr.Dataset:
    """The LLC with its chains; at the checkpoints of index `diverged` every chain diverged."""
    rng = np.random.default_rng(2)
    n, draws, burn_in = len(STEPS), 150, 60
    curve = 4 + 156 * rise(STEPS, 180, 0.15) - (122 * rise(STEPS, 1300, 0.13) if grok else 0)
    chain = curve[:, None, None] * _noise(rng, n, seeds, chains, scale=0.03)
    health = np.full((n, seeds, chains), "healthy", dtype=object)
    health[3, 0, 1] = "drifting: the second half is 14 standard errors above the first"
    chain[3, 0, 1] *= 1.6
    baseline = training(seeds, grok).train_loss.interp(step=STEPS).values
    level = baseline[..., None] + chain / 30
    noise = 0.06 * level[..., None] * rng.standard_normal((n, seeds, chains, draws))
    trace = level[..., None] + noise
    start = baseline[..., None, None]
    ramp = 1 - np.exp(-np.arange(burn_in) / 12)
    burn = (
        start
        + (level[..., None] - start) * ramp
        + 0.06 * level[..., None] * ramp * rng.standard_normal((n, seeds, chains, burn_in))
    )
    status = np.full((n, seeds), "effective", dtype=object)
    status[:3] = "not a minimum"
    reason = np.full((n, seeds), "", dtype=object)
    reason[:3] = "gradient norm 0.4 at the point"
    for i in diverged:
        status[i], health[i], chain[i] = "diverged", "diverged: loss above 1e3 at draw 12", np.nan
        reason[i] = "all chains diverged"
        trace[i] = trace[i] * np.exp(0.2 * np.arange(draws))
    healthy = np.where(health == "healthy", chain, np.nan)
    with np.errstate(all="ignore"):
        mean = np.full((n, seeds), np.nan)
        se = np.full((n, seeds), np.nan)
        whole = ~np.isnan(healthy).all(axis=2)
        mean[whole] = np.nanmean(healthy[whole], axis=-1)
        se[whole] = 0.02 * mean[whole] + 0.4
    lead, coords = ("step", "seed"), {"step": STEPS, "seed": np.arange(seeds), "chain": np.arange(chains)}
    return xr.Dataset(
        {
            "llc": (lead, mean),
            "llc_se": (lead, se),
            "llc_low": (lead, mean - 1.96 * se),
            "llc_high": (lead, mean + 2.4 * se),
            "drift": (lead, 0.01 * mean * rng.standard_normal((n, seeds))),
            "virial": (lead, 1 + 0.02 * rng.standard_normal((n, seeds))),
            "fraction_below_initial_loss": (lead, 0.05 * rng.random((n, seeds))),
            "resets": ((*lead, "chain"), np.zeros((n, seeds, chains), dtype=int)),
            "acceptance": ((*lead, "chain"), 0.8 + 0.1 * rng.random((n, seeds, chains))),
            "distance": ((*lead, "chain", "look"), 20 + rng.random((n, seeds, chains, 8))),
            "rhat": (lead, 1 + 0.02 * rng.random((n, seeds))),
            "ess": (lead, 150 + 300 * rng.random((n, seeds))),
            "llc_status": (lead, status.astype(str)),
            "llc_status_reason": (lead, reason.astype(str)),
            "baseline_loss": (lead, baseline),
            "llc_chain": ((*lead, "chain"), chain),
            "chain_health": ((*lead, "chain"), health.astype(str)),
            "loss_trace": ((*lead, "chain", "draw"), trace),
            "burn_in_loss": ((*lead, "chain", "burn_in"), burn),
        },
        coords=coords,
        attrs={
            "sampler": "underdamped Langevin",
            "step_size": 0.02,
            "n_beta": 30.0,
            "gamma": 100.0,
            "draws": draws,
            "burn_in": burn_in,
            "thinning": 2,
            "batch_size": 1124,
            "chains": chains,
        },
    )


def circuits(seeds: int = 1, grok: bool = True) -> xr.Dataset:
    """Spectrum, clusters and progress measures; all empty for the random table."""
    rng = np.random.default_rng(3)
    n, k = len(STEPS), len(FREQUENCY)
    formed = rise(STEPS, 900, 0.13) * grok
    key = np.isin(FREQUENCY, KEYS) & grok
    flat = _noise(rng, n, seeds, k, scale=0.15) / k
    spectrum = flat * (1 - 0.95 * formed)[:, None, None] + 0.95 * formed[:, None, None] * key / max(key.sum(), 1)
    spectrum /= spectrum.sum(-1, keepdims=True)
    size = np.rint(80 * formed[:, None, None] * key * _noise(rng, n, seeds, k, scale=0.02)).astype(int)
    mask = size > 0
    share = size.sum(-1) / 256
    agreement = np.where(mask.any(-1), 0.6 + 0.4 * formed[:, None], np.nan)
    data = training(seeds, grok).interp(step=STEPS)
    loss = np.stack([data.train_loss, data.test_loss, 0.4 * data.train_loss + 0.6 * data.test_loss], -1)
    accuracy = np.stack([data.train_accuracy, data.test_accuracy, data.test_accuracy], -1)
    chance = np.log(MODULUS)
    restricted = np.broadcast_to((chance * 10 ** (-6.5 * rise(STEPS, 1250, 0.12)))[:, None, None], loss.shape)
    restricted = restricted * np.array([0.7, 1.0, 0.9]) if grok else np.full(loss.shape, np.nan)
    early, late = rise(STEPS, 170), rise(STEPS, 1500, 0.14)
    excluded = np.broadcast_to((10 ** (0.6 - 2.6 * early + 3.4 * late))[:, None, None], loss.shape)
    excluded = excluded * np.array([1.0, 1.3, 1.2]) if grok else np.full(loss.shape, np.nan)
    lead = ("step", "seed")
    by_frequency = np.where(key, 1 + 2 * formed[:, None, None], loss[..., :1])
    return xr.Dataset(
        {
            "embedding_spectrum": ((*lead, "frequency"), spectrum),
            "neuron_logit_map_spectrum": ((*lead, "frequency"), spectrum[..., ::-1]),
            "neuron_cluster_size": ((*lead, "frequency"), size),
            "neuron_share": (lead, share),
            "key_frequency": ((*lead, "frequency"), mask),
            "key_frequency_embedding": ((*lead, "frequency"), mask),
            "key_frequency_neuron_logit_map": ((*lead, "frequency"), mask),
            "key_frequency_agreement": (lead, agreement),
            "accuracy": ((*lead, "split"), accuracy),
            "loss": ((*lead, "split"), loss),
            "restricted_loss_sum": ((*lead, "split"), restricted),
            "restricted_loss_2x2": ((*lead, "split"), restricted * 1.1),
            "restricted_loss_3x3": ((*lead, "split"), restricted * 1.3),
            "excluded_loss": ((*lead, "split"), excluded),
            "trig_loss": ((*lead, "split"), restricted * 1.2),
            "excluded_loss_by_frequency": ((*lead, "frequency"), by_frequency),
            "gini_embedding": (lead, 0.1 + 0.75 * formed[:, None] * _noise(rng, n, seeds)),
            "gini_neuron_logit_map": (lead, 0.12 + 0.8 * formed[:, None] * _noise(rng, n, seeds)),
            "sum_of_squared_weights": (lead, 1439 - 870 * late[:, None] * _noise(rng, n, seeds)),
            "circuit_frequency": (("seed", "frequency"), np.broadcast_to(key, (seeds, k)).copy()),
        },
        coords={"step": STEPS, "seed": np.arange(seeds), "frequency": FREQUENCY, "split": SPLITS},
    )


def landscape(seeds: int = 1, grok: bool = True) -> xr.Dataset:
    """Norms, Hessian and barriers; the Hessian only at every second checkpoint."""
    rng = np.random.default_rng(4)
    n = len(STEPS)
    fall = rise(STEPS, 1500, 0.15)[:, None] * grok
    total = (38 - 14 * fall) * _noise(rng, n, seeds, scale=0.005)
    data = training(seeds, grok).interp(step=STEPS)
    trace = 3e3 * data.train_loss.values * _noise(rng, n, seeds, scale=0.2)
    asked = (np.arange(n) % 2 == 0)[:, None]
    trace = np.where(asked, trace, np.nan)
    trace[0] = -40.0
    position = np.linspace(0, 1, 5)
    line = np.abs(data.train_loss.values)[..., None, None] * np.ones((2, 5))
    barrier = line[..., 0] * _noise(rng, n, seeds, 2, scale=0.5) * 0.02
    barrier[5:7] = 0.0
    line[0], barrier[0] = np.nan, np.nan
    lead = ("step", "seed")
    return xr.Dataset(
        {
            "weight_norm": ((*lead, "component"), np.stack([0.6 * total, 0.8 * total, total], -1)),
            "gradient_norm": (lead, 0.3 * data.train_loss.values**0.8),
            "hessian_trace": (lead, trace),
            "hessian_trace_se": (lead, 0.06 * np.abs(trace)),
            "hessian_eigenvalue": ((*lead, "eigenvalue"), trace[..., None] * np.array([0.12, 0.1, 0.05])),
            "interpolation_loss": ((*lead, "split", "position"), line),
            "loss_barrier": ((*lead, "split"), barrier),
        },
        coords={
            "step": STEPS,
            "seed": np.arange(seeds),
            "component": ["W_E", "W_U", "total"],
            "eigenvalue": [1, 2, 3],
            "split": ["train", "test"],
            "position": position,
        },
    )


def calibration() -> xr.Dataset:
    """A calibration at three checkpoints, with one setting diverged and one not converged."""
    steps, h, n_beta, gamma = [400, 1250, 5000], [0.005, 0.01, 0.02], [7.5, 30.0, 120.0], [25.0, 100.0, 400.0]
    level = np.array([150.0, 90.0, 40.0])
    by_step = level[:, None, None] * (1 + 0.1 * np.arange(3)[:, None]) * np.array([0.4, 1.0, 2.2])
    by_gamma = level[:, None] * np.array([3.0, 1.0, 0.1])
    grid, row = np.full(by_step.shape, "effective", dtype=object), np.full(by_gamma.shape, "effective", dtype=object)
    grid[0, 2, 2], row[1, 0] = "diverged", "not converged"
    by_step[0, 2, 2] = np.nan
    lead, own = ("step", "seed"), level[:, None]
    numbers = {"weight_norm": 38, "gamma_rule": 90, "n_beta_rule": 35, "curvature": 5e3, "acceptance_hmc": 0.9}
    pair = np.stack([own, 1.02 * own], -1)
    hmc = np.array([[149.0], [np.nan], [41.0]])
    return xr.Dataset(
        {
            **{name: (lead, np.full((3, 1), float(value))) for name, value in numbers.items()},
            "llc": ((*lead, "batch"), pair),
            "llc_se": ((*lead, "batch"), np.full((3, 1, 2), 1.5)),
            "llc_status": ((*lead, "batch"), np.full((3, 1, 2), "effective")),
            "llc_hmc": (lead, hmc),
            "llc_hmc_se": (lead, np.where(np.isnan(hmc), np.nan, 2.0)),
            "llc_by_step": ((*lead, "step_size", "n_beta"), by_step[:, None]),
            "llc_by_step_se": ((*lead, "step_size", "n_beta"), 0.03 * by_step[:, None]),
            "llc_by_step_status": ((*lead, "step_size", "n_beta"), grid[:, None].astype(str)),
            "llc_by_gamma": ((*lead, "gamma"), by_gamma[:, None]),
            "llc_by_gamma_se": ((*lead, "gamma"), 0.03 * by_gamma[:, None]),
            "llc_by_gamma_status": ((*lead, "gamma"), row[:, None].astype(str)),
        },
        coords={"step": steps, "seed": [0], "batch": ["full", "minibatch"], "step_size": h, "n_beta": n_beta}
        | {"gamma": gamma},
        attrs={"step_size": 0.01, "n_beta": 30.0, "gamma": 100.0, "smaller_batch": 280}
        | {"reasons": ["gamma = 100: the largest of some", "n_beta = 30: the smallest of others"]},
    )


def confound(seeds: int = 1) -> xr.Dataset:
    """The LLC under three treatments: it falls by 120, by 180, and rises by 10 on weights that no longer know."""
    steps = np.array([400, 1250, 5000])
    llc = np.array([[160.0, 200.0, 10.0], [100.0, 120.0, 30.0], [40.0, 20.0, 20.0]])
    lead = ("step", "seed", "treatment")

    def each(values: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
        return lead, np.repeat(values[:, None], seeds, 1)

    data = xr.Dataset(
        {
            "llc": each(llc),
            "llc_se": each(np.full((3, 3), 3.0)),
            "llc_status": each(np.array([["effective", "not converged", "effective"]] + [["effective"] * 3] * 2)),
            "gamma": each(np.array([[100.0, 50.0, 100.0], [100.0, 80.0, 100.0], [100.0, 110.0, 100.0]])),
            "baseline_loss": each(np.array([[0.01, 0.01, 3.5], [1e-4, 1e-4, 0.5], [1e-7, 1e-7, 1e-7]])),
        },
        coords={
            "step": steps,
            "seed": np.arange(seeds),
            "treatment": ["fixed_gamma", "relative_gamma", "rescaled_weights"],
        },
        attrs={"n_beta": 30.0},
    )
    return xr.merge([data, drops(data)], combine_attrs="drop_conflicts")


MEASURES = {
    "train_accuracy": (130, 250, 90),
    "excluded_loss": (1300, 2100, 700),
    "restricted_loss_sum": (1150, 1900, 600),
    "llc": (1250, 2000, 800),
    "test_accuracy": (1500, 2000, 1200),
}


def transitions(seeds: int = 1, grok: bool = True) -> xr.Dataset:
    """Onset, middle and end with intervals, and the phase boundaries; only memorization for the random table."""
    rows: dict[str, list[list[float]]] = {
        f"transition_{w}{e}": [] for w in ("onset", "middle", "end") for e in ("", "_low", "_high")
    }
    for measure, (middle, end, onset) in MEASURES.items():
        seen = grok or measure == "train_accuracy"
        for when, value in (("onset", onset), ("middle", middle), ("end", end)):
            for ending, factor in (("", 1.0), ("_low", 0.93), ("_high", 1.08)):
                rows[f"transition_{when}{ending}"].append(
                    [value * factor * (1 + 0.05 * s) if seen else np.nan for s in range(seeds)]
                )
    phases = [[250.0], [1500.0], [2200.0]] if grok else [[250.0], [np.nan], [np.nan]]
    return xr.Dataset(
        {name: (("measure", "seed"), np.array(value)) for name, value in rows.items()}
        | {"phase_step": (("phase_boundary", "seed"), np.repeat(phases, seeds, 1))},
        coords={
            "measure": list(MEASURES),
            "seed": np.arange(seeds),
            "phase_boundary": ["memorization", "circuit_formation", "cleanup"],
        },
    )


def summary(seeds: int = 1, grok: bool = True) -> dict[str, Any]:
    """What `summary.json` holds for the made-up run."""
    one: dict[str, Any] = {
        "memorization_step": MEMORIZED,
        "generalization_step": GENERALIZED if grok else None,
        "llc_peak": 158.2,
        "llc_peak_se": 3.1,
        "llc_peak_step": 400,
        "llc_final": 38.4 if grok else 157.9,
        "llc_final_se": 1.2 if grok else 3.0,
        "llc_drop": 119.8 if grok else 0.3,
        "llc_drop_se": 3.32 if grok else 4.31,
        "key_frequencies": list(KEYS) if grok else [],
        "restricted_loss_final": 1.3e-6 if grok else None,
        "excluded_loss_final": 5.2 if grok else None,
        "train_loss_final": 6.3e-7 if grok else 2.1e-6,
        "test_loss_final": 3.1e-6 if grok else 31.6,
        "train_accuracy_final": 1.0,
        "test_accuracy_final": 0.998 if grok else 0.0172,
        "neuron_share_final": 0.94 if grok else 0.0,
        "phases": {},
        "order_of_events": [
            {"measure": m, "step": v[0], "low": 0.93 * v[0], "high": 1.08 * v[0]}
            for m, v in sorted(MEASURES.items(), key=lambda item: item[1][0])
            if grok or m == "train_accuracy"
        ],
        "flags": [],
    }
    return one | ({"seeds": {str(s): dict(one) for s in range(seeds)}} if seeds > 1 else {})


def manifest(seeds: int = 1, grok: bool = True, name: str = "synthetic") -> dict[str, Any]:
    """What `manifest.json` holds for the made-up run."""
    return {
        "config": {
            "name": name,
            "task": {
                "modulus": MODULUS,
                "operation": "addition" if grok else "random_table",
                "train_fraction": 0.4,
                "split_seed": 0,
            },
            "model": {"kind": "transformer", "d_model": 64, "n_heads": 4, "d_mlp": 256},
            "seeds": list(range(seeds)),
            "training": {"steps": 5000, "optimizer": "adamw", "learning_rate": 0.001, "betas": [0.9, 0.98]},
            "llc": {"n_beta": 30.0, "gamma": 100.0, "chains": 4, "draws": 150},
            "circuits": {},
            "landscape": {"probe_checkpoints": 12},
            "transitions": {"train_threshold": 0.99, "test_threshold": 0.95},
        },
        "environment": {
            "python": "3.12.4",
            "platform": "Linux x86_64",
            "versions": {"slt_grok": "0.1.0", "torch": "2.6.0", "numpy": "2.1.0"},
            "threads": 2,
            "device": "cpu",
            "git": {"commit": "0123abcd", "dirty": False},
        },
        "stages": {
            "training": {"wall_seconds": 24.1},
            "llc": {"wall_seconds": 41.7},
            "circuits": {"wall_seconds": 3.2},
            "landscape": {"wall_seconds": 12.0},
        },
    }


DATASETS = {"training": training, "llc": llc, "circuits": circuits, "landscape": landscape, "transitions": transitions}


def datasets(seeds: int = 1, grok: bool = True) -> dict[str, xr.Dataset]:
    """All five datasets of a run."""
    return {label: make(seeds, grok) for label, make in DATASETS.items()}


def write_run(path: Path, seeds: int = 1, grok: bool = True, only: tuple[str, ...] = tuple(DATASETS)) -> RunDirectory:
    """A run directory with the made-up datasets named in `only`."""
    run = RunDirectory(path)
    run.write_manifest(manifest(seeds, grok, name=path.name))
    for label in only:
        run.write_measurement(label, DATASETS[label](seeds, grok), {})
    write_json(path / "summary.json", json.loads(json.dumps(summary(seeds, grok))))
    return run
