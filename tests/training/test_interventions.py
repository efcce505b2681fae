"""Interventions in training: what each must do by its formula, and that resume and stacks of seeds hold."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from slt_grok.errors import SltGrokError
from slt_grok.groups import cyclic
from slt_grok.models import build, planted
from slt_grok.models.network import Network
from slt_grok.models.planting import GELU_INPUT, plant
from slt_grok.store import RunDirectory
from slt_grok.tasks import ModularTask
from slt_grok.training import CheckpointSchedule, TrainingSettings, train
from slt_grok.training.interventions import start, weight_decay
from slt_grok.training.settings import PlantedStart

P = 11
TASK = ModularTask(P, train_fraction=0.5)
KIND = {"transformer": {"d_model": 16, "n_heads": 2, "d_mlp": 32}, "mlp": {"d_embed": 8, "d_mlp": 16}}
PENALTY = {"frequencies": [2, 4], "strength": 5.0}


def settings(**changes: Any) -> TrainingSettings:
    schedule = CheckpointSchedule(linear=4)
    common = {"steps": 60, "evaluate_every": 20, "checkpoints": schedule, "learning_rate": 3e-3}
    return TrainingSettings(**(common | changes))


def states(path: Path, s: TrainingSettings, seeds: tuple[int, ...] = (0,), kind: str = "transformer"):
    run, network = RunDirectory(path), Network(build(kind, P, **KIND[kind]), TASK)
    train(run, network, s, seeds)
    return {step: run.read_checkpoint(step, network.shapes) for step in run.steps}


def power(state: dict[str, torch.Tensor]) -> np.ndarray:
    """Squared norm of the embedding at each frequency, (seed, frequency)."""
    return cyclic(P).power(cyclic(P).transform(state["W_E"][:, :P].double())).numpy()


@pytest.mark.parametrize("kind", ["transformer", "mlp"])
def test_plain_gradient_descent_under_the_penalty_is_its_formula(tmp_path: Path, kind: str) -> None:
    """E' = E - lr (dL/dE + c P_K E), with dL/dE from a step of the run without a penalty."""
    common = {"steps": 1, "optimizer": "sgd", "learning_rate": 0.02, "weight_decay": 0.0, "warmup_steps": 0}
    plain = states(tmp_path / "plain", settings(**common), kind=kind)
    bent = states(tmp_path / "bent", settings(**common, frequency_penalty=PENALTY), kind=kind)
    for name, before in plain[0].items():
        wanted = plain[1][name].clone()
        if name == "W_E":
            mask = torch.from_numpy(np.isin(cyclic(P).frequencies, [2, 4]))
            wanted[:, :P] -= 0.02 * 5.0 * cyclic(P).project(before[:, :P], mask)
        torch.testing.assert_close(bent[1][name], wanted, rtol=1e-5, atol=1e-6)


def test_a_strong_penalty_leaves_no_power_and_its_remainder_falls_as_one_over_c_squared(tmp_path: Path) -> None:
    """Where the update of P_K E stands still, c P_K E = -P_K dL/dE: ten times c, a hundredth of the power."""
    common = {"steps": 400, "optimizer": "sgd", "learning_rate": 1 / 200, "weight_decay": 0.0}
    plain = power(states(tmp_path / "plain", settings(**common))[400])[0]
    found = [
        power(states(tmp_path / str(c), settings(**common, frequency_penalty=PENALTY | {"strength": c}))[400])[0]
        for c in (10.0, 100.0)
    ]
    penalized = np.isin(cyclic(P).frequencies, [2, 4])
    assert (found[1][penalized] < 1e-5 * plain[penalized]).all()
    np.testing.assert_allclose(found[0][penalized] / found[1][penalized], 100, rtol=0.2)
    assert (found[1][~penalized] > 0.5 * plain[~penalized]).all()


def test_adamw_under_the_penalty_keeps_nothing_in_the_planes(tmp_path: Path) -> None:
    s = settings(steps=600, weight_decay=0.0, frequency_penalty=PENALTY | {"strength": 100.0})
    after = power(states(tmp_path, s)[600])[0]
    penalized = np.isin(cyclic(P).frequencies, [2, 4])
    assert after[penalized].max() < 1e-3 * after[~penalized].min()


def test_a_penalty_that_starts_later_leaves_what_was_before(tmp_path: Path) -> None:
    plain = states(tmp_path / "plain", settings())
    late = states(tmp_path / "late", settings(frequency_penalty=PENALTY | {"from_step": 20}))
    for name in plain[0]:
        assert torch.equal(plain[20][name], late[20][name])
    assert not torch.equal(plain[40]["W_E"], late[40]["W_E"])


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_weight_decay_is_the_plain_one_up_to_its_change_and_the_new_one_from_there(
    tmp_path: Path, optimizer: str
) -> None:
    plain = states(tmp_path / "plain", settings(optimizer=optimizer))
    off = settings(optimizer=optimizer, weight_decay_changes=[{"step": 20, "weight_decay": 0.0}])
    changed = states(tmp_path / "off", off)
    for name in plain[0]:
        assert torch.equal(plain[20][name], changed[20][name])
    norms = [sum(float(t.square().sum()) for t in run[40].values()) for run in (plain, changed)]
    assert norms[1] > norms[0]
    from_start = states(tmp_path / "start", settings(optimizer=optimizer, weight_decay=0.0))
    switched = settings(optimizer=optimizer, weight_decay_changes=[{"step": 0, "weight_decay": 0.0}])
    for name, tensor in states(tmp_path / "zero", switched)[60].items():
        assert torch.equal(tensor, from_start[60][name])


def test_the_last_change_so_far_counts() -> None:
    s = settings(
        weight_decay=1.0, weight_decay_changes=[{"step": 5, "weight_decay": 0}, {"step": 9, "weight_decay": 2}]
    )
    assert [weight_decay(s, step) for step in (0, 4, 5, 8, 9, 50)] == [1, 1, 0, 0, 2, 2]


ALL = {
    "frequency_penalty": PENALTY | {"from_step": 10},
    "weight_decay_changes": [{"step": 30, "weight_decay": 0.0}],
    "start": {"circuit": "pizza", "frequencies": [1, 2], "noise": 0.3},
}


def test_a_stopped_training_resumes_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    through = states(tmp_path / "through", settings(**ALL), (0, 1))
    monkeypatch.setattr("slt_grok.training.loop.SAVE_SECONDS", 0)
    run, network = RunDirectory(tmp_path / "stopped"), Network(build("transformer", P, **KIND["transformer"]), TASK)

    class Stopped(Exception):
        pass

    def stop(fraction: float, note: str = "") -> None:
        if fraction >= 40 / 60:  # after the change, so that the resumed run must know of it
            raise Stopped

    with pytest.raises(Stopped):
        train(run, network, settings(**ALL), (0, 1), stop)
    train(run, network, settings(**ALL), (0, 1))
    for step, tensors in through.items():
        for name, tensor in run.read_checkpoint(step, network.shapes).items():
            assert torch.equal(tensor, tensors[name]), (step, name)


def test_seeds_side_by_side_are_seeds_alone(tmp_path: Path) -> None:
    both, one = states(tmp_path / "both", settings(**ALL), (3, 5)), states(tmp_path / "one", settings(**ALL), (5,))
    torch.testing.assert_close(both[60]["W_E"][1], one[60]["W_E"][0], rtol=1e-3, atol=1e-5)
    assert not torch.equal(both[0]["W_E"][0], both[0]["W_E"][1])


HOLDERS = [
    ("transformer", {"d_model": 20, "n_heads": 2, "d_mlp": 120}, "pizza"),
    ("transformer", {"d_model": 24, "n_heads": 4, "d_mlp": 97, "layout": "a_b", "attention_rate": 0.3}, "pizza"),
    ("mlp", {"d_embed": 7, "d_mlp": 100, "combine": "sum", "activation": "relu", "output_bias": True}, "pizza"),
    ("mlp", {"d_embed": 6, "d_mlp": 60, "activation": "quadratic", "bias_per_token": True}, "clock"),
    ("mlp", {"d_embed": 6, "d_mlp": 100, "combine": "concatenation", "activation": "relu"}, "pizza"),
    ("mlp", {"d_embed": 6, "d_mlp": 97, "activation": "relu", "separate_embeddings": True}, "pizza"),
    ("mlp", {"d_embed": 6, "d_mlp": 50, "activation": "quadratic", "separate_embeddings": True}, "clock"),
    ("quadratic", {"width": 50}, "clock"),
]


@pytest.mark.parametrize(("kind", "model", "circuit"), HOLDERS)
def test_a_planted_network_has_the_circuits_logits_in_a_wider_one(
    kind: str, model: dict[str, Any], circuit: str
) -> None:
    p, amplitudes = 31, {3: 20.0, 7: 20.0, 11: 20.0}
    module = build(kind, p, **model).double()
    module.load_state_dict(plant(module, circuit, amplitudes))  # pyright: ignore[reportArgumentType]
    inputs, task = ModularTask(p).inputs, ModularTask(p)
    directions = model["d_mlp"] // 6 if circuit == "pizza" else 0
    reference = planted.pizza(p, amplitudes, directions) if directions else planted.clock(p, amplitudes)
    with torch.no_grad():
        found, wanted = module(inputs), reference(inputs)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    assert (found.argmax(-1) == task.labels).all()


def test_a_planted_clock_through_gelu_is_within_the_stated_share_of_its_squares() -> None:
    # each neuron's square is off by at most 4 GELU_INPUT^2 / 6 of itself, and the squares of a frequency with their
    # outputs add up to 2/16 A_k sum (X + Y)^2 |cos| <= 2/16 A_k sum (X + Y)^2 = 2 A_k
    p, amplitudes = 31, {3: 20.0, 7: 20.0, 11: 20.0}
    module = build("mlp", p, d_embed=7, d_mlp=50, activation="gelu").double()
    module.load_state_dict(plant(module, "clock", amplitudes))
    with torch.no_grad():
        gap = module(ModularTask(p).inputs) - planted.clock(p, amplitudes)(ModularTask(p).inputs)
    bound = 2 * sum(amplitudes.values()) * 4 * GELU_INPUT**2 / 6
    assert bound / 20 < gap.abs().max() < bound


@pytest.mark.parametrize(("kind", "model"), [("quadratic", {"width": 50}), ("mlp", {"activation": "quadratic"})])
def test_a_clock_can_subtract_and_a_pizza_cannot(kind: str, model: dict[str, Any]) -> None:
    module = build(kind, 31, **model).double()
    module.load_state_dict(plant(module, "clock", {3: 20.0, 7: 20.0, 11: 20.0}, sign=-1))
    task = ModularTask(31, "subtraction")
    with torch.no_grad():
        assert (module(task.inputs).argmax(-1) == task.labels).all()
    with pytest.raises(SltGrokError, match="expected addition for a pizza"):
        plant(build("transformer", 31), "pizza", {3: 1.0}, sign=-1)


def test_a_planted_start_answers_all_pairs_at_step_0_in_every_seed(tmp_path: Path) -> None:
    task = ModularTask(31, train_fraction=0.5)
    network = Network(build("transformer", 31, d_model=32, n_heads=2, d_mlp=96), task)
    planted_start = {"circuit": "pizza", "frequencies": [3, 7, 11], "amplitude": 20, "noise": 0.02}
    curves = train(RunDirectory(tmp_path), network, settings(steps=1, start=planted_start), (0, 1))
    np.testing.assert_array_equal(curves.train_accuracy.sel(step=0), 1)
    np.testing.assert_array_equal(curves.test_accuracy.sel(step=0), 1)


def test_noise_is_its_share_of_the_usual_weights() -> None:
    module = build("transformer", 31, d_model=32, n_heads=2, d_mlp=96)
    module.initialize(torch.Generator().manual_seed(0))
    given = {"circuit": "pizza", "frequencies": [3], "amplitude": 2.0}
    bare, noisy = (start(module, PlantedStart(**given, noise=noise)) for noise in (0.0, 0.25))
    for name, fresh in module.named_parameters():
        torch.testing.assert_close(noisy[name] - bare[name], 0.25 * fresh.detach(), rtol=1e-4, atol=1e-6)
    for name, tensor in start(module, None).items():
        assert torch.equal(tensor, module.get_parameter(name))


@pytest.mark.parametrize(
    ("kind", "model", "circuit", "named"),
    [
        ("transformer", KIND["transformer"], "clock", "expected an mlp with combine concatenation"),
        ("mlp", {"activation": "gelu", "combine": "sum"}, "pizza", "activation relu"),
        ("transformer", {"d_model": 8, "n_heads": 2, "d_mlp": 64}, "pizza", "d_model of at least 12"),
        ("transformer", {"d_model": 16, "n_heads": 2, "d_mlp": 11}, "pizza", "d_mlp of at least 12"),
        ("quadratic", {"width": 20}, "clock", r"wide enough for the circuit, whose U has the shape \(11, 32\)"),
    ],
)
def test_a_network_that_cannot_hold_a_circuit_says_so(kind: str, model: Any, circuit: Any, named: str) -> None:
    with pytest.raises(SltGrokError, match=named):
        plant(build(kind, P, **model), circuit, {1: 1.0, 2: 1.0})
