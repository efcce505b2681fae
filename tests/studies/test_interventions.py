"""Interventions on the weights as a measurement of a run: planted clocks, a seed without a circuit, a resume."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from slt_grok import plots
from slt_grok.config import parse_config
from slt_grok.errors import SltGrokError
from slt_grok.groups import cyclic
from slt_grok.interventions.weights import frequency_directions
from slt_grok.models import planted
from slt_grok.program import interventions as measurement
from slt_grok.program.interventions import ACTS, Circuit, Interventions, control, variants
from slt_grok.store import RunDirectory
from slt_grok.studies.run import Run, run_measurements
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory
from tests.conftest import CONFIG, Command, write_config

P, KEYS, STEPS = 13, [2, 5], (0, 10, 20, 30)
LLC = {"sampler": {"step_size": 0.01}, "n_beta": 5, "gamma": 10, "chains": 2, "draws": 8, "burn_in": 2}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Seed 0 is a clock whose answers grow louder, seed 1 a network of zeros, which has no circuit."""
    directory = RunDirectory(tmp_path / "run")
    clock = dict(planted.quadratic_clock(P, dict.fromkeys(KEYS, 1.0)).named_parameters())
    for step in STEPS:
        loud = {name: t.detach() * (1 + step if name == "W" else 1) for name, t in clock.items()}
        directory.write_checkpoint(step, {name: torch.stack([t, 0 * t]).float() for name, t in loud.items()})
    fit = np.stack([np.array(STEPS) >= 10, np.zeros(4)], 1).astype(float)
    curves = {"train_accuracy": fit, "test_accuracy": fit, "train_loss": 2 - fit, "test_loss": 2 - fit}
    training = xr.Dataset(
        {name: (("step", "seed"), values) for name, values in curves.items()},
        coords={"step": list(STEPS), "seed": [0, 1]},
    )
    directory.write_measurement("training", training, {})
    config = {
        "name": "clocks", "seeds": [0, 1], "task": {"modulus": P}, "model": {"kind": "quadratic", "width": 32},
        "training": None, "llc": LLC, "interventions": {"checkpoints": 2, "controls": 1},
    }  # fmt: skip
    directory.write_manifest({"config": config, "stages": {}})
    return directory.path


def measured(run: Path) -> xr.Dataset:
    run_measurements(Run(run), ["interventions"])
    return RunDirectory(run).read_measurement("interventions")


def test_a_clock_kept_is_itself_and_removed_is_nothing(run: Path) -> None:
    found = measured(run)
    assert found.step.values.tolist() == [10, 30]  # from memorization on
    one = found.sel(seed=0)
    plain = one.sel(variant="as trained")
    for name in ("circuit kept in tables", "circuit kept in neurons", "circuit kept in tables and neurons",
                 "random frequencies 1 removed in tables"):  # fmt: skip
        np.testing.assert_allclose(one.loss.sel(variant=name), plain.loss, rtol=1e-4, err_msg=name)
        assert (one.accuracy.sel(variant=name) == 1).all()
    for name in ("circuit removed in tables", "random frequencies 1 kept in tables", "circuit removed in neurons"):
        np.testing.assert_allclose(one.loss.sel(variant=name), np.log(P), rtol=1e-4, err_msg=name)
    last, first = one.sel(step=30), one.sel(step=10)
    for part in ("embedding", "unembedding"):
        assert (last.distance.sel(variant=f"{part} from the end") == 0).all()
        assert first.distance.sel(variant=f"{part} from memorization") == 0
    np.testing.assert_array_equal(
        first.loss.sel(variant="unembedding from the end"), last.loss.sel(variant="as trained")
    )
    assert np.isfinite(one.llc).all()
    change = one.llc - plain.llc
    np.testing.assert_allclose(one.llc_change.isel(variant=slice(1, None)), change.isel(variant=slice(1, None)))
    assert np.isnan(one.llc_change.sel(variant="as trained")).all()
    rows = Interventions().tables({"interventions": found})[0].rows
    assert [row[0] for row in rows] == one["variant"].values.tolist()
    for drawing in Interventions().figures():
        plots.save(drawing.draw(found, seed=0), run / "figures", drawing.name)


def test_a_seed_without_a_circuit_has_nothing_but_the_reason(run: Path) -> None:
    bare = measured(run).sel(seed=1)
    acts = bare.act.isin(["kept", "removed", "from memorization"])
    assert np.isnan(bare.llc.isel(variant=acts.values)).all()
    assert (bare.llc_status_reason.isel(variant=acts.values) == measurement.UNAVAILABLE).all()
    assert np.isfinite(bare.llc.isel(variant=~acts.values)).all()


def test_a_stopped_measurement_resumes(run: Path, monkeypatch: pytest.MonkeyPatch, in_this_process: None) -> None:
    estimate, calls = measurement.estimate_by, []

    def stops(*arguments: Any, **options: Any) -> xr.Dataset:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return estimate(*arguments, **options)

    monkeypatch.setattr(measurement, "estimate_by", stops)
    with pytest.raises(KeyboardInterrupt):
        measured(run)
    resumed, after = measured(run), len(calls)
    assert not (run / "state").exists()
    RunDirectory(run).measurement_path("interventions").unlink()
    xr.testing.assert_identical(measured(run), resumed)
    assert len(calls) - after > after - 3  # what was done before the stop was not done again


def test_names_of_variants_differ_and_random_circuits_are_as_large() -> None:
    todo = variants(Trajectory.of(planted.quadratic_clock(P, dict.fromkeys(KEYS, 1.0)), ModularTask(P)), 3)
    assert len({variant.name for variant in todo}) == len(todo)
    group, neurons = cyclic(P), np.arange(32) < 5
    own = Circuit(KEYS, frequency_directions(group, KEYS), neurons)
    for variant in todo:
        if variant.act in ACTS and variant.control != "circuit":
            circuit = control(own, variant, group, 0)
            assert circuit is not None
            assert circuit.directions.shape == (4, P)
            assert circuit.neurons.sum() == 5
            if variant.control in ("random frequencies", "random"):
                assert float((circuit.directions @ own.directions.T).abs().max()) < 1e-12
    five = [1, 2, 4, 5, 6]  # one other frequency remains: not as many
    assert control(Circuit(five, frequency_directions(group, five), neurons), todo[2], group, 0) is None


def test_it_is_measured_only_when_asked_for_and_needs_settings_for_the_llc(
    run: Path, tmp_path: Path, slt_grok_command: Command
) -> None:
    assert not parse_config(CONFIG, "here").asks_for(Interventions)
    config = write_config(tmp_path / "none.yaml", ("llc", None))
    code, error = slt_grok_command("measure", run, "--only", "interventions", "--config", config)
    assert code == 2
    assert "expected settings for interventions" in error


def test_settings_are_those_of_the_llc_where_not_given() -> None:
    found = parse_config({**CONFIG, "llc": LLC, "interventions": {"draws": 20}}, "here").settings(Interventions)
    assert (found.draws, found.n_beta, found.checkpoints, found.controls) == (20, 5, 4, 2)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"interventions": {"checkpoints": 1}}, r"interventions\.checkpoints: expected"),
        ({"interventions": {"controls": 0}}, r"interventions\.controls: expected"),
        ({"baseline": "../other"}, r"baseline: expected"),
        ({"task": {**CONFIG["task"], "label_noise": 1.0}}, r"task\.label_noise: expected"),
        ({"training": {"frequency_penalty": {"frequencies": [3], "strength": 1}}}, r"frequencies: expected distinct"),
        (
            {"training": {"frequency_penalty": {"frequencies": [1], "strength": 0}}},
            r"frequency_penalty\.strength: expected",
        ),
        ({"training": {"frequency_penalty": {"frequencies": [], "strength": 1}}}, r"frequency_penalty\.frequencies"),
        ({"training": {"weight_decay_changes": [{"step": 20, "weight_decay": 0}]}}, "expected ascending steps before"),
        ({"training": {"weight_decay_changes": [{"step": 5, "weight_decay": -1}]}}, r"0\.weight_decay: expected"),
        ({"training": {"start": {"circuit": "lookup", "frequencies": [1]}}}, r"training\.start\.circuit: expected"),
        (
            {"training": {"start": {"circuit": "pizza", "frequencies": [1, 1]}}},
            r"start\.frequencies: expected distinct",
        ),
    ],
)
def test_a_bad_setting_is_named(changes: dict[str, Any], named: str) -> None:
    content = {**CONFIG, **changes}
    if "training" in changes:
        content["training"] = {**CONFIG["training"], **changes["training"]}
    with pytest.raises(SltGrokError, match=named):
        parse_config(content, "here")


@pytest.mark.parametrize("path", sorted(Path("configs/interventions").glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_configuration_differs_from_the_plain_run_in_its_intervention_alone(path: Path) -> None:
    from slt_grok.config import load_config
    from slt_grok.store.run_directory import changed_keys

    own = load_config(path).model_dump(mode="json")
    plain = load_config(Path("configs") / f"{own['baseline']}.yaml").model_dump(mode="json")
    changed = {line.split(":")[0] for line in changed_keys(plain, own)} - {"name", "baseline"}
    expected = {
        "frequency_penalty": {"training.frequency_penalty"}, "weight_decay_off": {"training.weight_decay_changes"},
        "weight_decay_on": {"training.weight_decay", "training.weight_decay_changes"},
        "planted_start": {"training.start"}, "label_noise": {"task.label_noise"},
    }  # fmt: skip
    assert changed == expected[path.stem]
