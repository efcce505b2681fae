"""Embedding planes, activations and the logits' Fourier components of networks whose circuit is known."""

import math

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from slt_grok.circuits import maps
from slt_grok.circuits.spectrum import power_fraction
from slt_grok.errors import SltGrokError
from slt_grok.groups import cyclic
from slt_grok.interventions import relabel
from slt_grok.models import EmbeddingMLP
from slt_grok.models.planted import clock, lookup_table
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory
from tests.gromov import gromov

from .planted import planted, planted_trajectory
from .test_relabeling import KINDS, random_network

P, KEYS = 31, [3, 7, 11]


def circle(p: int, k: int) -> np.ndarray:
    """cos and sin of w_k t, (token, 2)."""
    turns = 2 * math.pi / p * (k * np.arange(p) % p)
    return np.stack([np.cos(turns), np.sin(turns)], -1)


@pytest.mark.parametrize("operation", ["addition", "subtraction"])
def test_the_clock_has_its_circles_and_nothing_else(operation):
    sign = -1 if operation == "subtraction" else 1
    data = maps.measure(Trajectory.of(clock(P, dict.fromkeys(KEYS, 2.0), sign), ModularTask(P, operation)))
    assert data.frequency.values[data.circuit_frequency].tolist() == KEYS
    radii = np.array([1, 5 / 6, 2 / 3])  # planted
    for k, radius in zip(KEYS, radii, strict=True):
        plane = data.embedding_plane.sel(frequency=k)
        np.testing.assert_allclose(plane, radius * circle(P, k), atol=1e-6)
        angle = np.arctan2(plane.sel(part="sine"), plane.sel(part="cosine")) % (2 * math.pi - 1e-6)
        assert np.argsort(angle.values).tolist() == sorted(range(P), key=lambda t, k=k: k * t % P)
    np.testing.assert_allclose(
        data.embedding_plane_share.sel(frequency=KEYS), radii**2 / np.square(radii).sum(), rtol=1e-6
    )
    np.testing.assert_allclose(data.embedding_plane_fve.sel(frequency=KEYS), 1, rtol=1e-6)
    others = data.sel(frequency=[k for k in data.frequency.values if k not in KEYS])
    for name in ("embedding_plane", "embedding_plane_share", "embedding_plane_fve"):
        assert others[name].isnull().all()


def test_the_plane_holds_whole_rows_and_not_their_part_at_the_frequency_alone():
    rows = torch.from_numpy(circle(P, 3) + 0.5 * circle(P, 5))
    found = maps.embedding_planes(rows[None] + 7)
    for k, fve in ((3, 1 / 1.25), (5, 0.25 / 1.25)):
        np.testing.assert_allclose(found["embedding_plane"][0, k - 1], rows, atol=1e-12)
        np.testing.assert_allclose(found["embedding_plane_share"][0, k - 1], 1)
        np.testing.assert_allclose(found["embedding_plane_fve"][0, k - 1], fve)


def test_an_embedding_with_one_column_has_no_plane():
    found = maps.embedding_planes(torch.from_numpy(circle(P, 3))[None, :, :1])
    assert all(values.isnan().all() for values in found.values())


def test_what_is_at_the_frequency_is_the_spectrum_of_the_embedding():
    rows = torch.randn(1, P, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1
    found = maps.embedding_planes(rows)
    at_frequency = found["embedding_plane_share"] * found["embedding_plane_fve"]
    np.testing.assert_allclose(at_frequency, power_fraction(rows, cyclic(P)), rtol=1e-12)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 99), p=st.sampled_from([5, 7, 11]))
def test_turning_the_embedding_changes_nothing(seed, p):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(1, p, 8, generator=generator, dtype=torch.float64)
    turn, _ = torch.linalg.qr(torch.randn(8, 8, generator=generator, dtype=torch.float64))
    before, after = maps.embedding_planes(rows), maps.embedding_planes(3 * rows @ turn)
    np.testing.assert_allclose(after["embedding_plane"], 3 * before["embedding_plane"], atol=1e-9)
    for name in ("embedding_plane_share", "embedding_plane_fve"):
        np.testing.assert_allclose(after[name], before[name], rtol=1e-9)
        assert ((before[name] > 0) & (before[name] <= 1)).all()


@pytest.mark.parametrize("d", [16, 113, 400])
def test_random_rows_have_their_chance_values(d):
    """A component of normal rows is normal too: |c_k|^2 = d at k, and 1 from each of the other p - 2 components.

    The mean over 8 tables of 56 frequencies has a standard error of at most 0.5%; what the rule leaves out is of order
    1/d and 1/p. Both are far below what tells the rule from another.
    """
    p = 113
    found = maps.embedding_planes(torch.randn(8, p, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    np.testing.assert_allclose(found["embedding_plane_fve"].mean(), d / (d + p), rtol=0.04)
    np.testing.assert_allclose(found["embedding_plane_share"].mean(), 2 / d + 2 / p, rtol=0.04)


@pytest.mark.parametrize("operation", ["addition", "subtraction"])
def test_the_clocks_logits_have_their_blocks_alone(operation):
    """A cos w_k(a + b - c) has four components of norm A (p/2) sqrt(p/2)."""
    amplitudes = {3: 2.0, 7: 1.0, 11: 0.5}
    sign = -1 if operation == "subtraction" else 1
    data = maps.measure(Trajectory.of(clock(P, amplitudes, sign), ModularTask(P, operation)))
    expected = np.zeros((P, P))
    for k, amplitude in amplitudes.items():
        expected[2 * k - 1 : 2 * k + 1, 2 * k - 1 : 2 * k + 1] = amplitude * (P / 2) ** 1.5
    np.testing.assert_allclose(data.logit_fourier_norm, expected, rtol=1e-6, atol=1e-5)
    assert data.component_a.values[[0, 1, 2, 2 * 7 - 1, 2 * 7]].tolist() == ["1", "cos 1", "sin 1", "cos 7", "sin 7"]
    assert data.component_b.equals(data.component_a.rename(component_a="component_b"))


def test_gromovs_logits_have_weight_at_the_planted_components_alone():
    """(cos x + cos y)^2 = 1 + 2 cos x cos y + cos(2x)/2 + cos(2y)/2, times cos w_k c of norm sqrt(p/2), one neuron."""
    data = maps.measure(Trajectory.of(gromov(P, [4], 1), ModularTask(P)), np.arange(1, 16) == 4)
    norm = data.logit_fourier_norm.values.astype(float)
    k, twice = slice(7, 9), slice(15, 17)
    output = math.sqrt(P / 2)
    np.testing.assert_allclose(norm[0, 0], P * output, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(norm[k, k]), P * output, rtol=1e-6)
    for double in (norm[twice, 0], norm[0, twice]):
        np.testing.assert_allclose(np.linalg.norm(double), 0.5 * math.sqrt(P / 2) * math.sqrt(P) * output, rtol=1e-6)
    for place in ((0, 0), (k, k), (twice, 0), (0, twice)):
        norm[place] = 0
    assert norm.max() < 1e-4

    several = maps.measure(Trajectory.of(gromov(P, KEYS, 60), ModularTask(P)))
    norm = several.logit_fourier_norm.values
    planted_at = np.zeros((P, P), dtype=bool)
    planted_at[0, 0] = True
    for key in KEYS:
        double = min(2 * key, P - 2 * key)
        planted_at[2 * key - 1 : 2 * key + 1, 2 * key - 1 : 2 * key + 1] = True
        planted_at[2 * double - 1 : 2 * double + 1, 0] = planted_at[0, 2 * double - 1 : 2 * double + 1] = True
    assert norm[~planted_at].max() < 1e-5 * norm.max()
    assert norm[planted_at].min() > 1e-3 * norm.max()


def test_what_is_the_same_for_all_answers_does_not_count():
    p = 5
    logits = torch.randn(p, p, p, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shifted = logits + 3 * torch.randn(p, p, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    before, after = (maps.measure(Trajectory.of(lookup_table(table), ModularTask(p))) for table in (logits, shifted))
    np.testing.assert_allclose(after.logit_fourier_norm, before.logit_fourier_norm, rtol=1e-5)
    total = (logits - logits.mean(-1, keepdim=True)).norm()  # the transform is orthonormal
    np.testing.assert_allclose(np.linalg.norm(before.logit_fourier_norm), total, rtol=1e-6)


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), p=st.sampled_from([5, 7, 11, 13]), kind=st.sampled_from(KINDS), seed=st.integers(0, 99))
def test_relabeling_renames_frequencies(data, p, kind, seed):
    m = data.draw(st.integers(2, p - 1), label="m")
    trajectory = random_network(p, kind, seed)
    k = np.arange(1, (p + 1) // 2)
    image = pow(m, -1, p) * k % p
    image = np.minimum(image, p - image)
    mask = np.zeros(len(k), dtype=bool)
    before = maps.measure(trajectory, mask)
    after = maps.measure(relabel(trajectory, m * np.arange(p) % p), mask)
    for name in ("embedding_plane_share", "embedding_plane_fve"):
        np.testing.assert_allclose(after[name].sel(frequency=image), before[name], rtol=1e-4, err_msg=name)
    waves = ["1", *(f"{wave} {i}" for i in image for wave in ("cos", "sin"))]
    expected = before.logit_fourier_norm.values
    found = after.logit_fourier_norm.sel(component_a=waves, component_b=waves)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * expected.max())


def test_the_neurons_of_largest_middle_and_least_fve():
    fve = torch.zeros(9, 4)
    fve[:5, 1] = torch.tensor([0.90, 0.99, 0.86, 0.95, 0.88])
    fve[5, 2], fve[6, 2] = 0.9, 0.95  # two neurons
    fve[7, 0], fve[8, 3] = 0.97, 0.5
    belongs, kept = fve.amax(-1) > 0.85, torch.tensor([False, True, True, True])
    assert maps.choose(fve, belongs, kept) == [(1, 2), (0, 2), (2, 2), (6, 3), (5, 3)]
    assert maps.choose(fve, belongs & False, kept) == []


def test_of_many_frequencies_those_with_most_neurons():
    sizes = [3, 1, 4, 2, 6, 5, 7]
    fve = torch.eye(7)[torch.tensor([k for k, size in enumerate(sizes) for _ in range(size)])]
    chosen = maps.choose(fve, torch.ones(len(fve), dtype=torch.bool), torch.ones(7, dtype=torch.bool))
    assert [k for _, k in chosen] == [k for k in (1, 3, 5, 6, 7) for _ in range(3)]


def test_each_seed_follows_the_neurons_of_its_last_step():
    p, keys = 13, {0: (3, 3), 9: (2, 5)}  # step -> key of each seed
    base = planted_trajectory(p, [1])
    networks = [[dict(planted(p, [key]).named_parameters()) for key in of_seeds] for of_seeds in keys.values()]
    parameters = {
        name: torch.stack([torch.stack([one[name].detach() for one in of_seeds]) for of_seeds in networks])
        for name in base.parameters
    }
    coords = {"step": np.array(list(keys)), "seed": np.array([0, 1])}
    data = maps.measure(Trajectory(base.network, parameters, ("step", "seed"), coords))
    assert data.example_frequency.dims == ("seed", "example")
    assert data.example_frequency.values.tolist() == [[2, 2, 2], [5, 5, 5]]
    np.testing.assert_allclose(data.example_fve.sel(step=9), 0.8, rtol=1e-6)  # a square has the rest at 2 k
    np.testing.assert_allclose(data.example_fve.sel(step=0), 0, atol=1e-6)
    for step, of_seeds in keys.items():
        for seed, key in enumerate(of_seeds):
            one = data.sel(step=step, seed=seed)
            pre = _pre(planted(p, [key]))
            for example in range(3):
                expected = pre[:, :, int(one.example_neuron[example])] ** 2
                np.testing.assert_allclose(one.example_activation[example], expected, atol=1e-6)


def _pre(network) -> Tensor:
    """U_a + V_b, (a, b, neuron)."""
    return (network.U[:, None] + network.V).detach()


def test_seeds_with_fewer_neurons_to_show_are_filled_up():
    p = 13
    base = planted_trajectory(p, [2, 5])
    one, other = (dict(planted(p, keys).named_parameters()) for keys in ([2, 5], [3, 4]))
    other = {name: tensor.detach().clone() for name, tensor in other.items()}
    for name, axis in (("U", 1), ("V", 1), ("W", 0)):
        other[name].index_fill_(axis, torch.arange(16, 32), 0)  # the neurons of frequency 4
    parameters = {name: torch.stack([one[name].detach(), other[name]]) for name in one}
    data = maps.measure(Trajectory(base.network, parameters, ("seed",), {"seed": np.array([0, 1])}))
    assert data.example_frequency.values.tolist() == [[2, 2, 2, 5, 5, 5], [3, 3, 3, 0, 0, 0]]
    assert data.example_neuron.values[1, 3:].tolist() == [-1, -1, -1]
    assert data.example_activation[1, 3:].isnull().all()
    assert data.example_activation[0].notnull().all()


def test_a_network_without_a_circuit_has_no_examples():
    module = EmbeddingMLP(P)
    module.initialize(torch.Generator().manual_seed(0))
    data = maps.measure(Trajectory.of(module, ModularTask(P)))
    assert not data.circuit_frequency.any()
    assert not [name for name in data if str(name).startswith("example")]
    assert data.embedding_plane.notnull().all()


def test_everything_is_explained_and_in_single_precision():
    data = maps.measure(planted_trajectory(P, KEYS))
    for name, variable in data.data_vars.items():
        assert {"long_name", "definition", "source"} <= set(variable.attrs), name
        assert variable.dtype.kind in "bi" or variable.dtype == np.float32, name
    assert isinstance(data, xr.Dataset)


def test_a_mask_of_another_shape():
    with pytest.raises(SltGrokError, match=r"circuit_frequency: expected a bool mask of shape \(15,\)"):
        maps.measure(planted_trajectory(P, KEYS), np.ones(7, dtype=bool))
