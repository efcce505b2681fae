import math

import pytest
import torch

from slt_grok.circuits import neurons
from slt_grok.groups import cyclic

P = 59
A, B = (
    x.flatten() * 2 * math.pi / P for x in torch.meshgrid(*[torch.arange(P, dtype=torch.float64)] * 2, indexing="ij")
)


def fve(*functions):
    return neurons.fraction_of_variance_explained(torch.stack(functions, -1)[None], cyclic(P))[0]


@pytest.mark.parametrize("k", [1, 17, 29])
def test_functions_of_one_frequency_are_explained_by_it(k):
    found = fve(
        (k * A + 0.3).cos(),
        2 + (k * B).sin(),
        (k * (A + B) + 1).cos(),
        (k * (A - B)).cos(),
        5 * (k * A).cos() * (k * B + 2).cos() + (k * B).sin() - 7,
    )
    expected = torch.zeros(5, 29, dtype=torch.float64)
    expected[:, k - 1] = 1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_variance_is_shared_as_the_squared_amplitudes():
    # the product of two different frequencies belongs to neither
    found = fve(3 * (2 * A).cos() + 4 * (5 * B).sin(), (3 * A).cos() + (4 * A).cos() * (6 * B).cos())
    expected = torch.zeros(2, 29, dtype=torch.float64)
    expected[0, 1], expected[0, 4] = 9 / 25, 16 / 25
    expected[1, 2] = (1 / 2) / (1 / 2 + 1 / 4)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_definition_by_the_whole_transform():
    values = torch.rand(2, P * P, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    grid = values.mT.unflatten(-1, (P, P))
    squares = cyclic(P).transform_grid(grid - grid.mean((-1, -2), keepdim=True)).square()
    found = neurons.fraction_of_variance_explained(values, cyclic(P))
    for k in (1, 8, 29):
        block = [0, 2 * k - 1, 2 * k]
        expected = squares[..., block, :][..., block].sum((-1, -2)) / squares.sum((-1, -2))
        torch.testing.assert_close(found[..., k - 1], expected, rtol=1e-9, atol=0)


def test_white_noise_is_explained_by_its_degrees_of_freedom():
    noise = torch.randn(1, P * P, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found = neurons.fraction_of_variance_explained(noise, cyclic(P))
    assert found.mean().item() == pytest.approx(8 / (P * P - 1), rel=0.05)
    assert found.max() < 0.02


def test_constant_neurons_explain_nothing_and_belong_nowhere():
    found = fve(torch.zeros(P * P, dtype=torch.float64), torch.full((P * P,), 1 / 3, dtype=torch.float64))
    assert torch.equal(found, torch.zeros(2, 29, dtype=torch.float64))
    belongs = neurons.in_cluster(found[None])
    assert not belongs.any()
    assert neurons.cluster_sizes(found[None], belongs).sum() == 0


def test_a_squared_neuron_of_one_frequency_reaches_four_fifths():
    found = fve(((4 * A + 1).cos() + (4 * B + 2).cos()).square())
    assert found[0, 3].item() == pytest.approx(0.8, abs=1e-12)
    assert found[0, 7].item() == pytest.approx(0.2, abs=1e-12)
    assert neurons.in_cluster(found[None], quadratic=True).all()
    assert not neurons.in_cluster(found[None]).any()


def test_clusters_count_neurons_over_the_threshold():
    share = torch.tensor([[[0.86, 0.1], [0.84, 0.1], [0.0, 0.9], [0.05, 0.95]]])
    belongs = neurons.in_cluster(share)
    assert belongs.tolist() == [[True, False, True, True]]
    assert neurons.cluster_sizes(share, belongs).tolist() == [[1, 2]]


@pytest.mark.parametrize("sign", [1, -1])
def test_directions_are_explained_by_the_part_that_is_their_wave(sign):
    """MLP output cos-part u^T x = 3 cos w_2 s + 1 + cos w_4 a, sin-part 2 sin w_2 s, and nothing but noise at 5."""
    s = A + sign * B
    made = [3 * (2 * s).cos() + 1 + (4 * A).cos(), 2 * (2 * s).sin(), (7 * A).cos(), (2 * s).sin()]
    t = 2 * math.pi * torch.arange(P, dtype=torch.float64) / P
    to_logits = torch.stack([5 * (2 * t).cos(), 0.1 * (2 * t).sin(), (5 * t).sin(), torch.zeros_like(t)])
    found = neurons.direction_fve((torch.stack(made, -1) @ to_logits)[None], sign)
    assert found.shape == (1, 29, 2)
    assert found[0, 1].tolist() == pytest.approx([9 / 10, 1], abs=1e-12)
    assert found[0, 4, 1].item() == pytest.approx(0, abs=1e-12)


def test_directions_that_are_not_read_have_no_share():
    assert neurons.direction_fve(torch.zeros(1, P * P, P, dtype=torch.float64)).isnan().all()


def test_polynomials_keep_what_has_degree_two_in_one_frequency():
    own = 5 * (3 * A).cos() * (3 * B + 2).cos() + (3 * B).sin() - 7
    rest = (4 * A).cos() + (3 * A).cos() * (5 * B).sin() + (6 * (A + B)).cos()
    post = torch.stack([own + rest, own, rest], -1)[None]
    found = neurons.polynomials(post, torch.tensor([[3, 3, 9]]))
    expected = torch.stack([own, own, torch.zeros_like(own)], -1)[None]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-11)


def test_polynomials_explain_what_the_fve_says():
    post = torch.rand(2, P * P, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    frequency = torch.tensor([[1, 29, 7], [3, 3, 20]])
    left = post - neurons.polynomials(post, frequency)
    share = 1 - left.square().sum(1) / (post - post.mean(1, keepdim=True)).square().sum(1)
    expected = neurons.fraction_of_variance_explained(post, cyclic(P)).gather(2, frequency[..., None] - 1)[..., 0]
    torch.testing.assert_close(share, expected, rtol=1e-9, atol=1e-12)


def test_waves_along_the_lines_add_up_to_the_polynomials():
    post = torch.rand(2, P * P, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    frequency = torch.tensor([[1, 29, 7], [3, 3, 20]])
    lines = neurons.Lines.of(post)
    found = lines.mean[:, None]
    places = (
        torch.arange(P).repeat_interleave(P),
        torch.arange(P).repeat(P),
        cyclic(P).products(),
        cyclic(P).products(-1),
    )
    for wave, place in zip(lines.waves(frequency).unbind(1), places, strict=True):
        found = found + wave[:, place]
    torch.testing.assert_close(found, neurons.polynomials(post, frequency), rtol=0, atol=1e-12)
    torch.testing.assert_close(lines.variance, post.var(1, correction=0), rtol=1e-12, atol=0)


def test_silent_neurons_are_no_part_of_the_share():
    noise = torch.rand(P * P, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    post = torch.stack([A.cos(), B.cos() + 5, 1e-7 * noise + 3, noise, torch.zeros_like(A)], -1)[None]
    belongs = neurons.in_cluster(neurons.fraction_of_variance_explained(post, cyclic(P)))
    assert belongs.tolist() == [[True, True, False, False, False]]
    assert neurons.share_in_cluster(post.var(1), belongs).item() == pytest.approx(2 / 3)
    assert neurons.share_in_cluster(0 * post.var(1), belongs).item() == 0
