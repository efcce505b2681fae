"""Refined LLCs where they are known: quadratic losses, restricted weights, restricted data.

A statistical test here fails by chance with probability 0.3% (3 standard errors) for each number; seeds are fixed.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from slt_grok.errors import SltGrokError
from slt_grok.llc import UnderdampedLangevin, refined, restrictions
from slt_grok.llc.refined import Component, components, measure
from slt_grok.llc.sampling import Schedule
from slt_grok.llc.subspaces import Entries, Planes, Subspace, everything
from slt_grok.models import EmbeddingMLP, OneLayerTransformer
from slt_grok.models.network import Network
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory
from tests.landscape.toys import ONE_SAMPLE, stacked

N_BETA, GAMMA = 40.0, 60.0
CHAINS = {
    "schedule": Schedule(100, 250), "n_betas": [N_BETA], "gamma": GAMMA, "chains": 300, "dtype": torch.float64,
}  # fmt: skip


def hessian(coupled: bool, seed: int = 0) -> Tensor:
    """Of 12 weights, `first` (6) and `rest` (6, 1); without coupling there is nothing between the two."""
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(12, 8, dtype=torch.float64, generator=generator)
    if not coupled:
        factor[:6, 4:], factor[6:, :4] = 0, 0
    return factor @ factor.T


def closed_form(h: Tensor) -> float:
    """1/2 sum n_beta h_i / (n_beta h_i + gamma) over the eigenvalues h_i."""
    eigenvalues = torch.linalg.eigvalsh(h)
    return (0.5 * N_BETA * eigenvalues / (N_BETA * eigenvalues + GAMMA)).sum().item()


def quadratic(h: Tensor) -> Trajectory:
    points = torch.zeros(1, 12, dtype=torch.float64)
    return stacked(points, lambda weights: 0.5 * weights @ h @ weights)


def sampler(h: Tensor) -> UnderdampedLangevin:
    return UnderdampedLangevin(0.7 / (N_BETA * torch.linalg.eigvalsh(h)[-1].item() + GAMMA) ** 0.5, 2 * GAMMA**0.5)


def parts_of(trajectory: Trajectory) -> tuple[list[Component], list[Tensor]]:
    """Components with the orthonormal rows that span each."""
    shapes, module = trajectory.network.shapes, trajectory.network.module
    eye = torch.eye(12, dtype=torch.float64)
    plane = torch.linalg.qr(torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3)))[0].T
    odd = Subspace(shapes, {"first": Entries(torch.tensor([1, 3, 5]))})
    made = [
        (Component("all weights", "whole", everything(shapes)), eye),
        (Component("first", "matrix", restrictions.parameters(module, "first")), eye[:6]),
        (Component("rest", "matrix", restrictions.parameters(module, "rest")), eye[6:]),
        (Component("odd", "mask", odd), eye[1:6:2]),
        (Component("plane", "plane", Subspace(shapes, {"rest": Planes(-2, plane)})), plane @ eye[6:]),
    ]
    return [replace(part, data=ONE_SAMPLE) for part, _ in made], [rows for _, rows in made]


@pytest.mark.parametrize("coupled", [True, False])
def test_a_subspace_of_a_quadratic_has_the_closed_form_of_its_hessian(coupled: bool) -> None:
    h = hessian(coupled)
    trajectory = quadratic(h)
    parts, rows = parts_of(trajectory)
    found = measure(trajectory, parts, sampler=sampler(h), **CHAINS).isel(step=0)
    right = np.array([closed_form(r @ h @ r.T) for r in rows])
    assert found.dimension.values.tolist() == [12, 6, 6, 3, 2]
    assert (found.llc_se < 0.012 * right).all()
    np.testing.assert_array_less(np.abs(found.llc - right), 3 * found.llc_se)
    np.testing.assert_allclose(found.llc_per_dimension, found.llc / np.array([12, 6, 6, 3, 2]))
    interaction = right[1] + right[2] - right[0]
    if coupled:
        assert interaction > 20 * found.llc_interaction_se  # it can be seen
    else:
        assert interaction == pytest.approx(0, abs=1e-12)
    assert abs(found.llc_interaction - interaction) < 3 * found.llc_interaction_se
    se = found.llc_se.values
    assert found.llc_interaction_se.item() == pytest.approx((se[:3] ** 2).sum() ** 0.5)


class Mean(nn.Module):
    """Its one weight, for every sample."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.w.expand(len(x))


def test_on_other_data_the_llc_is_that_datas_and_may_be_negative() -> None:
    """Mean squared error around c from w* = 0: with A = 2 n_beta + gamma, mu = 2 n_beta c / A the posterior's mean,
    n_beta (E L - L(0)) = n_beta (1/A + (mu - c)^2 - c^2)."""
    trajectory = Trajectory.of(Mean(), loss=lambda outputs, targets: (outputs - targets) ** 2)
    whole = everything(trajectory.network.shapes)

    def data(c: float) -> tuple[Tensor, Tensor]:
        return torch.zeros(4, 1), torch.tensor([c - 1, c + 1, c - 1, c + 1], dtype=torch.float64)

    centers = {"train": 0.0, "test": 0.4}
    parts = [Component(name, "data", whole, data(c)) for name, c in centers.items()]
    found = measure(trajectory, parts, sampler=UnderdampedLangevin(0.05, 12.0), **CHAINS)
    a = 2 * N_BETA + GAMMA
    for name, c in centers.items():
        one, mu = found.sel(component=name), 2 * N_BETA * c / a
        right = N_BETA * (1 / a + (mu - c) ** 2 - c**2)
        assert one.baseline_loss.item() == pytest.approx(1 + c**2)
        assert abs(one.llc - right) < 3 * one.llc_se
        assert one.llc_se < 0.1 * abs(right)
    assert found.llc_status.values.tolist() == ["effective", "not a minimum"]
    assert found.llc.sel(component="test") < 0


def networks(steps: int = 2, modulus: int = 13) -> Trajectory:
    module = EmbeddingMLP(modulus, d_embed=4, d_mlp=6)
    states = {}
    for step in range(steps):
        module.initialize(torch.Generator().manual_seed(step))
        states[step] = {k: v.detach().clone() for k, v in module.named_parameters()}
    return Trajectory.stack(module, states, ModularTask(modulus, train_fraction=0.6))


SHORT = {"sampler": UnderdampedLangevin(0.02, 20.0), "n_betas": [10.0], "gamma": 20.0, "chains": 2}


def test_a_component_does_not_depend_on_the_others() -> None:
    trajectory = networks()
    parts = components(trajectory.network, [2, 5])
    together = measure(trajectory, parts, schedule=Schedule(5, 12, 1, 16), **SHORT)
    assert together.llc.dims == ("step", "component")
    alone = measure(trajectory, parts[3:5], schedule=Schedule(5, 12, 1, 16), **SHORT)
    np.testing.assert_array_equal(alone.llc, together.llc.isel(component=slice(3, 5)))
    assert "llc_interaction" not in alone
    # the sums of what was found, by hand
    llc = together.llc.sel
    single = llc(component="frequency 2") + llc(component="frequency 5") - llc(component="key frequencies")
    np.testing.assert_allclose(together.llc_interaction_frequency, single)
    split = llc(component="key frequencies") + llc(component="other frequencies") - llc(component="all frequencies")
    np.testing.assert_allclose(together.llc_interaction_circuit, split)
    matrices = llc(component=["W_E", "W_left", "W_right", "b_in", "W_U"]).sum("component")
    np.testing.assert_allclose(together.llc_interaction, matrices - llc(component="all weights"))
    inputs, targets = trajectory.task.data("test")
    module = trajectory.network.module.double()
    module.load_state_dict({k: v[1].double() for k, v in trajectory.parameters.items()})
    right = nn.functional.cross_entropy(module(inputs), targets).item()
    assert together.baseline_loss.sel(step=1, component="test pairs").item() == pytest.approx(right, rel=1e-12)


def test_what_is_measured_by_default() -> None:
    module = OneLayerTransformer(13, d_model=8, n_heads=2, d_mlp=6)
    found = components(Network(module, ModularTask(13)), [2, 5])
    by_group: dict[str, list[str]] = {}
    for part in found:
        by_group.setdefault(part.group, []).append(part.name)
    assert by_group["whole"] == ["all weights"]
    assert by_group["matrix"] == [name for name, _ in module.named_parameters()]
    assert by_group["head"] == ["head 0", "head 1"]
    assert by_group["attention"] == ["all heads"]
    assert by_group["frequency"] == ["frequency 2", "frequency 5"]
    null = {int(name.split()[-1]) for name in by_group["null frequency"]}
    assert len(null) == 2
    assert null <= {1, 3, 4, 6}  # as many as there are key ones, none of them key
    assert by_group["data"] == ["test pairs", "all pairs"]
    dimension = {part.name: part.subspace.dimension for part in found}
    assert dimension["head 0"] + dimension["head 1"] == dimension["all heads"] == 4 * 8 * 8
    assert dimension["null frequencies"] == dimension["key frequencies"]
    assert dimension["key frequencies"] + dimension["other frequencies"] == dimension["all frequencies"]
    assert components(Network(module, ModularTask(13)), [2, 5])[-3].name == found[-3].name


def test_without_a_circuit_or_test_pairs_their_components_are_left_out() -> None:
    module = EmbeddingMLP(13, d_embed=4, d_mlp=6)
    groups = {part.group for part in components(Network(module, ModularTask(13, train_fraction=1.0)))}
    assert groups == {"whole", "matrix"}


def test_where_every_frequency_is_key_there_is_no_null() -> None:
    found = components(Network(EmbeddingMLP(5, d_embed=4, d_mlp=6), ModularTask(5)), [1, 2])
    assert not {part.group for part in found} & {"null frequency", "null circuit"}


def test_one_name_twice_or_none_is_refused() -> None:
    trajectory = networks()
    part = components(trajectory.network)[0]
    with pytest.raises(SltGrokError, match="distinct names, at least one, got all weights, all weights"):
        measure(trajectory, [part, part], schedule=Schedule(5, 12), **SHORT)
    with pytest.raises(SltGrokError, match="at least one"):
        measure(trajectory, [], schedule=Schedule(5, 12), **SHORT)
    assert refined.measure is measure
