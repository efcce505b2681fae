"""Causal tests on planted circuits, where each effect is known, and on published networks."""

import math
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch

from slt_grok import circuits
from slt_grok.circuits import causal
from slt_grok.circuits.intervened import INTERVENTIONS, SITES, Draw, Intervened, planes_of
from slt_grok.errors import SltGrokError
from slt_grok.groups import cyclic
from slt_grok.models import EmbeddingMLP, OneLayerTransformer, planted
from slt_grok.store import importers
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory

from .planted import clock_loss

P, AMPLITUDES = 13, {2: 6.0, 3: 4.0, 5: 5.0}
K = np.arange(1, 7)
KEYS = np.isin(K, list(AMPLITUDES))
LOSS = clock_loss(P, AMPLITUDES)
REFERENCE = Path(__file__).parents[2] / ".." / "shared" / "reference" / "checkpoints"
PUBLISHED = {
    "progress_measures": "progress_measures/wd_10-1_mod_addition_loss_curve.pth",
    "pizza": "clock_pizza/model_p99zdpze5l.pt",
    "clock": "clock_pizza/model_l8k1hzciux.pt",
}


def measured(module, keys=KEYS, memorizing=None):
    return causal.measure(Trajectory.of(module, ModularTask(P)), keys, memorizing)


@pytest.fixture(scope="module")
def of_clock():
    return measured(planted.clock(P, AMPLITUDES))


@pytest.mark.parametrize("site", list(SITES.values()))
def test_frequencies_of_a_clock(of_clock, site):
    without = [clock_loss(P, {k: a for k, a in AMPLITUDES.items() if k != gone}) / LOSS for gone in AMPLITUDES]
    guess = math.log(P) / LOSS
    one = of_clock.sel(test=f"one frequency removed, {site}")
    np.testing.assert_allclose(one.effect, min(without), rtol=1e-9)
    nothing_else = ["all other frequencies", "random frequencies", "random frequencies of equal norm"]
    np.testing.assert_allclose(one.control_effect.sel(control=nothing_else), 1, rtol=1e-9)
    removed = of_clock.sel(test=f"all removed, {site}")
    np.testing.assert_allclose(removed.effect, guess, rtol=1e-9)
    np.testing.assert_allclose(removed.control_effect.sel(control=nothing_else), 1, rtol=1e-9)
    np.testing.assert_allclose(removed.ratio.sel(control=nothing_else), guess, rtol=1e-9)
    kept = of_clock.sel(test=f"only these kept, {site}")
    np.testing.assert_allclose(kept.effect, 1, rtol=1e-9)
    np.testing.assert_allclose(kept.control_effect.sel(control=nothing_else), guess, rtol=1e-9)


def test_loss_without_each_frequency_of_a_clock(of_clock):
    wanted = [clock_loss(P, {k: a for k, a in AMPLITUDES.items() if k != gone}) / LOSS for gone in K]
    for site in of_clock.site.values:
        np.testing.assert_allclose(of_clock.loss_ratio_by_frequency.sel(site=site), wanted, rtol=1e-9)


def test_norms_of_the_planes_of_a_clock(of_clock):
    """Circles of radius r have squared norm p r^2, here r = 1, 5/6, 4/6; A cos w(a+b-c) has A^2 p^3 / 2."""
    of = of_clock.plane_norm
    np.testing.assert_allclose(of.sel(test="all removed, embedding"), (P * (36 + 25 + 16) / 36) ** 0.5)
    np.testing.assert_allclose(of.sel(test="planes rotated"), (P * (36 + 25 + 16) / 36) ** 0.5)
    squares = sum(a**2 for a in AMPLITUDES.values())
    np.testing.assert_allclose(of.sel(test="all removed, logits"), (squares * P**3 / 2) ** 0.5)
    weakest = min(AMPLITUDES, key=lambda gone: clock_loss(P, {k: a for k, a in AMPLITUDES.items() if k != gone}))
    np.testing.assert_allclose(of.sel(test="one frequency removed, logits"), AMPLITUDES[weakest] * (P**3 / 2) ** 0.5)
    others = of_clock.control_plane_norm.sel(control="all other frequencies")
    np.testing.assert_allclose(others, 0, atol=1e-10)


MOVES = ["planes of another token", "planes rotated", "planes and accompanying rotated"]


@pytest.mark.parametrize("make", [planted.clock, planted.quadratic_clock, planted.pizza])
def test_answers_follow_the_planes_of_the_circuit_and_no_others(make):
    found = measured(make(P, dict.fromkeys(AMPLITUDES, 5.0))).sel(test=MOVES)
    np.testing.assert_array_equal(found.effect, 1)
    np.testing.assert_array_equal(found.effect_se, 0)
    others = found.control_effect.sel(control=["all other frequencies", "random frequencies"])
    np.testing.assert_array_equal(others, 0)
    assert np.isinf(found.ratio.sel(control="random frequencies")).all()
    assert (found.quantity == "share of answers moved").all()


def test_the_clock_is_nothing_but_the_clock_and_a_pizza_is_more(of_clock):
    test = "clock in place of logits"
    np.testing.assert_allclose(of_clock.effect.sel(test=test), 1, rtol=1e-9)
    of_pizza = measured(planted.pizza(P, AMPLITUDES))
    assert of_pizza.effect.sel(test=test) < 0.5  # the answers far apart, whose cosines are small, are made up for


def test_an_untrained_network_has_nothing_to_lose_and_a_memorizing_one_is_measured_as_it_is():
    labels = ModularTask(P).labels.reshape(P, P)
    table = planted.lookup_table(10.0 * torch.nn.functional.one_hot(labels, P).double())
    memorizing = Trajectory.of(table, ModularTask(P))
    found = measured(OneLayerTransformer(P, d_model=32, n_heads=2, d_mlp=64).double(), memorizing=memorizing)
    untrained = found.control_effect.sel(control="untrained network")
    # 13 classes: 1/13 of the answers are right by chance, over 169 pairs and 3 draws with standard error 0.012
    assert (untrained.sel(test=MOVES) < 1 / P + 5 * 0.012).all()
    assert (abs(untrained.where(~untrained.test.isin(MOVES), drop=True) - 1) < 0.1).all()
    by_itself = Intervened(memorizing)
    act = INTERVENTIONS["all removed, logits"]
    np.testing.assert_allclose(
        found.control_effect.sel(control="memorizing network", test="all removed, logits"),
        by_itself.value(act, KEYS, _draw()),
    )


def _draw(seed=0):
    return Draw.of(cyclic(P), np.random.default_rng(seed))


@pytest.mark.parametrize("seed", range(5))
def test_no_token_keeps_its_planes(seed):
    draw = _draw(seed)
    for tokens in (draw.shifted, draw.renamed):
        assert sorted(tokens) == list(range(P))
        assert (tokens != np.arange(P)).all()
    assert len(set((draw.shifted - np.arange(P)) % P)) == 1
    assert sorted(draw.order) == list(range(6))


def test_accompanying_frequencies_are_twice_those_of_the_circuit():
    act = INTERVENTIONS["planes and accompanying rotated"]
    assert K[planes_of(act, np.isin(K, [2, 5]), P)].tolist() == [2, 3, 4, 5]  # 4, and 10 = -3
    assert K[planes_of(INTERVENTIONS["planes rotated"], np.isin(K, [2, 5]), P)].tolist() == [2, 5]


def test_random_frequencies_of_equal_norm():
    """Ten of the twelve planes of norm 1 have the norm of a plane of norm sqrt(10)."""
    p = 29
    amplitudes = dict.fromkeys(range(1, 13), 1.0) | {13: 10**0.5}
    one = Trajectory.of(planted.quadratic_clock(p, amplitudes), ModularTask(p))
    found = causal.measure(one, np.arange(1, 15) == 13).sel(test="all removed, logits")
    like, equal = found.plane_norm, found.control_plane_norm.sel(control="random frequencies of equal norm")
    np.testing.assert_allclose(like, (10 * p**3 / 2) ** 0.5)
    np.testing.assert_allclose(equal, like, rtol=0.05)  # frequency 14 has no plane and may be among them
    np.testing.assert_allclose(found.control_plane_norm.sel(control="all other frequencies"), (12 * p**3 / 2) ** 0.5)


def test_checkpoints_one_by_one_and_together():
    module = EmbeddingMLP(P, 6, 12)
    states = {}
    for step in (3, 8):
        module.initialize(torch.Generator().manual_seed(step))
        states[step] = {name: tensor.detach().clone() for name, tensor in module.named_parameters()}
    both = Trajectory.stack(module, states, ModularTask(P))
    calls = []
    whole = causal.measure(both, KEYS, on_progress=lambda fraction, note="": calls.append(fraction))
    assert calls == [0.5, 1]
    assert whole.control_effect.dims == ("step", "test", "control")
    for i, shard in enumerate(both.shards(1)):
        part = causal.measure(shard, KEYS)
        for name in whole.data_vars:
            expected = whole[name].isel(step=[i]) if "step" in whole[name].dims else whole[name]
            np.testing.assert_array_equal(part[name], expected, err_msg=str(name))
    assert np.isnan(whole.control_effect.sel(control="memorizing network")).all()


def test_without_a_circuit_and_without_others():
    module = planted.clock(P, AMPLITUDES)
    nothing = measured(module, np.zeros(6, dtype=bool))
    assert np.isnan(nothing.effect).all()
    assert np.isnan(nothing.control_effect).all()
    everything = measured(module, np.ones(6, dtype=bool))
    assert np.isfinite(everything.effect).all()
    others = ["all other frequencies", "random frequencies", "random frequencies of equal norm"]
    assert np.isnan(everything.control_effect.sel(control=others)).all()


def test_bad_input_is_named():
    one = Trajectory.of(planted.clock(P, AMPLITUDES), ModularTask(P))
    two = Trajectory.stack(one.network.module, {0: one.parameters, 1: deepcopy(one.parameters)}, one.task)
    with pytest.raises(SltGrokError, match="one memorizing network, got 2"):
        causal.measure(one, memorizing=two)
    with pytest.raises(SltGrokError, match=r"shape \(6,\)"):
        causal.measure(one, np.ones(5, dtype=bool))


# -- published networks -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=list(PUBLISHED))
def published(request):
    """A network with its key frequencies and a draw."""
    path = REFERENCE / PUBLISHED[request.param]
    if not path.is_file():
        pytest.skip(f"{path} is absent: the reference checkpoints are not part of the project")
    network = importers.read(path)
    parameters = {name: tensor.double() for name, tensor in network.parameters.items()}
    one = Trajectory(Trajectory.of(network.module, network.task).network, parameters)
    keys = circuits.key_frequencies(one).values
    return request.param, Intervened(one), keys, Draw.of(network.task.group, np.random.default_rng(0))


def test_every_key_frequency_counts_at_the_logits_and_no_other(published):
    _, one, keys, draw = published
    ratio = one.one_by_one(INTERVENTIONS["one frequency removed, logits"], keys, draw)
    assert ratio[keys].min() >= 100
    assert np.abs(ratio[~keys] - 1).max() < 0.2


def test_answers_follow_the_circuits_planes(published):
    """A pizza's accompanying circles belong to it: without them 95 to 98% of its answers move, in the mean."""
    name, one, keys, draw = published
    act = INTERVENTIONS["planes and accompanying rotated"]
    circuit = planes_of(act, keys, one.group.order)
    assert one.value(act, circuit, draw) > 0.99
    assert one.value(act, ~circuit, draw) < 0.01
    if name != "pizza":
        assert one.value(act, keys, draw) > 0.99
        return
    p = one.trajectory.task.modulus
    turns = [draw._replace(shifted=(np.arange(p) + shift) % p) for shift in range(1, p, 3)]
    assert 0.95 < one.mean(act, [keys] * len(turns), turns).value < 0.98


def test_keys_against_others_at_the_embedding(published):
    """All keys, all others, and as many random others, with the norms that were removed."""
    _, one, keys, draw = published
    act = INTERVENTIONS["all removed, embedding"]
    as_many = np.isin(np.arange(len(keys)), [place for place in draw.order if not keys[place]][: keys.sum()])
    effects = [one.value(act, planes, draw) for planes in (keys, ~keys, as_many)]
    norms = [one.norm(act, planes) for planes in (keys, ~keys, as_many)]
    assert effects[0] > 100 * effects[1] > 100
    assert effects[0] > 100 * effects[2]
    assert norms[0] > norms[1] > norms[2]
    np.testing.assert_allclose(norms[0] ** 2 + norms[1] ** 2, _variation(one))


def _variation(one):
    table = one.trajectory.parameters["W_E"][: one.trajectory.task.modulus]
    return (table - table.mean(0)).square().sum()
