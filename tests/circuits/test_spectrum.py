import math

import pytest
import torch

from slt_grok.circuits import spectrum
from slt_grok.groups import cyclic


def test_gini_of_known_lists():
    lists = torch.tensor([[1.0, 1, 1, 1], [0, 0, 0, 5], [1, 2, 3, 4], [4, 1, 3, 2]], dtype=torch.float64)
    # 1, 2, 3, 4: (-3 - 2 + 3 + 12) / (4 * 10)
    torch.testing.assert_close(spectrum.gini(lists), torch.tensor([0, 0.75, 0.25, 0.25], dtype=torch.float64))
    assert spectrum.gini(torch.zeros(1, 4)).isnan().all()


def test_gini_of_a_random_embedding_is_small():
    table = torch.randn(20, 59, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    # norms of 128 normal numbers have a relative deviation of 1/16, and the Gini coefficient of a normal law is its
    # relative deviation / sqrt(pi)
    assert spectrum.gini_of_components(table, cyclic(59)).mean().item() == pytest.approx(
        1 / 16 / math.sqrt(math.pi), rel=0.05
    )


def test_power_share_leaves_the_constant_out():
    t = 2 * math.pi * torch.arange(13, dtype=torch.float64) / 13
    table = torch.stack([100 + 3 * (2 * t).cos(), 4 * (5 * t + 1).sin()], -1)[None]
    share = spectrum.power_fraction(table, cyclic(13))
    expected = torch.zeros(1, 6, dtype=torch.float64)
    expected[0, 1], expected[0, 4] = 0.36, 0.64
    torch.testing.assert_close(share, expected)
    assert spectrum.key_by_power(torch.tensor([[0.51, 0.49, 0, 0, 0, 0]]), cyclic(13)).tolist() == [
        [True] + [False] * 5
    ]
    assert not spectrum.key_by_power(
        spectrum.power_fraction(torch.ones(1, 13, 2, dtype=torch.float64), cyclic(13)), cyclic(13)
    ).any()


def test_random_tables_have_no_key_frequency():
    for p, width in ((53, 12), (113, 128)):
        table = torch.randn(50, p, width, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        assert not spectrum.key_by_power(spectrum.power_fraction(table, cyclic(p)), cyclic(p)).any()


def test_agreement():
    def masks(*rows):
        return torch.tensor(rows, dtype=torch.bool)

    a = masks([1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 0])
    b = masks([1, 1, 0], [0, 0, 0], [1, 1, 0], [0, 0, 0])
    c = masks([1, 1, 0], [0, 0, 0], [0, 1, 1], [1, 0, 0])
    found = spectrum.agreement(a, b, c)
    # third: 1/2, 0/3, 1/3; fourth: two empty sets agree, the others do not
    expected = torch.tensor([1, math.nan, (1 / 2 + 0 + 1 / 3) / 3, 1 / 3], dtype=torch.float64)
    torch.testing.assert_close(found, expected, equal_nan=True)


def test_rank_counts_the_directions_of_the_answers():
    t = 2 * math.pi * torch.arange(13, dtype=torch.float64) / 13
    rows = torch.stack([(2 * t).cos(), (2 * t).sin(), (5 * t).cos(), torch.ones_like(t), 0.09 * (3 * t).cos()])
    mixed = torch.randn(2, 40, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    basis = torch.linalg.qr(mixed).Q  # orthonormal columns: singular values are the norms of the rows
    assert spectrum.rank(basis[:, :, :4] @ rows[:4]).tolist() == [3, 3]  # the constant is no direction
    # squared norms 1, 1, 1, 0.0081 in units of p/2: three of them hold 99.7%
    assert spectrum.rank(basis @ rows).tolist() == [3, 3]
    assert spectrum.rank(basis @ (rows * torch.tensor([1, 1, 1, 1, 2.0])[:, None])).tolist() == [4, 4]  # 98.9%
    assert spectrum.rank(torch.ones(1, 40, 13)).tolist() == [0]


def test_a_random_map_has_nearly_full_rank():
    table = torch.randn(1, 512, 113, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert spectrum.rank(table).item() > 100


def waves(*parts):
    """sum of (size cos or sin) of (k, function, size), one column each."""
    t = 2 * math.pi * torch.arange(13, dtype=torch.float64) / 13
    return torch.stack([size * f(k * t) for k, f, size in parts], -1)[None] + 4


def test_frequency_density_holds_cosines_and_sines_each_against_their_own_largest():
    table = waves((2, torch.cos, 1.0), (2, torch.sin, 0.51), (4, torch.sin, 0.49), (6, torch.cos, 0.9))
    assert spectrum.frequency_density(table).item() == pytest.approx(4 / 12)
    table = waves((2, torch.cos, 1.0), (3, torch.cos, 0.49), (2, torch.sin, 0.3), (4, torch.sin, 0.14))
    assert spectrum.frequency_density(table).item() == pytest.approx(2 / 12)
    assert spectrum.frequency_density(waves((3, torch.sin, 1.0))).item() == pytest.approx(1 / 12)
    assert spectrum.frequency_density(torch.ones(1, 13, 2, dtype=torch.float64)).item() == 0


def test_coefficient_ratio_is_one_of_norms():
    unbalanced = [(2, torch.cos, 1.0), (2, torch.sin, 0.5)]
    balanced = [(4, torch.sin, 3.0), (4, torch.cos, 3.0)]
    for parts, expected in (
        (unbalanced, 1 / 2),
        (balanced, 1),
        (unbalanced + balanced, 3 / 4),
        ([*balanced, (5, torch.cos, 1.0)], 1 / 2),
    ):
        assert spectrum.coefficient_ratio(waves(*parts)).item() == pytest.approx(expected, abs=1e-12)
    assert spectrum.coefficient_ratio(torch.ones(1, 13, 2, dtype=torch.float64)).isnan().all()


def test_a_dense_table_with_a_bias_as_published():
    """2402.16726, section 6.3: for multiplication the density stays at 1 while the ratio falls."""
    parts = [(k, f, size) for k in range(1, 7) for f, size in ((torch.cos, 1.0), (torch.sin, 0.1))]
    assert spectrum.frequency_density(waves(*parts)).item() == pytest.approx(1)
    assert spectrum.coefficient_ratio(waves(*parts)).item() == pytest.approx(0.1)
