"""Groups against what representation theory says of them, and Z_n against its cosines and sines."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from slt_grok.errors import SltGrokError
from slt_grok.groups import CyclicGroup, Group, cyclic

S3 = Group.of_permutations([(1, 0, 2), (1, 2, 0)])
S4 = Group.of_permutations([(1, 0, 2, 3), (1, 2, 3, 0)])
QUATERNIONS = Group.of_permutations([(1, 2, 3, 0, 5, 6, 7, 4), (4, 7, 6, 5, 2, 1, 0, 3)])
GROUPS = {
    "S3": S3,
    "S4": S4,
    "Q8": QUATERNIONS,
    "Z6": cyclic(6),
    "Z7": cyclic(7),
    "Z6 by table": Group(cyclic(6).table),
}
# real irreducible representations other than the trivial one: dimension of the plane of each
PLANES = {
    "S3": [1, 4],
    "S4": [1, 4, 9, 9],
    "Q8": [1, 1, 1, 4],
    "Z6": [2, 2, 1],
    "Z7": [2, 2, 2],
    "Z6 by table": [1, 2, 2],
}


@pytest.fixture(params=GROUPS, ids=str)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_planes_have_the_dimensions_that_theory_gives(name: str) -> None:
    assert [len(plane) for plane in GROUPS[name].planes] == PLANES[name]


def test_basis_is_orthonormal(name: str) -> None:
    basis = GROUPS[name].basis
    torch.testing.assert_close(basis @ basis.T, torch.eye(len(basis), dtype=torch.float64))


def test_representations_are_orthogonal_homomorphisms(name: str) -> None:
    group = GROUPS[name]
    for matrices in group.representations:
        products = torch.einsum("aij,bjk->abik", matrices, matrices)
        torch.testing.assert_close(matrices[group.table], products)
        identity = torch.eye(matrices.shape[-1], dtype=torch.float64).expand_as(matrices)
        torch.testing.assert_close(matrices @ matrices.mT, identity)


def test_matrix_elements_span_the_plane(name: str) -> None:
    group = GROUPS[name]
    for plane, matrices in zip(group.planes, group.representations, strict=True):
        elements = matrices.flatten(1).T
        torch.testing.assert_close(elements @ plane.T @ plane, elements)
        assert torch.linalg.matrix_rank(elements) == len(plane)


def test_kernel_is_invariant_and_one_on_the_diagonal(name: str) -> None:
    group = GROUPS[name]
    for kernel in group.kernels:
        torch.testing.assert_close(kernel.diagonal(), torch.ones(group.order, dtype=torch.float64))
        for g in range(group.order):
            moved = group.table[g]
            torch.testing.assert_close(kernel[moved][:, moved], kernel)


def test_projection_of_everything_is_the_function_without_its_mean(name: str) -> None:
    group = GROUPS[name]
    table = torch.randn(group.order, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    every = torch.ones(len(group.frequencies), dtype=torch.bool)
    torch.testing.assert_close(group.project(table, every), table - table.mean(0))
    power = group.power(group.transform(table))
    torch.testing.assert_close(power.sum(), (table - table.mean(0)).square().sum())


@given(st.integers(3, 40), st.integers(1, 40))
def test_cyclic_planes_are_cosines_and_sines(n: int, k: int) -> None:
    k = (k - 1) % (n // 2) + 1
    t = np.arange(n)
    plane = cyclic(n).planes[k - 1].numpy()
    for wave in (np.cos, np.sin):
        function = wave(2 * math.pi * k * t / n)
        np.testing.assert_allclose(plane.T @ (plane @ function), function, atol=1e-12)


@given(st.integers(3, 24))
def test_general_construction_agrees_with_the_cyclic_one(n: int) -> None:
    group, general = cyclic(n), Group(cyclic(n).table)
    for kernel in general.kernels:
        assert any(torch.allclose(kernel, other) for other in group.kernels)


def test_products_and_inverses() -> None:
    a, b = 3, 4
    assert int(S3.products().view(6, 6)[a, b]) == int(S3.table[a, b])
    difference = S3.products(-1).view(6, 6)
    assert torch.equal(difference.diagonal(), torch.full((6,), S3.identity))
    assert torch.equal(cyclic(5).products(-1).view(5, 5), (torch.arange(5)[:, None] - torch.arange(5)) % 5)


@pytest.mark.parametrize(
    "table", [[[0, 1], [0, 1]], [[0, 1, 2], [1, 0, 2], [2, 2, 0]], [[0, 1, 2], [2, 0, 1], [1, 2, 0]]], ids=str
)
def test_what_is_not_a_group_is_refused(table: list[list[int]]) -> None:
    with pytest.raises(SltGrokError, match="group: expected"):
        Group(torch.tensor(table))


def test_odd_primes_are_told() -> None:
    assert [n for n in range(3, 16) if cyclic(n).is_odd_prime] == [3, 5, 7, 11, 13]
    assert isinstance(cyclic(5), CyclicGroup)
