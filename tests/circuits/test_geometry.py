"""Clusters of neurons against the ideal disc, torus and clock."""

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slt_grok import circuits
from slt_grok.circuits import geometry, phases
from slt_grok.groups import cyclic
from slt_grok.interventions import relabel
from slt_grok.models import OneLayerTransformer, planted
from slt_grok.store import importers
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory
from tests.gromov import gromov

from .planted import planted_trajectory

REFERENCE = Path(__file__).parents[2] / ".." / "shared" / "reference"
P = 31


def wave(k, phase, sign=1):
    """cos(w_k a + phase) and cos(sign w_k b + phase) on the grid."""
    t = 2 * math.pi * k / P * torch.arange(P, dtype=torch.float64)
    return (t + phase).cos().repeat_interleave(P), (sign * t + phase).cos().repeat(P)


def random(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("k", [1, 7, 15])
@pytest.mark.parametrize("sign", [1, -1])
def test_ideal_clouds_with_each_other(k, sign):
    clouds = list(geometry.ideal_clouds(P, k, sign).values())
    found = torch.stack([geometry.cka(cloud, clouds) for cloud in clouds])
    half = 2**-0.5
    expected = torch.tensor([[1, half, 0], [half, 1, 0], [0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_ideal_clouds_are_what_their_names_say():
    for sign in (1, -1):
        clouds = geometry.ideal_clouds(P, 4, sign)
        (x, y), (sin_x, sin_y) = wave(4, 0, sign), wave(4, -math.pi / 2, sign)
        total = x * y - sin_x * sin_y, x * sin_y + sin_x * y
        torch.testing.assert_close(clouds["disc"], torch.stack([x + y, sin_x + sin_y], -1), rtol=0, atol=1e-12)
        torch.testing.assert_close(clouds["torus"], torch.stack([x, sin_x, y, sin_y], -1), rtol=0, atol=1e-12)
        torch.testing.assert_close(clouds["clock"], torch.stack(total, -1), rtol=0, atol=1e-12)


def test_cka_is_the_cosine_of_the_centered_kernels():
    x, y, z = random(40, 7), random(40, 3, seed=1), random(40, 50, seed=2)
    center = torch.eye(40, dtype=torch.float64) - 1 / 40

    def kernel(cloud):
        return (center @ cloud @ cloud.T @ center).flatten()

    expected = torch.stack([torch.cosine_similarity(kernel(x), kernel(other), 0) for other in (y, z, x)])
    torch.testing.assert_close(geometry.cka(x, [y, z, x]), expected, rtol=1e-12, atol=0)


def test_cka_sees_neither_rotation_nor_shift_nor_scale():
    clouds = list(geometry.ideal_clouds(P, 3).values())
    cloud = random(P * P, 6) + clouds[1] @ random(4, 6, seed=1)
    turn = torch.linalg.qr(random(6, 6, seed=2)).Q
    torch.testing.assert_close(geometry.cka(3 + 5 * cloud @ turn, clouds), geometry.cka(cloud, clouds))
    assert geometry.cka(torch.ones(P * P, 2, dtype=torch.float64), clouds).isnan().all()


def test_rank_shares_of_waves():
    phases = [0.1, 0.7, 2.0, 4.0, 5.1]
    aligned = torch.stack([sum(wave(2, phase)) for phase in phases], -1)
    torch.testing.assert_close(geometry.rank_shares(aligned), torch.ones(2, dtype=torch.float64))
    # every pair of phases of a square grid: both circles are round, and orthogonal
    grid = [2 * math.pi * i / 4 for i in range(4)]
    torus = torch.stack([3 * wave(2, f)[0] + wave(2, g)[1] for f in grid for g in grid], -1)
    # 3 cos x and cos y have 9/10 and 1/10 of the variance, two dimensions each
    torch.testing.assert_close(geometry.rank_shares(torus), torch.tensor([0.9, 1.0], dtype=torch.float64))
    assert geometry.rank_shares(torch.ones(P * P, 4, dtype=torch.float64)).isnan().all()


def test_row_space_holds_what_the_answers_see():
    t = 2 * math.pi / P * torch.arange(P, dtype=torch.float64)
    phases = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    waves = (3 * t + phases[:, None]).cos()
    directions = geometry.row_space(waves + random(5, 1) + 1e-3 * random(5, P))
    assert directions.shape == (5, 2)
    torch.testing.assert_close(directions.T @ directions, torch.eye(2, dtype=torch.float64))
    seen = torch.stack([phases.cos(), phases.sin()], -1)
    torch.testing.assert_close(directions @ directions.T @ seen, seen, rtol=0, atol=1e-2)
    assert geometry.row_space(torch.full((5, P), 2.0, dtype=torch.float64)).shape == (5, 0)
    assert geometry.row_space(torch.diag(torch.ones(P, dtype=torch.float64))).shape == (P, 29)  # 30 equal ones: 95%


@pytest.mark.parametrize("operation", ["addition", "subtraction"])
def test_the_planted_clock_is_a_torus_of_neurons_and_a_clock_of_logits(operation):
    data = circuits.measure(planted_trajectory(P, [3, 7], operation=operation))
    half = 2**-0.5
    expected = {"neurons_pre": [half, 1, 0], "neurons_post_read": [0, 0, 1], "logits": [0, 0, 1]}
    for site, values in expected.items():
        np.testing.assert_allclose(data.cka.sel(site=site), values, atol=1e-10)
        for k in (3, 7):
            np.testing.assert_allclose(data.cka_by_frequency.sel(site=site, frequency=k), values, atol=1e-10)
    # (cos(x + f) + cos(y + g))^2 = 1 + cos(x + y + f + g) + cos(x - y + f - g) + cos(2x + 2f)/2 + cos(2y + 2g)/2. With
    # f and g in steps of 90 degrees the kernel has the eigenvalues 2, 2 (x + y), 2, 2 (x - y), 1 (2x) and 1 (2y): the
    # last two have one dimension each, as 2f is 0 or 180 degrees
    expected = (2 + 2) / ((4 * 2**2 + 2 * 1**2) * 2) ** 0.5
    np.testing.assert_allclose(data.cka.sel(site="neurons_post"), [0, 0, expected], atol=1e-10)
    np.testing.assert_allclose(data.rank_share, [0.5, 1])
    assert data.read_rank.sel(frequency=[3, 7]).values.tolist() == [2, 2]
    others = data.sel(frequency=[k for k in data.frequency.values if k not in (3, 7)])
    for name in ("cka_by_frequency", "rank_share_by_frequency", "read_rank"):
        assert np.isnan(others[name]).all()


def test_the_exact_pizza_is_a_disc_whose_logits_fill_it():
    data = circuits.measure(Trajectory.of(planted.pizza(P, {5: 1.0}), ModularTask(P)))
    np.testing.assert_allclose(data.cka.sel(site="neurons_pre"), [1, 2**-0.5, 0], atol=1e-10)
    np.testing.assert_allclose(data.rank_share, 1)
    # logits r (cos s, sin s) with r = |cos(w d/2)|, d independent of s: CKA with the clock is (mean r)^2 / mean r^2
    radius = np.abs(np.cos(np.pi * np.arange(P) / P))
    np.testing.assert_allclose(data.cka.sel(site="logits", cloud="clock"), radius.mean() ** 2 * 2, rtol=1e-6)


def test_a_network_is_the_mean_over_its_neurons():
    frequency = torch.tensor([[2] * 6 + [5] * 4 + [9] * 3 + [4]])  # 3 neurons are no cluster
    belongs = torch.tensor([[True] * 13 + [False]])
    pre = [sum(wave(2, i)) for i in range(6)]  # a disc
    pre += [
        wave(5, f)[0] + wave(5, g)[1] for f, g in ((0, 0), (0, math.pi), (0.5 * math.pi, 0), (0.5 * math.pi, math.pi))
    ]
    pre += [sum(wave(9, i)) for i in range(3)] + [sum(wave(4, 1.0))]
    pre = torch.stack(pre, -1)[None]
    logits = geometry.ideal_clouds(P, 2)["clock"][None] @ random(1, 2, P)
    chunk = SimpleNamespace(
        group=cyclic(P),
        sign=1,
        sites={"neurons_pre": pre, "neurons_post": pre, "logits": logits},
        to_logits=random(1, 14, P),
        frequency=frequency,
        belongs=belongs,
        cluster_size=torch.bincount(frequency[belongs] - 1, minlength=P // 2)[None],
    )
    found = geometry.Geometry().compute(chunk)
    by_frequency = found["cka_by_frequency"][0, :, 0]
    assert (~by_frequency[:, 0].isnan()).nonzero()[:, 0].tolist() == [1, 4]
    torch.testing.assert_close(found["cka"][0, 0], 0.6 * by_frequency[1] + 0.4 * by_frequency[4])
    shares = found["rank_share_by_frequency"][0]
    torch.testing.assert_close(found["rank_share"][0], 0.6 * shares[1] + 0.4 * shares[4])


def test_an_untrained_network_has_no_clusters():
    module = OneLayerTransformer(13, d_model=16, n_heads=2, d_mlp=24)
    module.initialize(torch.Generator().manual_seed(0))
    data = circuits.measure(Trajectory.of(module, ModularTask(13)))
    assert data.neuron_cluster_size.max() < geometry.LEAST_NEURONS
    for name in ("cka", "rank_share", "read_rank"):
        assert np.isnan(data[name]).all()


def test_phase_alignment_is_where_the_waves_peak():
    k = torch.tensor([[1, 3, 7, 7]])
    left, right = torch.tensor([[5, 0, 30, 11]]), torch.tensor([[5, 12, 1, 11]])
    step = 2 * math.pi / P
    peaks = torch.stack([k[0], left[0], right[0]], -1).tolist()
    pre = [wave(f, -step * m)[0] + wave(f, -step * n)[1] for f, m, n in peaks]
    found = phases.phase_alignment(torch.stack(pre, -1)[None], k)
    assert torch.equal(found[0], left)
    assert torch.equal(found[1], right)


@pytest.mark.parametrize(
    ("name", "disc", "torus"), [("p99zdpze5l", 0.988, 0.699), ("l8k1hzciux", 0.974, 0.689)], ids=["rate 0", "rate 1"]
)
def test_published_networks_are_discs_as_published(name, disc, torus):
    """2512.25060 gives means over its own networks of attention rate 0 and 1, so that one network is only near them."""
    path = REFERENCE / "checkpoints" / "clock_pizza" / f"model_{name}.pt"
    if not path.is_file():
        pytest.skip(f"{path} is absent: the reference checkpoints are not part of the project")
    network = importers.read(path)
    module = network.module
    module.load_state_dict(network.parameters)
    data = circuits.measure(Trajectory.of(module, network.task), gradient_triples=10)
    found = data.cka.sel(site="neurons_pre")
    assert found.sel(cloud="disc") == pytest.approx(disc, abs=0.015)
    assert found.sel(cloud="torus") == pytest.approx(torus, abs=0.015)
    assert found.sel(cloud="clock") < 0.03


@settings(deadline=None, max_examples=12, derandomize=True)
@given(m=st.integers(2, 12), seed=st.integers(0, 99), sign=st.sampled_from([1, -1]))
def test_relabeling_moves_frequencies_and_nothing_else(m, seed, sign):
    p, task = 13, ModularTask(13, "addition" if sign == 1 else "subtraction")
    module = gromov(p, [2, 5], 40, seed, sign)
    with torch.no_grad():
        for i, weights in enumerate(module.parameters()):
            weights.add_(0.05 * random(*weights.shape, seed=seed + 100 * i))
    before = Trajectory.of(module, task)
    old, new = (circuits.measure(x) for x in (before, relabel(before, [m * t % p for t in range(p)])))
    image = [min(pow(m, -1, p) * k % p, -pow(m, -1, p) * k % p) for k in old.frequency.values]
    assert np.isfinite(old.cka_by_frequency.sel(frequency=[2, 5])).all()
    for name in ("cka", "cka_by_frequency", "rank_share", "rank_share_by_frequency", "read_rank"):
        found = new[name].sel(frequency=image) if "frequency" in new[name].dims else new[name]
        np.testing.assert_allclose(found, old[name], rtol=1e-9, atol=1e-12, err_msg=name)
    pairs = [np.stack([data.neuron_alignment_left, data.neuron_alignment_right]) for data in (old, new)]
    flipped = np.array([pow(m, -1, p) * int(k) % p > p // 2 for k in old.neuron_frequency])
    np.testing.assert_array_equal(pairs[1], np.where(flipped, -pairs[0] % p, pairs[0]))
