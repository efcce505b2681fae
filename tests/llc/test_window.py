"""The map over the window: known answers of its parts, chains that do not meet, and a tiny run."""

import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor, nn

import slt_grok
from slt_grok.config import parse_config
from slt_grok.errors import SltGrokError
from slt_grok.llc.diagnostics import TRUSTED
from slt_grok.llc.milestones import at_milestones
from slt_grok.llc.problem import Problem
from slt_grok.llc.samplers.adaptive import AdaptiveLangevin
from slt_grok.llc.samplers.underdamped import UnderdampedLangevin
from slt_grok.llc.sampling import Schedule
from slt_grok.llc.sensitivity import at_temperatures
from slt_grok.llc.temperature import Temperature
from slt_grok.llc.window import Window, WindowSettings, window_gammas
from slt_grok.llc.window_limits import drops, slopes
from slt_grok.llc.window_noise import window_noise
from slt_grok.measurement import Measurement
from slt_grok.models import OneLayerTransformer
from slt_grok.studies.run import Run, run_measurements, train_run
from slt_grok.trajectories import Trajectory
from tests.conftest import CONFIG


def test_gammas_contain_the_configured_one_and_cover_the_radii() -> None:
    norms, d = np.array([30.0, 20.0]), 50_000
    gammas = window_gammas(100.0, d, norms)
    assert 100.0 in gammas
    np.testing.assert_allclose(np.diff(np.log(gammas)), np.log(10) / 2, rtol=1e-3)
    assert gammas[0] <= 10.1
    assert gammas[-1] >= 999
    for norm in norms:
        radii = np.sqrt(d / np.array(gammas)) / norm
        assert radii.min() <= 0.0501
        assert radii.max() >= 0.699
    # radius 0.05 of |w| is at gamma 19,600, 4.6 steps up, and radius 0.7 at 100: ten times less is two steps down
    assert len(window_gammas(100.0, 49, np.array([1.0]))) == 2 + 1 + 5


def made_up() -> xr.Dataset:
    """LLC = a / gamma from gamma 100 on and constant below, with a falling by 8 and the step of the fall by n_beta."""
    gamma = np.array([1.0, 10.0, 100.0, 1000.0, 10000.0])
    shape = np.where(gamma <= 100, 1.0, 100 / gamma)
    fall = np.array([[80.0, 80, 80, 10, 10], [80.0, 80, 10, 10, 10]]).T  # (step, n_beta)
    llc = fall[:, None, :, None] * shape
    status = np.full(llc.shape, "effective", dtype=object)
    status[..., 0] = "melted"
    return xr.Dataset(
        {
            "llc": (("step", "seed", "n_beta", "gamma"), np.where(status == "melted", 1e4, llc)),
            "llc_se": (("step", "seed", "n_beta", "gamma"), 0.03 * llc),
            "llc_status": (("step", "seed", "n_beta", "gamma"), status.astype(str)),
        },
        coords={"step": [10, 20, 40, 80, 160], "seed": [0], "n_beta": [5.0, 10.0], "gamma": gamma},
        attrs={"gamma": 100.0},
    )


def test_slopes_are_those_of_the_outermost_good_pairs() -> None:
    found = slopes(made_up())
    np.testing.assert_allclose(found["slope"].sel(end="open"), 0.0, atol=1e-12)  # gamma 1 has melted
    np.testing.assert_allclose(found["slope"].sel(end="closed"), -1.0)
    np.testing.assert_allclose(found["slope_se"], 0.03 * np.sqrt(2) / np.log(10))
    np.testing.assert_allclose(found["slope_gamma"].sel(end="open"), np.sqrt(10 * 100))
    np.testing.assert_allclose(found["slope_gamma"].sel(end="closed"), np.sqrt(1000 * 10000))
    one = slopes(made_up().isel(gamma=[0, 2]))
    assert np.isnan(one["slope"]).all()  # a single good gamma


def test_drop_is_between_the_same_checkpoints_and_half_way_where_the_curve_falls() -> None:
    found = xr.Dataset(drops(made_up())).isel(seed=0)
    assert found.drop_from == 10
    np.testing.assert_allclose(found.drop_factor.isel(gamma=slice(1, None)), 8.0)
    np.testing.assert_allclose(found.drop_factor_se.isel(gamma=slice(1, None)), 8 * 0.03 * np.sqrt(2))
    assert np.isnan(found.drop_factor.isel(gamma=0)).all()
    assert np.isnan(found.half_way_step.isel(gamma=0)).all()
    late, early = (found.isel(n_beta=i, gamma=slice(1, None)) for i in (0, 1))
    assert ((late.half_way_low >= 40) & (late.half_way_step > 40) & (late.half_way_high <= 80)).all()
    assert ((early.half_way_low >= 20) & (early.half_way_step > 20) & (early.half_way_high <= 40)).all()


def test_half_way_is_that_of_the_drop_where_another_window_falls_earlier() -> None:
    maps = made_up()
    maps.llc_status[0, 0, 1, 2] = "not a minimum"  # at the configured setting, the fall starts at step 20
    maps.llc[0, 0] *= 10
    found = xr.Dataset(drops(maps)).isel(seed=0, n_beta=1, gamma=slice(1, None))
    assert found.drop_from == 20
    np.testing.assert_allclose(found.drop_factor, 8.0)
    assert (found.half_way_step > 20).all()


CURVATURES = np.array([0.0, 0.5, 5.0, 50.0])


def quadratic() -> Problem:
    """Squared error of a linear map with the Hessian diag(CURVATURES), at its minimum."""
    inputs = torch.diag(torch.from_numpy(np.sqrt(CURVATURES * len(CURVATURES) / 2)))
    states = {1: {"weight": torch.ones(1, 4, dtype=torch.float64)}}
    trajectory = Trajectory.stack(nn.Linear(4, 1, bias=False).double(), states, loss=nn.functional.mse_loss)
    return Problem.from_inputs(trajectory, (inputs, inputs @ torch.ones(4, 1, dtype=torch.float64)))


def test_every_pair_of_temperature_and_window_has_its_exact_value_from_both_sides() -> None:
    pairs = [(n_beta, gamma) for n_beta in (2.0, 20.0) for gamma in (1.0, 100.0)]
    n_betas, gammas = (list(values) for values in zip(*pairs, strict=True))
    found = at_temperatures(
        quadratic(), AdaptiveLangevin(0.5), n_betas, gammas, Schedule(200, 2000), chains=8, seed=1, scattered=True
    ).isel(step=0)
    exact = [(n_beta * CURVATURES / (n_beta * CURVATURES + gamma)).sum() / 2 for n_beta, gamma in pairs]
    assert (abs(found.llc - exact) < 4 * found.llc_se).all()  # four of them: one in 4,000 by chance
    assert (found.llc_se < 0.1 * np.array(exact)).all()
    assert found.llc_status.isin(TRUSTED).all()


class Funnel(nn.Module):
    """The loss 1 - exp(-50 |w|^2) at any input: a narrow well in a plain."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(20, dtype=torch.float64))

    def forward(self, inputs: Tensor) -> Tensor:
        return (1 - torch.exp(-50 * self.w.square().sum())) + 0 * inputs


def test_chains_that_do_not_meet_have_no_trusted_value() -> None:
    inputs = torch.zeros(3, 1, dtype=torch.float64)
    trajectory = Trajectory.of(Funnel(), loss=lambda outputs, targets: outputs.mean(-1))
    problem = Problem.from_inputs(trajectory, (inputs, inputs))

    sampler = UnderdampedLangevin(0.005, longest_flight=60)

    def status(scattered: bool, gamma: float) -> str:
        found = at_temperatures(problem, sampler, [100.0], [gamma], Schedule(300, 900), chains=4, scattered=scattered)
        return found.llc_status.item()

    assert status(scattered=False, gamma=1.0) in TRUSTED  # they stay where they start
    assert status(scattered=True, gamma=1.0) not in TRUSTED
    assert status(scattered=True, gamma=1e4) in TRUSTED  # a window inside the well


class Known:
    """A context with given milestones and LLC."""

    def __init__(self, milestones: tuple[float, float], llc: xr.Dataset | None = None) -> None:
        self.reached, self.llc = milestones, llc

    def milestones(self, seed: int) -> tuple[float, float]:
        return self.reached

    def data(self, label: str) -> xr.Dataset | None:
        return self.llc


STEPS = [0, 10, 20, 40, 80, 160, 320, 640, 1000]


def chosen(context: Known, count: int) -> list[int]:
    network = Trajectory.of(OneLayerTransformer(5, 4, 1, 4)).network
    parameters = {name: torch.zeros(len(STEPS), 1, *shape) for name, shape in network.shapes.items()}
    coords = {"step": np.array(STEPS), "seed": np.array([3])}
    trajectory = Trajectory(network, parameters, ("step", "seed"), coords)
    return at_milestones(trajectory, context, count).coords["step"].tolist()  # pyright: ignore[reportArgumentType]


def test_milestones_are_events_then_the_widest_gaps() -> None:
    assert chosen(Known((15, 300)), 2) == [20, 1000]
    assert chosen(Known((15, 300)), 4) == [20, 40, 320, 1000]
    assert chosen(Known((15, 300)), 5) == [20, 40, 160, 320, 1000]  # log(161/41) > log(81/41), log(641/321)
    assert chosen(Known((15, 300)), 99) == STEPS[2:]
    assert chosen(Known((np.nan, np.nan)), 3) == [20, 40, 1000]  # a third of nine checkpoints in
    llc = np.array([900.0, 5, 6, 7, 60, 50, 40, 900, 3])[:, None]
    status = np.where(llc == 900, "melted", "effective")
    dims, coords = ("step", "seed"), {"step": STEPS, "seed": [3]}
    known = xr.Dataset({"llc": (dims, llc), "llc_status": (dims, status)}, coords)
    assert chosen(Known((15, 300), known), 4) == [20, 80, 320, 1000]


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Run:
    content = CONFIG | {
        "landscape": None,
        "llc": None,
        "circuits": None,
        "window": {"n_beta": 30, "gamma": 10, "chains": 2, "draws": 128, "burn_in": 128, "checkpoints": 2},
    }
    run = train_run(parse_config(content, "a test"), tmp_path_factory.mktemp("window") / "run")
    run_measurements(run)
    return run


def test_a_run_has_the_map_with_radius_and_null(mapped: Run) -> None:
    found = mapped.data["window"].isel(seed=0)
    assert found.sizes["step"] == 2
    assert found.n_beta.values.tolist() == pytest.approx([30 / 9, 10, 30])
    last = slt_grok.trajectory(mapped.path).isel(step=[-1])
    weights = torch.cat([tensor.flatten() for tensor in last.stacked(torch.float64).values()])
    here = found.isel(step=-1)
    assert here.weight_norm.item() == pytest.approx(weights.norm().item())
    np.testing.assert_allclose(here.radius, np.sqrt(len(weights) / found.gamma) / weights.norm().item())
    null = window_noise(Problem.from_inputs(last), [30.0], 10.0)
    assert here.window_noise.sel(n_beta=30, gamma=10).item() == pytest.approx(null.llc.item(), rel=1e-5)
    closed = here.isel(gamma=-1, n_beta=-1)  # so narrow that chains are noise
    error = np.hypot(closed.llc_se, closed.window_noise_se)
    assert abs(closed.llc - closed.window_noise) < 4 * error


def test_a_window_without_width_is_refused() -> None:
    with pytest.raises(SltGrokError, match="gamma"):
        parse_config(CONFIG | {"window": {"gamma": 0}}, "a test")
    assert WindowSettings(gamma=3.0).checkpoints == 6
    with pytest.raises(SltGrokError, match=r"gamma \(0\) must be above 0"):
        window_gammas(0.0, 50, np.array([1.0]))


@pytest.mark.parametrize("measurement", [Window(), Temperature()])
def test_an_inherited_gamma_of_0_is_refused_only_if_the_section_is_written(measurement: Measurement) -> None:
    without = CONFIG | {"llc": {"preset": "devinterp", "batch_size": 10}}
    config = parse_config(without, "a test")
    assert config.settings(measurement) is None
    assert not config.asks_for(measurement)
    with pytest.raises(SltGrokError, match=rf"^a test: {measurement.name}\.gamma: expected greater than 0, got 0\.0$"):
        parse_config(without | {measurement.name: {}}, "a test")
    settings = parse_config(without | {measurement.name: {"gamma": 3}}, "a test").settings(measurement)
    assert (settings.gamma, settings.chains) == (3, 4)  # the preset's chains


def test_radii_relative_to_weights_that_are_0_are_refused() -> None:
    with pytest.raises(SltGrokError, match="weights: expected some that are not 0"):
        window_gammas(3.0, 50, np.array([1.0, 0.0]))
