"""Moved frequencies: relabeling by t -> m t is an exact check, planted circuits have known logits."""

import numpy as np
import pytest
import torch
from circuit_surgery import move_frequencies, rotation

from slt_grok.errors import SltGrokError
from slt_grok.interventions import relabel
from slt_grok.models import build, planted
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory

P = 13
SETTINGS = {
    "transformer": {"d_model": 8, "n_heads": 2, "d_mlp": 12},
    "deep_transformer": {"d_model": 8, "n_heads": 2, "d_mlp": 12},
    "mlp": {"d_embed": 4, "d_mlp": 6, "output_bias": True, "separate_embeddings": True},
    "deep_mlp": {"d_embed": 4, "d_mlp": 6},
    "quadratic": {"width": 10},
}


def random_networks(kind: str) -> Trajectory:
    module = build(kind, P, **SETTINGS[kind]).double()
    states = {}
    for step in (0, 1):
        module.initialize(torch.Generator().manual_seed(step))
        states[step] = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    return Trajectory.stack(module, states, ModularTask(P))


def logits(trajectory: Trajectory) -> np.ndarray:
    with torch.no_grad():
        return trajectory.network.outputs(trajectory.parameters, trajectory.task.inputs).numpy().reshape(P, P, P)


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("m", [2, 5, 12])
def test_moving_every_frequency_by_the_same_factor_is_relabeling(kind: str, m: int) -> None:
    networks = random_networks(kind)
    # f(t) -> f(t / m): cos w_k t becomes cos w_{k/m} t, of which the sine turns where k/m lies beyond (p-1)/2
    moved = move_frequencies(networks, {k: k * pow(m, -1, P) % P for k in range(1, (P + 1) // 2)})
    renamed = relabel(networks, m * np.arange(P) % P)
    for name, tensor in renamed.parameters.items():
        torch.testing.assert_close(moved.parameters[name].double(), tensor.double(), atol=1e-12, rtol=0)


@pytest.mark.parametrize("make", [planted.clock, planted.pizza, planted.quadratic_clock])
def test_a_planted_circuit_moves_to_the_frequency(make) -> None:
    before = Trajectory.of(make(P, {2: 3.0, 5: 1.0}), ModularTask(P))
    for to, kept in ((6, 6), (7, 6), (3, 3)):
        # the same network as one planted there: radii of the circles follow the order of the frequencies
        wanted = logits(Trajectory.of(make(P, {kept: 3.0, 5: 1.0}), ModularTask(P)))
        np.testing.assert_allclose(logits(move_frequencies(before, {2: to})), wanted, atol=1e-12)


def test_two_frequencies_change_places_and_a_chain_closes() -> None:
    before = Trajectory.of(planted.clock(P, {2: 3.0, 5: 1.0}), ModularTask(P))
    swapped = logits(Trajectory.of(planted.clock(P, {5: 3.0, 2: 1.0}), ModularTask(P)))
    np.testing.assert_allclose(logits(move_frequencies(before, {2: 5})), swapped, atol=1e-12)
    chain = logits(Trajectory.of(planted.clock(P, {5: 3.0, 6: 1.0}), ModularTask(P)))
    np.testing.assert_allclose(logits(move_frequencies(before, {2: 5, 5: 6})), chain, atol=1e-12)


@pytest.mark.parametrize("moves", [{}, {2: 5}, {2: 8}, {1: 2, 2: 3, 3: 1}, {1: 2, 4: 12}])
def test_a_move_is_a_rotation_that_can_be_undone(moves: dict[int, int]) -> None:
    turn = rotation(P, moves)
    torch.testing.assert_close(turn @ turn.T, torch.eye(P, dtype=torch.float64), atol=1e-12, rtol=0)
    ones = torch.ones(P, dtype=torch.float64)
    torch.testing.assert_close(turn @ ones, ones)
    t = np.arange(P)
    for k, to in moves.items():
        for wave in (np.cos, np.sin):
            image = turn.numpy() @ wave(2 * np.pi * k * t / P)
            np.testing.assert_allclose(image, wave(2 * np.pi * to * t / P), atol=1e-12)


def test_everything_but_the_circuit_stays() -> None:
    networks = random_networks("transformer")
    moved = move_frequencies(networks, {2: 5})
    assert all(
        torch.equal(moved.parameters[name], tensor)
        for name, tensor in networks.parameters.items()
        if name not in ("W_E", "W_U")
    )
    assert torch.equal(moved.parameters["W_E"][:, P:], networks.parameters["W_E"][:, P:])
    for name in ("W_E", "W_U"):
        torch.testing.assert_close(moved.parameters[name].norm(), networks.parameters[name].norm())


@pytest.mark.parametrize("moves", [{0: 1}, {7: 1}, {1: 13}, {1: 0}, {1: 3, 2: 3}, {1: 3, 2: 10}])
def test_moves_that_are_none(moves: dict[int, int]) -> None:
    with pytest.raises(SltGrokError, match=r"moves: expected frequencies 1\.\.6"):
        move_frequencies(random_networks("quadratic"), moves)
