"""Transplanted circuits: planted networks whose logits add up, and networks that get what they have."""

import numpy as np
import pytest
import torch
from circuit_surgery import transplant_circuit

from slt_grok.errors import SltGrokError
from slt_grok.models import build
from slt_grok.models.planting import plant
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory

P = 13
KINDS = {
    "transformer": {"d_model": 24, "n_heads": 2, "d_mlp": 40},
    "mlp": {"d_embed": 6, "d_mlp": 40, "activation": "relu"},
    "quadratic": {"width": 40},
}


def network(kind: str, seed: int) -> Trajectory:
    module = build(kind, P, **KINDS[kind]).double()
    module.initialize(torch.Generator().manual_seed(seed))
    return Trajectory.of(module, ModularTask(P))


def logits(trajectory: Trajectory) -> np.ndarray:
    with torch.no_grad():
        return trajectory.network.outputs(trajectory.parameters, trajectory.task.inputs).numpy().reshape(P, P, P)


def cosines(amplitudes: dict[int, float]) -> np.ndarray:
    a, b, c = np.ogrid[:P, :P, :P]
    return np.sum([height * np.cos(2 * np.pi * k / P * (a + b - c)) for k, height in amplitudes.items()], 0)


FIRST = np.arange(40) < 16


@pytest.mark.parametrize("kind", KINDS)
def test_from_itself_a_network_gets_what_it_has(kind: str) -> None:
    one = network(kind, 0)
    same = transplant_circuit(one, one, [2, 5], FIRST, attention=True)
    for name, tensor in one.parameters.items():
        torch.testing.assert_close(same.parameters[name], tensor, atol=1e-14, rtol=0)


def test_without_a_hidden_basis_circuits_of_two_networks_add_up() -> None:
    module = build("quadratic", P, width=40).double()
    donor = Trajectory.of(module, ModularTask(P))
    donor.parameters.update(plant(module, "clock", {2: 3.0}))
    rolled = {name: t.roll(20, -2 if name == "W" else -1) for name, t in plant(module, "clock", {5: 1.0}).items()}
    receiver = Trajectory(donor.network, rolled)
    both = transplant_circuit(receiver, donor, [2], FIRST)
    np.testing.assert_allclose(logits(both), cosines({2: 3.0, 5: 1.0}), atol=1e-12)
    alone = transplant_circuit(receiver, donor, [2], FIRST, removed=[5])
    np.testing.assert_allclose(logits(alone), cosines({2: 3.0}), atol=1e-12)


def test_in_a_shared_basis_a_planted_circuit_goes_over_and_brings_its_neurons_bias() -> None:
    module = build("mlp", P, **KINDS["mlp"]).double()
    donor = Trajectory.of(module, ModularTask(P))
    donor.parameters.update(plant(module, "pizza", {2: 3.0}))
    donor.parameters["b_in"] = torch.linspace(-1, 1, 40).double()
    blank = Trajectory.of(module, ModularTask(P))
    found = transplant_circuit(blank, donor, [2], np.ones(40, dtype=bool))
    np.testing.assert_allclose(logits(found), logits(donor), atol=1e-12)
    part = transplant_circuit(blank, donor, [2], FIRST)
    torch.testing.assert_close(part.parameters["b_in"], donor.parameters["b_in"] * torch.from_numpy(FIRST))


def test_everything_outside_the_circuit_is_the_receivers() -> None:
    receiver, donor = network("transformer", 0), network("transformer", 1)
    found = transplant_circuit(receiver, donor, [2], FIRST)
    for name in ("W_pos", "W_Q", "W_K", "W_V", "W_O", "b_out"):
        assert torch.equal(found.parameters[name], receiver.parameters[name])
    others = torch.from_numpy(~FIRST)
    assert torch.equal(found.parameters["W_in"][:, others], receiver.parameters["W_in"][:, others])
    assert torch.equal(found.parameters["W_in"][:, ~others], donor.parameters["W_in"][:, ~others])
    assert torch.equal(found.parameters["W_E"][P:], receiver.parameters["W_E"][P:])
    t = np.arange(P)
    for k, source in ((2, donor), (3, receiver), (6, receiver)):
        wave = torch.from_numpy(np.exp(2j * np.pi * k * t / P))
        for name, side in (("W_E", lambda w: w[:P].T), ("W_U", lambda w: w)):
            mine, wanted = (side(one.parameters[name]).to(wave.dtype) @ wave for one in (found, source))
            torch.testing.assert_close(mine, wanted, atol=1e-12, rtol=0)
    taken = transplant_circuit(receiver, donor, [2], FIRST, attention=True)
    assert torch.equal(taken.parameters["W_Q"], donor.parameters["W_Q"])


def test_what_is_no_transplant_is_said() -> None:
    one, other = network("quadratic", 0), network("mlp", 0)
    with pytest.raises(SltGrokError, match="donor: expected the same shapes"):
        transplant_circuit(one, other, [2], FIRST)
    with pytest.raises(SltGrokError, match=r"frequencies: expected some of 1\.\.6, got \[7\]"):
        transplant_circuit(one, one, [7], FIRST)
    with pytest.raises(SltGrokError, match=r"frequencies: expected some of 1\.\.6, got \[\]"):
        transplant_circuit(one, one, [], FIRST)
    with pytest.raises(SltGrokError, match=r"bool mask of shape \(40,\)"):
        transplant_circuit(one, one, [2], FIRST[:3])
    adapter = Trajectory.of(torch.nn.Linear(2, 2), ModularTask(P))
    with pytest.raises(SltGrokError, match=r"expected a model of slt_grok\.models"):
        transplant_circuit(adapter, adapter, [2], FIRST)
