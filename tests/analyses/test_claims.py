"""The decision rules on studies with the claim planted true, planted false, and too small to tell."""

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from slt_grok.config import parse_config
from slt_grok.errors import SltGrokError
from slt_grok.store import RunDirectory
from slt_grok.studies.results import load_study
from slt_grok.trajectories import Trajectory
from tests.analyses.planted import STEPS, courses, row, study, written

CLAIMS = Path(__file__).parents[2] / "analyses" / "claims"
sys.path.insert(0, str(CLAIMS))

TRUE, FALSE, SMALL = "supported", "refuted", "undecided at this power"
MODULI = (23, 31, 41, 53, 67, 83, 97, 113)


def noisy(value: float, generator: np.random.Generator, spread: float = 0.05) -> float:
    return value * float(np.exp(spread * generator.standard_normal()))


def decided(name: str, planted) -> str:
    """The verdict of a script, every network seen or left out by name."""
    found = import_module(name).decide(planted)
    assert found.reasons
    return found.verdict


# -- rules that read the table ---------------------------------------------------------------------------------


def moduli(addition: float, table: float, seeds: int, generator: np.random.Generator, loss: float = 1e-7, keys=3.0):
    """A study over p in which the LLC of both arms grows by these powers from 20 and 80 at p = 23."""
    rows = []
    for p in MODULI:
        for seed in range(seeds):
            number = max(1, round(noisy(keys if keys > 0 else 3 * (p / 23) ** -keys, generator, 0.02)))
            more = {"task__modulus": p, "key_frequencies": list(range(number))}
            llc = noisy(20 * (p / 23) ** addition, generator)
            rows.append(row("addition", seed, llc_final=llc, train_loss_final=loss, **more))
            llc = noisy(80 * (p / 23) ** table, generator)
            rows.append(row("random_table", seed, llc_final=llc, train_loss_final=1e-3, task__modulus=p))
            rows[-1]["outcome"] = "memorised"
    return study(rows)


@pytest.mark.parametrize(
    ("addition", "table", "seeds", "verdict"),
    [(1, 2, 3, TRUE), (1, np.log(20 / 80) / np.log(113 / 23) + 1, 3, FALSE), (1, 2, 1, SMALL)],
)
def test_p1(addition, table, seeds, verdict):
    assert decided("p1_structured_against_random", moduli(addition, table, seeds, np.random.default_rng(1))) == verdict


def test_p1_wants_an_equal_loss():
    unequal = moduli(1, 2, 3, np.random.default_rng(1), loss=1e-2)
    found = import_module("p1_structured_against_random").decide(unequal)
    assert found.verdict == SMALL
    assert sum("train loss is more than 2 times" in why for why in found.left_out) == len(MODULI)


@pytest.mark.parametrize(
    ("addition", "table", "seeds", "verdict"), [(1.1, 1.9, 3, TRUE), (0.3, 2, 3, FALSE), (1, 2, 2, SMALL)]
)
def test_linear_and_quadratic(addition, table, seeds, verdict):
    planted = moduli(addition, table, seeds, np.random.default_rng(2))
    assert decided("published_llc_against_modulus", planted) == verdict


@pytest.mark.parametrize(("power", "seeds", "verdict"), [(0.26, 5, TRUE), (1.0, 5, FALSE), (0.26, 2, SMALL)])
def test_number_of_frequencies(power, seeds, verdict):
    planted = moduli(1, 2, seeds, np.random.default_rng(3), keys=-power)
    assert decided("published_frequencies_against_modulus", planted) == verdict


@pytest.mark.parametrize(
    ("table", "seeds", "verdict"), [((60.0, 90.0), 5, TRUE), ((20.0, 30.0), 5, FALSE), ((60.0, 90.0), 2, SMALL)]
)
def test_p3(table, seeds, verdict):
    generator, rows = np.random.default_rng(4), []
    for arm, (llc, curvature) in (("main", (20.0, 30.0)), ("no_weight_decay", table)):
        for seed in range(seeds):
            numbers = {"llc_final": noisy(llc, generator)}
            numbers["final__landscape__gauss_newton_trace_unit_scale"] = noisy(curvature, generator)
            numbers["final__landscape__weight_norm"] = 20.0
            rows.append(row(arm, seed, **numbers))
            rows[-1]["outcome"] = "generalised" if arm == "main" else "memorised"
    assert decided("p3_mechanism_and_geometry", study(rows)) == verdict


@pytest.mark.parametrize(
    ("zero", "off", "seeds", "verdict"), [(1.01, 1.0, 5, TRUE), (1.2, 1.0, 5, FALSE), (1.0, 1.0, 2, SMALL)]
)
def test_p4(zero, off, seeds, verdict):
    generator = np.random.default_rng(5)
    rows = [
        {"run": "main", "seed": seed, "as trained": 16.0}
        | {name: noisy(16 * factor, generator, 0.012) for name, factor in (("zero", zero), ("off", off))}
        for seed in range(seeds)
    ]
    assert import_module("p4_dead_neurons").judged(pd.DataFrame(rows), []).verdict == verdict


@pytest.mark.parametrize(("power", "seeds", "verdict"), [(0.0, 3, TRUE), (0.5, 3, FALSE), (0.0, 2, SMALL)])
def test_p5(power, seeds, verdict):
    generator, rows = np.random.default_rng(6), []
    for arm, widths in (("neurons", (64, 128, 256, 512, 1024)), ("residual", (128, 384, 512))):
        for width in widths:
            for seed in range(seeds):
                llc = noisy(16 * (width / 64) ** power, generator)
                more = {"parameters": 100 * width, "llc_peak": 100.0}
                rows.append(row(arm, seed, model__d_mlp=width, llc_final=llc, **more))
    assert decided("p5_width", study(rows)) == verdict


@pytest.mark.parametrize(
    ("inside", "seeds", "verdict"), [(20, 20, TRUE), (7, 20, FALSE), (8, 8, SMALL), (14, 20, SMALL)]
)
def test_p6(inside, seeds, verdict):
    rows = []
    for seed in range(seeds):
        other = (seed - inside) % 3 if seed >= inside else None  # spread over the other three corners
        corner = (0.9, 0.3) if other is None else ((0.99, 0.3), (0.9, 0.8), (0.99, 0.8))[other]
        names = ("final__circuits__gradient_symmetricity", "final__circuits__distance_irrelevance")
        rows.append(row("main", seed, key_frequencies=[1, 2, 3], **dict(zip(names, corner, strict=True))))
    assert decided("p6_family_of_circuits", study(rows)) == verdict


def test_p6_counts_frequencies():
    names = ("final__circuits__gradient_symmetricity", "final__circuits__distance_irrelevance")
    numbers = [2, 5, 8, 11, 14] * 4  # one corner, but no usual number
    rows = [row("main", s, key_frequencies=list(range(n)), **dict.fromkeys(names, 0.5)) for s, n in enumerate(numbers)]
    assert decided("p6_family_of_circuits", study(rows)) == FALSE


@pytest.mark.parametrize(("growth", "seeds", "verdict"), [(-0.07, 20, TRUE), (0.3, 20, FALSE), (0.0, 5, SMALL)])
def test_llc_against_frequencies(growth, seeds, verdict):
    generator, rows = np.random.default_rng(7), []
    for seed in range(seeds):
        number = 2 + seed % 4
        llc = noisy(27 * np.exp(growth * (number - 2)), generator)
        rows.append(row("main", seed, llc_final=llc, key_frequencies=list(range(number))))
    assert decided("published_llc_against_frequencies", study(rows)) == verdict


def test_llc_against_one_number_of_frequencies():
    rows = [row("main", seed, llc_final=20.0 + seed, key_frequencies=[1, 2]) for seed in range(20)]
    assert decided("published_llc_against_frequencies", study(rows)) == SMALL


@pytest.mark.parametrize(("control", "seeds", "verdict"), [(0.1, 5, TRUE), (0.8, 5, FALSE), (0.1, 2, SMALL)])
def test_drop(control, seeds, verdict):
    generator, rows = np.random.default_rng(8), []
    for arm, drop in (("main", 0.85), ("never_generalises", control), ("random_table", control)):
        for seed in range(seeds):
            rows.append(row(arm, seed, llc_peak=100.0, llc_drop=noisy(100 * drop, generator)))
            rows[-1]["outcome"] = "generalised" if arm == "main" else "memorised"
    assert decided("published_drop_of_grokking_runs", study(rows)) == verdict


# -- rules that read run directories ---------------------------------------------------------------------------

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


@pytest.mark.parametrize(("of_sgd", "seeds", "verdict"), [(FALLS, 4, TRUE), (TURNED, 4, FALSE), (FALLS, 2, SMALL)])
def test_p7(tmp_path, of_sgd, seeds, verdict):
    generator, data, steps = np.random.default_rng(11), {}, np.array([0, 100, 200, 300, 400])
    at = {"step": steps, "seed": range(seeds)}

    def curve(values) -> tuple:
        scatter = np.exp(0.05 * generator.standard_normal((5, seeds)))
        return ("step", "seed"), np.array(values)[:, None] * scatter

    for arm in ARMS:
        flat = {"train_accuracy": [0, 1, 1, 1, 1], "test_accuracy": [0, 0, 0.7, 1, 1]}
        training = {name: (("step", "seed"), np.repeat([v], seeds, 0).T) for name, v in flat.items()}
        llc = {"llc": curve([15.0, *(of_sgd if arm == "sgd" else FALLS)])}
        llc["llc_verdict"] = (("step", "seed"), np.full((5, seeds), "effective"))
        data[arm] = {"training": xr.Dataset(training, at), "llc": xr.Dataset(llc, at)}
    rows = [row(arm, seed, llc_final=16.0) for arm in ARMS for seed in range(seeds)]
    assert decided("p7_optimisers", load_study(written(tmp_path, "optimizer", rows, data))) == verdict


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
    refined["llc_verdict"] = (("step", "seed", "component"), told)
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
    content["llc"] = {"step_size": 0.01, "n_beta": 5, "gamma": 10, "chains": 2, "draws": 8, "burn_in": 2}
    config = parse_config(content, "tiny")
    run = RunDirectory(tmp_path / "seeds" / "main")
    run.write_manifest({"config": config.model_dump(mode="json"), "environment": {}, "stages": {}})
    from slt_grok import models
    from slt_grok.tasks import ModularTask

    torch.manual_seed(0)
    module = models.build(modulus=5, **config.model.model_dump())
    one = Trajectory.of(module, ModularTask(**config.task.model_dump()))
    weights = {name: torch.randn_like(tensor) for name, tensor in one.parameters.items()}
    run.write_checkpoint(3, {name: torch.stack([tensor] * len(seeds)) for name, tensor in weights.items()})
    one = Trajectory.from_run(run.path).isel(seed=[0])
    inputs, _ = one.task.data("all")
    single = one.stacked()
    for bias in script.STATES.values():
        wide = script.widened(one, config.model.model_dump(), bias)
        assert wide.parameters["b_in"].shape == (1, 1, 9)
        before = one.network.outputs({name: tensor[0] for name, tensor in single.items()}, inputs)
        after = wide.network.outputs({name: tensor[0] for name, tensor in wide.stacked().items()}, inputs)
        torch.testing.assert_close(after, before)
    planted = study([row("main", seed) for seed in seeds], tmp_path / "seeds")
    found, _ = script.measured(planted)
    assert found.seed.tolist() == [script.USED]  # the earlier ones left it undecided
    assert np.isfinite(found[["as trained", "zero", "off"]].to_numpy()).all()
    assert script.judged(found, []).verdict == SMALL


def test_a_run_that_failed_is_named():
    rows = [row("main", seed, llc_final=16.0 + seed, key_frequencies=[1] * (2 + seed % 3)) for seed in range(12)]
    rows[3] |= {"status": "failed", "reason": "llc: diverged"}
    rows[4] |= {"outcome": "memorised"}
    rows[5] |= {"llc_final": np.nan}
    found = import_module("published_llc_against_frequencies").decide(study(rows))
    assert len(found.seen) == 9
    assert found.left_out == [
        "main, seed 3: failed (llc: diverged)",
        "main, seed 4: memorised, the rule wants generalised",
        "main, seed 5: no llc_final",
    ]
    with pytest.raises(SltGrokError, match="expected the columns llc_peak"):
        import_module("published_notebook_curve").decide(study(rows))
