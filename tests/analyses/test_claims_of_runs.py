"""The decision rules that read run directories: the claim planted true, planted false, and too small to tell."""

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.special import logit

import slt_grok
from slt_grok.config import parse_config
from slt_grok.store import RunDirectory
from slt_grok.studies.results import load_study
from slt_grok.trajectories import Trajectory
from tests.analyses.planted import FALSE, SMALL, STEPS, TRUE, courses, decided, noisy, row, study, written

ORDERED = {"gini_embedding": 400, "sum_of_squared_weights": 700, "unmirrored_test_accuracy": 1200}
OTHERS = {"restricted_loss_sum": 500, "excluded_loss": 450, "llc": 600, "test_accuracy": 1000}


def in_time(tmp_path: Path, middles: dict[str, int], seeds: int) -> Path:
    """A study whose measures change at these steps, scattered by 15% together and 4% each."""
    generator = np.random.default_rng(9)
    common = 0.15 * generator.standard_normal(seeds)
    at = {name: m * np.exp(common + 0.04 * generator.standard_normal(seeds)) for name, m in middles.items()}
    rows = [row("main", seed, llc_final=16.0, llc_peak=130.0) for seed in range(seeds)]
    return written(tmp_path, "seeds", rows, {"main": courses(at, generator)})


@pytest.mark.parametrize(
    ("changed", "seeds", "verdict"),
    [
        ({}, 6, TRUE),
        ({"gini_embedding": 1000}, 6, FALSE),
        ({"unmirrored_test_accuracy": 550}, 6, FALSE),
        ({}, 3, SMALL),
    ],
)
def test_p2(tmp_path, changed, seeds, verdict):
    planted = load_study(in_time(tmp_path, ORDERED | OTHERS | changed, seeds))
    assert decided("p2_order_of_events", planted) == verdict


def test_an_order_is_reported_on_both_scales(tmp_path):
    """A loss from 4 to 1e-6 by a logistic c in its logarithm, weights from 3000 to 1000 by one on a linear scale.

    Linearly they are half way at c = log 2 / log(4e6) and 1/2, logarithmically at 1/2 and (3 - sqrt 3) / 2.
    """
    planted = load_study(in_time(tmp_path, ORDERED | OTHERS, 6))
    numbers = import_module("p2_order_of_events").decide(planted).numbers
    linear = numbers["lag of restricted loss behind sum of squared weights"]
    logarithmic = numbers["lag of restricted loss behind sum of squared weights, log scale"]
    planted = np.log(501 / 701)
    assert linear.value == pytest.approx(planted + 0.15 * logit(np.log(2) / np.log(4e6)), abs=0.1)
    assert logarithmic.value == pytest.approx(planted - 0.15 * logit((3 - 3**0.5) / 2), abs=0.1)


@pytest.mark.parametrize(("changed", "verdict"), [({}, TRUE), ({"restricted_loss_sum": 1900}, FALSE)])
def test_order_of_progress_measures(tmp_path, changed, verdict):
    planted = load_study(in_time(tmp_path, ORDERED | OTHERS | changed, 6))
    assert decided("published_order_of_progress_measures", planted) == verdict


@pytest.mark.parametrize(
    ("start", "end", "seeds", "verdict"), [(20.0, 23.0, 4, TRUE), (20.0, 48.0, 4, FALSE), (20.0, 23.0, 2, SMALL)]
)
def test_notebook_curve(tmp_path, start, end, seeds, verdict):
    generator = np.random.default_rng(10)
    rows = [
        row("main", seed, llc_peak=noisy(49.5, generator), llc_final=noisy(end, generator)) for seed in range(seeds)
    ]
    llc = {"llc": (("step", "seed"), np.full((2, seeds), start) * np.exp(0.05 * generator.standard_normal(seeds)))}
    data = {"main": {"llc": xr.Dataset(llc, {"step": [0, 1], "seed": range(seeds)})}}
    planted = load_study(written(tmp_path, "seeds", rows, data))
    assert decided("published_notebook_curve", planted) == verdict


ARMS = ("adamw", "adam", "muon", "sgd")
FALLS, TURNED = (130.0, 90.0, 40.0, 16.0), (16.0, 40.0, 90.0, 130.0)


@pytest.mark.parametrize(("of_sgd", "seeds", "verdict"), [(FALLS, 12, TRUE), (TURNED, 12, FALSE), (FALLS, 2, SMALL)])
def test_p7(tmp_path, of_sgd, seeds, verdict):
    generator, data, steps = np.random.default_rng(11), {}, np.array([0, 100, 200, 300, 400])
    at = {"step": steps, "seed": range(seeds)}

    def curve(values) -> tuple:
        scatter = np.exp(0.25 * generator.standard_normal((5, seeds)))  # so that some orders differ
        return ("step", "seed"), np.array(values)[:, None] * scatter

    for arm in ARMS:
        flat = {"train_accuracy": [0, 1, 1, 1, 1], "unmirrored_test_accuracy": [0, 0, 0.7, 1, 1]}
        training, circuits = ({name: (("step", "seed"), np.repeat([v], seeds, 0).T)} for name, v in flat.items())
        llc = {"llc": curve([15.0, *(of_sgd if arm == "sgd" else FALLS)])}
        llc["llc_status"] = (("step", "seed"), np.full((5, seeds), "effective"))
        named = {"training": training, "circuits": circuits, "llc": llc}
        data[arm] = {label: xr.Dataset(variables, at) for label, variables in named.items()}
    rows = [row(arm, seed, llc_final=16.0) for arm in ARMS for seed in range(seeds)]
    assert decided("p7_optimizers", load_study(written(tmp_path, "optimizer", rows, data))) == verdict


@pytest.mark.parametrize(
    ("height", "label", "seeds", "verdict"),
    [
        (0.01, "landscape", 4, TRUE),
        (2.0, "landscape", 4, SMALL),  # a straight line is a bound
        (2.0, "connectivity", 4, FALSE),
        (0.01, "connectivity", 4, TRUE),
        (0.01, "landscape", 2, SMALL),
    ],
)
def test_p8(tmp_path, height, label, seeds, verdict):
    generator, on_the_way = np.random.default_rng(12), (STEPS > 150) & (STEPS <= 1300)
    high = np.where(on_the_way, height, 9.0)[:, None] * np.exp(0.1 * generator.standard_normal((len(STEPS), seeds)))
    at = {"step": STEPS, "seed": range(seeds), "split": ["train", "test"]}
    of_split = np.stack([high, np.full_like(high, 5.0)], -1)
    data = {"landscape": xr.Dataset({"loss_barrier": (("step", "seed", "split"), of_split)}, at)}
    if label == "connectivity":
        of_split = np.where((STEPS >= 150)[:, None, None], of_split, np.nan)
        data[label] = xr.Dataset({"curve_barrier": (("step", "seed", "split"), of_split)}, at)
    more = {"memorization_step": 150.0, "generalization_step": 1200.0, "task__modulus": 53}
    rows = [row("main", seed, **more) for seed in range(seeds)]
    assert decided("p8_barriers", load_study(written(tmp_path, "seeds", rows, {"main": data}))) == verdict


@pytest.mark.parametrize(
    ("each", "seeds", "verdict"), [(4.0, 5, TRUE), (6.0, 5, FALSE), (4.0, 2, SMALL), (4.0, 0, SMALL)]
)
def test_p9(tmp_path, each, seeds, verdict):
    generator = np.random.default_rng(13)
    names = ["frequency 1", "frequency 2", "frequency 3", "frequency 9", "key frequencies"]
    groups = ["frequency"] * 4 + ["circuit"]
    llc = np.array([each] * 3 + [np.nan, 12.0]) * np.exp(0.02 * generator.standard_normal((1, max(seeds, 1), 5)))
    told = np.where(np.isfinite(llc), "effective", "")  # frequency 9 is another seed's
    at = {"step": [100], "seed": range(llc.shape[1]), "component": names, "group": ("component", groups)}
    refined = xr.Dataset({"llc": (("step", "seed", "component"), llc)}, at)
    refined["llc_status"] = (("step", "seed", "component"), told)
    rows = [row("main", seed) for seed in range(llc.shape[1])]
    data = {"main": {"refined": refined} if seeds else {}}
    planted = load_study(written(tmp_path, "seeds", rows, data))
    assert decided("p9_additivity", planted) == verdict
    if not seeds:
        assert "refined is not measured" in import_module("p9_additivity").decide(planted).left_out[0]


def test_p4_adds_neurons_that_answer_nothing(tmp_path):
    """The widened networks are the same function, and the zero ones have the gradient of the network as trained."""
    script = import_module("p4_dead_neurons")
    model = {"kind": "transformer", "d_model": 8, "n_heads": 2, "d_mlp": 6}
    seeds = list(range(script.USED + 1))
    content = {"name": "tiny", "seeds": seeds, "task": {"modulus": 5, "train_fraction": 0.8}, "model": model}
    content["training"] = {"steps": 3, "learning_rate": 0.01, "checkpoints": {"linear": 2}}
    sampler = {"name": "underdamped", "step_size": 0.01}
    content["llc"] = {"sampler": sampler, "n_beta": 5, "gamma": 10, "chains": 2, "draws": 8, "burn_in": 2}
    config = parse_config(content, "tiny")
    run = RunDirectory(tmp_path / "seeds" / "main")
    run.write_manifest({"config": content, "environment": {}, "stages": {}})
    torch.manual_seed(0)
    one = Trajectory.of(config.network.module, config.task)
    weights = {name: torch.randn_like(tensor) for name, tensor in one.parameters.items()}
    run.write_checkpoint(3, {name: torch.stack([tensor] * len(seeds)) for name, tensor in weights.items()})
    one = slt_grok.trajectory(run.path).isel(seed=[0])
    inputs, _ = one.task.data("all")
    single = one.stacked()
    for bias in script.STATES.values():
        wide = script.widened(one, config.model, bias)
        assert wide.parameters["b_in"].shape == (1, 1, 9)
        before = one.network.outputs({name: tensor[0] for name, tensor in single.items()}, inputs)
        after = wide.network.outputs({name: tensor[0] for name, tensor in wide.stacked().items()}, inputs)
        torch.testing.assert_close(after, before)
    planted = study([row("main", seed) for seed in seeds], tmp_path / "seeds")
    none, left_out = script.measured(planted)  # random weights: the chains are above half the guessing loss
    assert len(none) == 0
    assert left_out == [f"main, seed {script.USED}: melted or diverged as trained, zero, off"]
    content["llc"]["melting_loss"] = 1e6
    run.write_manifest({"config": content, "environment": {}, "stages": {}})
    found, _ = script.measured(planted)
    assert found.seed.tolist() == [script.USED]  # the earlier ones left it undecided
    assert np.isfinite(found[["as trained", "zero", "off"]].to_numpy()).all()
    assert script.judged(found, []).verdict == SMALL
