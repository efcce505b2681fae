"""Representatives of one function: exact LLCs along a rescaling, wrong declarations, the range, and a tiny run."""

from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn

from slt_grok.config import parse_config
from slt_grok.errors import SltGrokError
from slt_grok.llc.gauge import REPRESENTATIVES, Gauge, GaugeSettings, comparison, representatives
from slt_grok.llc.problem import Problem
from slt_grok.llc.restrictions import parameters
from slt_grok.llc.sample import sample
from slt_grok.llc.samplers.underdamped import UnderdampedLangevin
from slt_grok.llc.sampling import Schedule
from slt_grok.models import OneLayerTransformer
from slt_grok.models.model import At, Model, passthrough
from slt_grok.models.rescaling import Rescaling
from slt_grok.studies.run import Run, run_measurements, train_run
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory
from tests.conftest import CONFIG

CURVATURES = np.array([0.5, 5.0, 50.0])


class Products(Model):
    """f(x) = sum_j relu(x_j a_j) b_j: one neuron per input, so that the loss is quadratic in `a` while a > 0."""

    def __init__(self, neurons: int) -> None:
        super().__init__(neurons)
        self.a = nn.Parameter(torch.full((neurons,), 4.0, dtype=torch.float64))
        self.b = nn.Parameter(torch.full((neurons,), 1.0, dtype=torch.float64))

    def initialize(self, generator: torch.Generator) -> None:
        raise NotImplementedError

    def forward(self, pairs: Tensor, at: At = passthrough) -> Tensor:
        return ((pairs * self.a).relu() * self.b).sum(-1)

    def rescalable(self) -> list[Rescaling]:
        return [Rescaling({"a": -1}, {"b": -1})]


class Wrong(OneLayerTransformer):
    """A transformer that forgets its neurons' bias in the declaration."""

    def rescalable(self) -> list[Rescaling]:
        return [Rescaling({"W_in": -1}, {"W_out": -2})]


def problem(curvatures: np.ndarray, *moving: str) -> Problem:
    """Squared error with the curvature h_j b_j^2 in a_j, and L = sum h_j (a_j b_j - 4)^2 / 2, at its minimum."""
    inputs = torch.diag(torch.from_numpy(np.sqrt(curvatures * len(curvatures) / 2)))
    module = Products(len(curvatures))
    moved = representatives(Trajectory.of(module, loss=nn.functional.mse_loss))
    return Problem.from_inputs(moved, (inputs, 4 * inputs.sum(1)), subspace=parameters(module, *moving))


def test_llc_of_each_representative_is_exact_where_one_side_moves() -> None:
    n_beta, gamma = 20.0, 40.0
    found = sample(
        problem(CURVATURES, "a"), UnderdampedLangevin(0.02, longest_flight=20), Schedule(200, 1200),
        n_betas=[n_beta], gamma=gamma, chains=24, seed=3,
    )  # fmt: skip
    b = np.array([1.0, 2.0, 1 / 2, 1 / 4])  # a = 4, 2, 8, 16; the nearest zero is 13 standard deviations away
    curvature = n_beta * CURVATURES * b[:, None] ** 2
    exact = (curvature / (curvature + gamma)).sum(1) / 2
    assert found.representative.values.tolist() == list(REPRESENTATIVES)
    assert exact.max() / exact.min() > 3  # the range that the window makes of one function
    assert (abs(found.llc - exact) < 4 * found.llc_se).all()  # four of them: one in 4,000 by chance
    assert (found.llc_se < 0.05 * exact).all()
    assert abs(found.baseline_loss).max() < 1e-20


def test_llc_of_each_representative_is_exact_where_both_sides_move() -> None:
    h, n_beta, gamma = 0.3, 10.0, 2.0
    found = sample(
        problem(np.array([h]), "a", "b"), UnderdampedLangevin(0.02, longest_flight=60), Schedule(300, 1500),
        n_betas=[n_beta], gamma=gamma, chains=64, seed=4,
    )  # fmt: skip
    for name, (a, b) in zip(REPRESENTATIVES, ((4, 1), (2, 2), (8, 1 / 2), (16, 1 / 4)), strict=True):
        # 7 standard deviations of the localization to each side
        x, y = np.meshgrid(a + np.linspace(-5, 5, 801), b + np.linspace(-5, 5, 801))
        energy = n_beta * h / 2 * (np.maximum(x, 0) * y - 4) ** 2
        weight = np.exp(-energy - gamma / 2 * ((x - a) ** 2 + (y - b) ** 2))
        exact = (energy * weight).sum() / weight.sum()
        llc = found.sel(representative=name)
        assert abs(llc.llc - exact) < 4 * llc.llc_se
        assert llc.llc_se < 0.05 * exact


def transformer(kind: type[OneLayerTransformer], **options: Any) -> Trajectory:
    task = ModularTask(5, train_fraction=0.8)
    module = kind(5, d_model=8, n_heads=2, d_mlp=6, **options)
    module.initialize(torch.Generator().manual_seed(0))
    nn.init.normal_(module.b_in, generator=torch.Generator().manual_seed(1))
    network = Trajectory.of(module, task)
    tensors = {name: tensor[None, None] for name, tensor in network.parameters.items()}
    return Trajectory(network.network, tensors, ("step", "seed"), {"step": np.array([9]), "seed": np.array([0])})


SETTINGS = GaugeSettings(gamma=10.0, chains=2, draws=128, burn_in=128)


def test_a_wrong_declaration_is_found() -> None:
    with pytest.raises(SltGrokError, match=r"Wrong\.rescalable: .* relative change"):
        Gauge().sampled(transformer(Wrong), SETTINGS, lambda fraction, note="": None)


def test_representatives_of_a_transformer_have_its_loss_and_their_own_weights() -> None:
    found = Gauge().sampled(transformer(OneLayerTransformer), SETTINGS, lambda fraction, note="": None)
    assert found.output_change.item() < 1e-12
    loss = found.baseline_loss.isel(step=0, seed=0)
    np.testing.assert_allclose(loss, loss[0], rtol=1e-10)
    norms = found.weight_norm.isel(step=0, seed=0)
    assert norms.sel(representative="balanced") < norms.sel(representative="trained")
    assert norms.sel(representative="stretched_2") < norms.sel(representative="stretched_4")


def test_without_homogeneous_neurons_and_attention_it_is_not_measured() -> None:
    class Gelu(Products):
        def rescalable(self) -> list[Rescaling]:
            return []

    network = Trajectory.of(Gelu(2)).network
    assert "declares no neurons or heads" in str(Gauge().unmeasurable(network))
    assert Gauge().unmeasurable(Trajectory.of(nn.Linear(2, 2)).network) is not None
    assert Gauge().unmeasurable(transformer(OneLayerTransformer, activation="gelu").network) is None  # V against O


def test_range_and_drops_on_numbers() -> None:
    llc = np.array([[100.0, 90, 80, 60], [50.0, 45, 500, 30], [20.0, 22, 26, 25]])[:, None]
    status = np.where(llc == 500, "melted", "effective")
    se = np.array([[3.0, 1, 1, 4], [2.0, 1, 1, 1], [4.0, 1, 3, 1]])[:, None]
    dims = ("step", "seed", "representative")
    data = {"llc": (dims, llc), "llc_se": (dims, se), "llc_status": (dims, status)}
    coords = {"step": [1, 2, 3], "seed": [0], "representative": list(REPRESENTATIVES)}
    found = xr.Dataset(comparison(xr.Dataset(data, coords))).isel(seed=0)
    assert found.drop_from == 1
    np.testing.assert_allclose(found.gauge_range, [40, 20, 6])
    np.testing.assert_allclose(found.gauge_range_se, [5, np.sqrt(5), 5])
    np.testing.assert_allclose(found.gauge_share, [0.5, 0.25, 0.075])
    np.testing.assert_allclose(found["drop"], [80, 68, 54, 35])
    np.testing.assert_allclose(found.drop_se, [5, np.sqrt(2), np.sqrt(10), np.sqrt(17)])
    np.testing.assert_allclose(found.drop_factor, [5, 90 / 22, 80 / 26, 2.4])


@pytest.mark.parametrize(("drop", "share"), [(31.0, 12 / 31), (29.0, np.nan), (0.0, np.nan), (-1.0, np.nan)])
def test_a_range_is_not_divided_by_a_drop_within_its_error(drop: float, share: float) -> None:
    """Both ends have a standard error of 7, so that 3 standard errors of the drop are 29.7."""
    llc = np.array([[100.0, 112, 100, 100], [100 - drop, 100 - drop, 100 - drop, 100 - drop]])[:, None]
    dims, names = ("step", "seed", "representative"), list(REPRESENTATIVES)
    data = {"llc": (dims, llc), "llc_se": (dims, np.full(llc.shape, 7.0))}
    llcs = xr.Dataset(data, {"step": [1, 2], "seed": [5], "representative": names})
    llcs = llcs.assign(llc_status=xr.full_like(llcs.llc, "effective", object), output_change=llcs.llc.isel(step=0) * 0)
    llcs = llcs.assign(weight_norm=llcs.llc)
    found = llcs.assign(comparison(llcs)).assign_attrs(n_beta=10.0, gamma=1.0)
    np.testing.assert_allclose(found.gauge_share.isel(step=0).item(), share)
    notes, (table, _) = " ".join(Gauge().notes({"gauge": found})), Gauge().tables({"gauge": found})
    assert (table.rows[0][-1] == "no clear drop") == np.isnan(share)
    assert ("its range is not given relative to the drop" in notes) == np.isnan(share)
    assert ("of the drop, at step 1." in notes) == np.isfinite(share)


def test_untrusted_estimates_are_marked_and_in_no_range_and_no_drop() -> None:
    llc = np.array([[100.0, 110, 104, 150], [20.0, 21, 22, 23]])[:, None]
    dims, names = ("step", "seed", "representative"), list(REPRESENTATIVES)
    data = {"llc": (dims, llc), "llc_se": (dims, np.ones(llc.shape)), "weight_norm": (dims, llc)}
    llcs = xr.Dataset(data, {"step": [1, 2], "seed": [5], "representative": names})
    reasons = np.where(llc == 150, "a short descent from w* gains 31.5 in units of the LLC", "well")
    llcs = llcs.assign(
        llc_status=(dims, np.where(llc == 150, "not a minimum", "effective")), llc_status_reason=(dims, reasons),
        output_change=llcs.llc * 0,
    )  # fmt: skip
    found = llcs.assign(comparison(llcs)).assign_attrs(n_beta=10.0, gamma=1.0)
    each, drops = Gauge().tables({"gauge": found})
    doubt = "(not a minimum, low by 31.5 to 63)"
    assert [doubt in cell for cell in each.rows[0][2:6]] == [False, False, False, True]
    assert each.rows[0][6].startswith("10.0")  # 110 - 100
    assert "trusted status (effective, approximate or converged)" in each.caption
    assert [row[3] for row in drops.rows][-1] == "not given (step 1: not a minimum, low by 31.5 to 63)"
    assert not any("not given" in cell for row in drops.rows[:-1] for cell in row)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Run:
    content = CONFIG | {
        "model": CONFIG["model"] | {"activation": "relu"},
        "landscape": None,
        "llc": None,
        "circuits": None,
        "gauge": {
            "n_beta": 30,
            "gamma": 10,
            "melting_loss": 99,
            "chains": 2,
            "draws": 128,
            "burn_in": 128,
            "checkpoints": 2,
        },
    }  # fmt: skip
    run = train_run(parse_config(content, "a test"), tmp_path_factory.mktemp("gauge") / "run")
    run_measurements(run)
    return run


def test_a_run_has_columns_for_every_representative(measured: Run) -> None:
    found = measured.data["gauge"]
    assert found.sizes["step"] == 2
    columns = Gauge().columns(found.isel(seed=0))
    assert columns["final.gauge.llc.balanced"] == found.llc.isel(step=-1, seed=0, representative=1).item()
    drop = found["drop"].isel(seed=0, representative=3).item()  # NaN: after 20 steps these networks are at no minimum
    np.testing.assert_equal(columns["gauge.drop.stretched_4"], drop)
    assert columns["final.gauge.output_change"] < 1e-12
