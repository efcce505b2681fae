"""Each problem of the zoo is at a minimum of loss 0, has the loss it says and the rank that its truth rests on."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import functional_call, hessian

from slt_grok.llc import exact
from slt_grok.operators.jacobian import jacobian, jacobian_rank, numerical_rank
from slt_grok.zoo.cases import ZOO, parse
from slt_grok.zoo.deep_linear import DeepLinear
from slt_grok.zoo.mixed import MixedModel
from slt_grok.zoo.normal_crossing import CrossingModel
from slt_grok.zoo.problem import KnownProblem, half_squared_error, normal
from slt_grok.zoo.twins import TanhNetwork

SMALL = [
    "quadratic 12 rank 7 decades 3",
    "polynomial degree 6",
    "normal_crossing 1,3",
    "dln 4,5,3 rank 2",
    "dln 4,5,6,3 rank 2 generic",
    "modadd p 3 width 3 pairs 6",
    "mixed 3 at 1, 2 at 1e-3, crossing 1,2",
    "tanh 3 gap 0.1",
    "absolute 5 rank 4",
    "saturating 5 rank 4",
]


def draw(text: str, seed: int = 0) -> KnownProblem:
    return parse(text).problem(torch.Generator().manual_seed(seed))


def loss(problem: KnownProblem, parameters: dict[str, Tensor] | None = None) -> Tensor:
    inputs, targets = problem.data
    outputs = functional_call(problem.module, parameters or dict(problem.module.named_parameters()), (inputs,))
    return problem.loss(outputs, targets).mean()


def moved(problem: KnownProblem, seed: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {k: v.detach() + 0.1 * normal(tuple(v.shape), generator) for k, v in problem.module.named_parameters()}


def loss_hessian(problem: KnownProblem) -> np.ndarray:
    (name,) = dict(problem.module.named_parameters())
    w = next(problem.module.parameters()).detach()
    return hessian(lambda w: loss(problem, {name: w}))(w).detach().numpy()


@pytest.mark.parametrize("text", [*SMALL, *ZOO])
def test_a_minimum_of_loss_zero_in_float64(text: str) -> None:
    problem = draw(text)
    assert all(parameter.dtype == torch.float64 for parameter in problem.module.parameters())
    value = loss(problem)
    value.backward()
    assert value.item() == 0
    assert all(parameter.grad.abs().max() == 0 for parameter in problem.module.parameters())
    assert loss(problem, moved(problem)) > 0


@pytest.mark.parametrize("text", SMALL)
def test_a_seed_fixes_the_problem_and_another_one_changes_it(text: str) -> None:
    first, again, other = draw(text, 0), draw(text, 0), draw(text, 1)
    for one, two, three in zip(*(problem.module.parameters() for problem in (first, again, other)), strict=True):
        assert torch.equal(one, two)
        assert not torch.equal(one, three)
    assert torch.equal(first.data[1], again.data[1])
    if "crossing" in text:  # its one output is 0 in any case; what turns is the crossing
        assert not torch.equal(first.module.rotation, other.module.rotation)
    else:
        assert not torch.equal(first.data[1], other.data[1])


@pytest.mark.parametrize(("dimension", "rank", "decades"), [(12, 7, 3), (5, 5, 1), (9, 1, 2)])
def test_a_quadratic_has_the_spectrum_it_says(dimension: int, rank: int, decades: int) -> None:
    problem = draw(f"quadratic {dimension} rank {rank} decades {decades}")
    found = np.linalg.eigvalsh(loss_hessian(problem))
    np.testing.assert_allclose(found[: dimension - rank], 0, atol=1e-14)
    np.testing.assert_allclose(found[dimension - rank :], np.logspace(-decades, 0, rank), rtol=1e-9)
    assert problem.truth == (rank / 2, 1)


@pytest.mark.parametrize("degree", [0, 3, 9])
def test_polynomial_features_have_the_gram_matrix_of_the_population(degree: int) -> None:
    problem = draw(f"polynomial degree {degree}")
    powers = np.add.outer(np.arange(degree + 1), np.arange(degree + 1))
    right = np.where(powers % 2, 0, 1 / (powers + 1))  # E x^(i + j), x uniform on [-1, 1]
    np.testing.assert_allclose(loss_hessian(problem), right, rtol=1e-9, atol=1e-13)
    assert problem.truth == ((degree + 1) / 2, 1)


def test_a_crossing_is_the_product_in_turned_coordinates() -> None:
    problem = draw("normal_crossing 1,3,0")
    module = problem.module
    assert isinstance(module, CrossingModel)
    u = torch.tensor([0.3, -0.8, 2.0], dtype=torch.float64)
    there = {"w": module.w.detach() + module.rotation.T @ u}
    assert loss(problem, there).item() == pytest.approx(0.3**2 * 0.8**6)
    torch.testing.assert_close(module.rotation @ module.rotation.T, torch.eye(3).double())
    assert module.w.detach().square().sum().item() == pytest.approx(3)
    assert problem.truth == (1 / 6, 1)


@pytest.mark.parametrize("text", ["dln 4,5,3 rank 2", "dln 6,8 rank 2 generic", "dln 4,5,6,3 rank 0"])
def test_deep_linear_loss_is_half_the_squared_distance_of_the_maps(text: str) -> None:
    problem = draw(text)
    there = moved(problem)
    true = torch.linalg.multi_dot([torch.eye(problem.inputs.shape[1]).double(), *problem.module.parameters()])
    other = torch.linalg.multi_dot([torch.eye(problem.inputs.shape[1]).double(), *there.values()])
    assert loss(problem, there).item() == pytest.approx(((other - true) ** 2).sum().item() / 2, rel=1e-9)


def ranks(module: torch.nn.Module) -> list[int]:
    assert isinstance(module, DeepLinear)
    return [numerical_rank(layer.detach()).rank for layer in module.layers]


def product_rank(problem: KnownProblem) -> int:
    values = torch.linalg.svdvals(problem.module(problem.inputs).detach())
    return int((values > 1e-12).sum())  # the weights are of order 1: below is rounding, also where the rank is 0


@pytest.mark.parametrize(("widths", "rank"), [((4, 5, 3), 2), ((4, 5, 6, 3), 1), ((4, 5, 4), 0), ((3, 3, 3, 3, 3), 3)])
def test_the_most_singular_point_has_the_rank_in_each_layer(widths: tuple[int, ...], rank: int) -> None:
    problem = draw(f"dln {','.join(map(str, widths))} rank {rank}")
    assert ranks(problem.module) == [rank] * (len(widths) - 1)
    assert product_rank(problem) == rank
    assert problem.truth == exact.deep_linear(widths, rank)
    # the Hessian there sees only what moves the rank's own directions
    jacobian = jacobian_rank(problem.module, problem.inputs)
    deep = len(widths) > 2
    if deep:
        assert jacobian.rank == rank * (widths[0] + widths[-1] - rank)
    assert jacobian.rank / 2 <= problem.truth.value


@pytest.mark.parametrize(
    ("widths", "rank"),
    [
        ((8, 12, 10), 3),
        ((10, 5, 10), 3),
        ((9, 6, 4, 8), 2),
        ((9, 4, 6, 8), 2),
        ((4, 9, 6, 8), 2),
        ((9, 4, 4, 8, 7), 0),
        ((6, 8), 2),
    ],
)
def test_a_generic_point_has_half_its_jacobian_rank(widths: tuple[int, ...], rank: int) -> None:
    problem = draw(f"dln {','.join(map(str, widths))} rank {rank} generic")
    assert ranks(problem.module)[:-1] == [min(shape) for shape in pairwise(widths[:-1])]
    assert product_rank(problem) == rank
    found = jacobian_rank(problem.module, problem.inputs)
    assert found.gap > 1e9
    assert problem.truth == (found.rank / 2, 1)


def test_the_minima_around_a_generic_point_are_smooth() -> None:
    """Dimension of the fibre by Newton steps from nearby: the Jacobian has the same rank at other minima near w*."""
    problem = draw("dln 5,3,5 rank 2 generic")
    inputs, targets = problem.data
    shapes = [parameter.shape for parameter in problem.module.parameters()]
    w = torch.cat([value.flatten() for value in moved(problem).values()])
    for _ in range(30):
        pieces = w.split([shape.numel() for shape in shapes])
        for parameter, piece in zip(problem.module.parameters(), pieces, strict=True):
            parameter.data = piece.reshape(parameter.shape)
        residual = (problem.module(inputs) - targets).detach().flatten()
        slopes = jacobian(problem.module, inputs)
        w = w - torch.linalg.lstsq(slopes, residual, rcond=1e-9, driver="gelsd").solution
    assert residual.abs().max() < 1e-12
    assert numerical_rank(slopes).rank == 2 * problem.truth.value


def test_modular_addition_has_its_pairs_and_its_rank() -> None:
    problem = draw("modadd p 5 width 3 pairs 10", seed=2)
    assert len(problem.inputs.unique(dim=0)) == 10
    assert problem.inputs.min() >= 0
    assert problem.inputs.max() < 5
    assert problem.truth.value <= exact.modular_rank(5, 3, pairs=10) / 2
    everything = draw("modadd p 5 width 3 pairs all")
    assert len(everything.inputs) == 25
    assert everything.truth == (3 * 13 / 2, 1)


def test_mixed_curvature_is_a_sum_of_independent_parts() -> None:
    problem = draw("mixed 3 at 1, 2 at 1e-3, crossing 1,2")
    module = problem.module
    assert isinstance(module, MixedModel)
    turned = torch.tensor([0.5, -1.0, 2.0, 3.0, -4.0, 0.3, 0.7], dtype=torch.float64)
    there = {"w": module.w.detach() + module.rotation.T @ turned}
    right = (0.25 + 1 + 4) / 2 + 1e-3 * (9 + 16) / 2 + 0.3**2 * 0.7**4
    assert loss(problem, there).item() == pytest.approx(right)
    assert problem.truth == (5 / 2 + 1 / 4, 1)
    assert draw("mixed 3 at 1, 2 at 1e-3, crossing 1,1,1").truth == (5 / 2 + 1 / 2, 3)


@pytest.mark.parametrize(
    ("text", "values"),
    [("absolute 5 rank 4", (0.3, 2.0)), ("saturating 5 rank 4", (1 - np.exp(-0.045), 1 - np.exp(-2)))],
)
def test_the_losses_of_linear_regression(text: str, values: tuple[float, float]) -> None:
    """|u| and 1 - exp(-u^2 / 2) at residuals of 0.3 and 2."""
    found = draw(text).loss(torch.tensor([[0.3], [2.0]]).double(), torch.zeros(2, 1).double())
    assert found.tolist() == pytest.approx(values)


@pytest.mark.parametrize("text", ["absolute 3 rank 2", "saturating 3 rank 2"])
def test_the_integral_of_these_losses_falls_with_the_truth(text: str) -> None:
    """lambda is the rate at which the integral of exp(-n L) over the residuals falls with n, on a grid."""
    problem = draw(text)
    grid = torch.sinh(torch.linspace(-12, 12, 20001, dtype=torch.float64)) / np.sinh(12)  # [-1, 1], dense at 0
    losses = problem.loss(grid[:, None], torch.zeros_like(grid)[:, None]).numpy()
    logs = [np.log(np.trapezoid(np.exp(-n * losses), grid.numpy())) for n in (1e4, 1e6)]
    samples = len(problem.inputs)
    assert samples * (logs[0] - logs[1]) / np.log(100) == pytest.approx(problem.truth.value, rel=1e-3)


@pytest.mark.parametrize("gap", [1.0, 0.3])
def test_twins_are_regular(gap: float) -> None:
    problem = draw(f"tanh 3 gap {gap}")
    module = problem.module
    assert isinstance(module, TanhNetwork)
    assert abs(module.b[-1] - module.b[-2]).item() == pytest.approx(gap)
    found = numerical_rank(jacobian(module, problem.inputs))
    assert found.singular_values[-1] > 1e3 * 60 * np.finfo(float).eps * found.singular_values[0]
    assert problem.truth == (found.rank / 2, 1) == (4.5, 1)


def test_half_squared_error_of_each_sample() -> None:
    outputs, targets = torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 4.0]])
    assert half_squared_error(outputs, targets).tolist() == [2.5, 8.0]
