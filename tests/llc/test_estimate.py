"""The estimator on networks: what must not change it, what must be said of it, and bad input."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import slt_grok
from slt_grok.errors import SltGrokError
from slt_grok.llc import HMC, MALA, SGLD, UnderdampedLangevin, chains, estimate
from slt_grok.llc.diagnostics import HEALTHY
from slt_grok.llc.subspaces import Subspace
from slt_grok.models import build
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory
from tests.llc.regression import Regression

P = 7
SHORT = {"sampler": SGLD(1e-4), "n_beta": 10.0, "gamma": 20.0, "chains": 3, "draws": 12, "burn_in": 5}


@pytest.fixture(scope="module")
def trajectory() -> Trajectory:
    module = build("mlp", P, d_embed=4, d_mlp=6)
    states = {}
    for step in (0, 10, 200):
        module.initialize(torch.Generator().manual_seed(step))
        states[step] = {k: v.detach().clone() for k, v in module.named_parameters()}
    return Trajectory.stack(module, states, ModularTask(P, train_fraction=0.6))


def test_an_estimate_does_not_depend_on_the_other_checkpoints(trajectory: Trajectory) -> None:
    together = estimate(trajectory, batch_size=8, **SHORT)
    alone = estimate(trajectory.isel(step=1), batch_size=8, **SHORT)
    np.testing.assert_allclose(together.loss_trace.isel(step=1), alone.loss_trace.isel(step=0), rtol=1e-5)
    assert not np.allclose(together.loss_trace.isel(step=0), together.loss_trace.isel(step=1))


def test_an_estimate_does_not_depend_on_the_memory(trajectory: Trajectory, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = estimate(trajectory, batch_size=8, **SHORT)
    monkeypatch.setattr(chains, "WORKING_MEMORY", 1)
    one_by_one = estimate(trajectory, batch_size=8, **SHORT)
    np.testing.assert_allclose(whole.loss_trace, one_by_one.loss_trace, rtol=1e-5)


def test_a_chain_that_hardly_moves_keeps_the_baseline(trajectory: Trajectory) -> None:
    result = estimate(trajectory, **{**SHORT, "sampler": SGLD(1e-14), "dtype": torch.float64})
    for trace in (result.burn_in_loss, result.loss_trace):
        right = np.broadcast_to(result.baseline_loss.values[:, None, None], trace.shape)
        np.testing.assert_allclose(trace, right, rtol=1e-5)
    inputs, labels = trajectory.task.data("train")
    module = trajectory.network.module
    for i in range(3):
        module.load_state_dict({k: v[i] for k, v in trajectory.parameters.items()})
        with torch.no_grad():
            right = nn.functional.cross_entropy(module(inputs).double(), labels).item()
        assert result.baseline_loss.values[i] == pytest.approx(right, rel=1e-6)


def test_chains_never_share_minibatches_and_cover_an_epoch() -> None:
    streams = np.random.SeedSequence(0).spawn(3)
    batches = chains.Minibatches(streams, n=20, batch_size=5)
    epoch = torch.stack([batches.rows(step) for step in range(4)], 1)  # (chain, batch, row)
    assert all(sorted(chain.flatten().tolist()) == list(range(20)) for chain in epoch)
    assert not torch.equal(epoch[0], epoch[1])
    assert not torch.equal(epoch[1], epoch[2])
    again = chains.Minibatches(streams, n=20, batch_size=5)
    assert torch.equal(again.rows(3), epoch[:, 3])  # a function of the step
    assert not torch.equal(batches.rows(4), epoch[:, 0])  # a new order in the next epoch


def test_burn_in_is_not_averaged_in_and_thinning_picks_draws(trajectory: Trajectory) -> None:
    every = estimate(trajectory, **{**SHORT, "draws": 24})
    thinned = estimate(trajectory, thinning=2, **SHORT)
    np.testing.assert_array_equal(thinned.loss_trace, every.loss_trace.isel(draw=slice(1, None, 2)))
    mean = every.loss_trace.mean(("chain", "draw"))
    np.testing.assert_allclose(every.llc, 10.0 * (mean - every.baseline_loss), rtol=1e-10)


class Sine(nn.Module):
    """A user-supplied regression network."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def test_three_lines_for_ones_own_module_data_and_loss() -> None:
    """A linear regression has LLC d/2 at its least-squares solution, in the limit of large n_beta / gamma."""
    torch.manual_seed(0)
    x = torch.randn(200, 5, dtype=torch.float64)
    y = x @ torch.randn(5, 1, dtype=torch.float64) + 0.1 * torch.randn(200, 1, dtype=torch.float64)
    module = nn.Linear(5, 1, bias=False).double()
    with torch.no_grad():
        module.weight.copy_(torch.linalg.lstsq(x, y).solution.T)
    result = estimate(
        module, (x, y), loss=nn.functional.mse_loss, sampler=UnderdampedLangevin(0.02, 10.0), n_beta=(1000.0, 62.5),
        gamma=0.1, chains=8, draws=1200, thinning=2, burn_in=200, dtype=torch.float64,
    )  # fmt: skip
    assert abs(result.llc.item() - 2.5) < 3 * result.llc_se.item()
    assert result.llc_se.item() < 0.05
    assert result.llc_status.item() == "converged"
    assert result.llc.dims == ()


def test_cross_entropy_is_effective_whoever_wrote_it(trajectory: Trajectory) -> None:
    """No status may promise a converged LLC where a fitted network has no finite minimizer."""
    for loss in (None, nn.functional.cross_entropy, nn.CrossEntropyLoss()):
        result = estimate(trajectory, loss=loss, **SHORT)
        assert "converged" not in result.llc_status.values
        assert "no finite minimizer" in result.attrs["comment"]


def test_a_chain_that_runs_away_is_named_and_left_out(trajectory: Trajectory) -> None:
    result = estimate(trajectory, **{**SHORT, "sampler": SGLD(1.0), "draws": 60})
    assert set(result.llc_status.values) == {"diverged"}
    assert np.isnan(result.llc).all()
    assert all(word.startswith("diverged: ") for word in result.chain_health.values.ravel())


class Cliff(nn.Module):
    """w^2 / 2 up to w = 0.4, no number beyond."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(self.w > 0.4, torch.nan, self.w**2 / 2)


def test_resets_are_counted_and_the_chains_left_out_by_name() -> None:
    """A loss that is no number puts its chain back at w*; the chains that never met it are averaged, they alone."""
    result = estimate(
        Cliff(), (torch.zeros(1, 1), torch.zeros(1)), loss=lambda outputs, _: outputs, sampler=SGLD(1e-3), n_beta=1.0,
        gamma=50.0, chains=40, draws=400, burn_in=100,
    )  # fmt: skip
    losses = np.concatenate([result.burn_in_loss, result.loss_trace], axis=1)
    broken = ~np.isfinite(losses)
    np.testing.assert_array_equal(result.resets, broken.sum(1))
    assert 0 < (result.resets > 0).sum() < 40
    for row, word in zip(broken, result.chain_health.values, strict=True):
        assert word == (f"diverged: loss not finite at update {row.argmax()}" if row.any() else "healthy")
    # back at w*: the next loss is one step of the sampler from it, and finite
    chain, update = np.argwhere(broken[:, :-1])[0]
    assert 0 <= losses[chain, update + 1] < 0.5 * (6 * 1e-3**0.5) ** 2
    healthy = ~broken.any(1)
    np.testing.assert_allclose(result.llc, result.loss_trace.values[healthy].mean(), rtol=1e-12)
    assert f"{(~healthy).sum()} of 40 chains omitted" in result.llc_status_reason.item()
    for name in ("distance", "acceptance"):
        known = np.isfinite(result[name].values.reshape(40, -1))
        np.testing.assert_array_equal(known.all(1), healthy)
        np.testing.assert_array_equal(known.any(1), healthy)


def test_failed_chains_at_the_higher_temperature_check_no_limit() -> None:
    result = estimate(
        Cliff(), (torch.zeros(1, 1), torch.zeros(1)), loss=lambda outputs, _: outputs, n_beta=(400.0, 5.0), gamma=0.1,
        sampler=UnderdampedLangevin(0.05, 5.0), chains=4, draws=800, burn_in=200, dtype=torch.float64,
    )  # fmt: skip
    assert np.isnan(result.llc_at_temperature[1])
    assert result.llc_status.item() == "effective", result.llc_status_reason.item()
    assert np.isfinite(result.llc_high)
    assert np.isnan(result.llc_change)


def test_chains_in_flight_are_reset_in_single_precision() -> None:
    """A countdown drawn in float64 is restarted, also where several chains break at the same update."""
    result = estimate(
        Cliff(), (torch.zeros(1, 1), torch.zeros(1)), loss=lambda outputs, _: outputs, n_beta=1.0, gamma=10.0,
        sampler=UnderdampedLangevin(0.1, longest_flight=8), chains=40, draws=40, burn_in=10, dtype=torch.float32,
    )  # fmt: skip
    assert (result.resets > 0).sum() > 20


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"n_beta": 0.0}, "n_beta"),
        ({"gamma": 0.0, "sampler": None}, "friction"),
        ({"gamma": -1.0}, "gamma"),
        ({"batch_size": 1000}, "batch_size"),
        ({"chains": 0}, "chains"),
        ({"draws": 1}, "draws"),
        ({"draws": None, "updates": 20, "burn_in": 20}, "burn_in"),
        ({"thinning": 0}, "thinning"),
        ({"sampler": HMC(0.1), "batch_size": 8}, "accepts by the loss of the full batch"),
        ({"sampler": MALA(0.1), "batch_size": 8}, "accepts by the loss of the full batch"),
        ({"box": 0.0}, "box"),
        ({"subspace": Subspace({}, {})}, "at least one weight"),
        ({"data": (torch.zeros(3, 2, dtype=torch.int64), torch.zeros(2, dtype=torch.int64))}, "3 and 2"),
    ],
)
def test_a_bad_setting_is_named(trajectory: Trajectory, change: dict, named: str) -> None:
    with pytest.raises(SltGrokError, match=named):
        estimate(trajectory, **{**SHORT, **change})


def test_a_module_without_data_or_with_nan_weights_is_refused() -> None:
    module = nn.Linear(2, 2)
    with pytest.raises(SltGrokError, match="data"):
        estimate(module)
    with torch.no_grad():
        module.weight[0, 0] = float("nan")
    with pytest.raises(SltGrokError, match=r"weight.*NaN"):
        estimate(module, (torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64)))


def test_a_loss_that_is_no_number_at_the_checkpoint_is_refused(trajectory: Trajectory) -> None:
    def wrong(outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs.sum(1) * torch.nan

    with pytest.raises(SltGrokError, match=r"finite loss at the checkpoint.*step 0"):
        estimate(trajectory, loss=wrong, **SHORT)


def test_the_noise_of_minibatches_is_not_taken_for_an_unstable_step() -> None:
    """Losses of four samples of unit noise are spread by 0.35, which is hundreds times 1 / n_beta and all noise."""
    regression = Regression(n=200, d=5, seed=0)
    result = estimate(regression.trajectory(), (regression.x, regression.y), batch_size=4, updates=2000, chains=4)
    assert (result.chain_health == HEALTHY).all(), result.chain_health.values


def test_the_library_entry_is_where_the_readme_says() -> None:
    assert slt_grok.llc.estimate is estimate


@pytest.mark.parametrize("threads", [2, 3])
def test_an_estimate_does_not_depend_on_the_threads(
    trajectory: Trajectory, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    monkeypatch.setattr(chains, "SMALLEST_BATCH", 1)  # work for everybody
    before, seen = torch.get_num_threads(), []
    try:
        torch.set_num_threads(1)
        one = estimate(trajectory, batch_size=8, **SHORT)
        torch.set_num_threads(threads)
        many = estimate(trajectory, batch_size=8, on_progress=lambda fraction, note="": seen.append(fraction), **SHORT)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(one.loss_trace, many.loss_trace, rtol=1e-5)
    assert seen == sorted(seen)
    assert seen[-1] == 1


def test_threads_do_not_share_a_module(trajectory: Trajectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Automatic differentiation puts each thread's parameters into the module while it runs."""
    monkeypatch.setattr(chains, "LARGEST_BATCH", 1)
    mean = {**SHORT, "loss": nn.functional.cross_entropy, "batch_size": 8}  # no hand-written gradient for it
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = estimate(trajectory, **mean)
        torch.set_num_threads(3)
        many = estimate(trajectory, **mean)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(one.loss_trace, many.loss_trace, rtol=1e-5)


def test_an_error_in_one_thread_ends_all(trajectory: Trajectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains, "LARGEST_BATCH", 1)
    before, seen = torch.get_num_threads(), []

    def on_progress(fraction: float, note: str = "") -> None:
        seen.append(fraction)
        if len(seen) == 5:
            raise KeyboardInterrupt

    try:
        torch.set_num_threads(2)
        with pytest.raises(KeyboardInterrupt):
            estimate(trajectory, on_progress=on_progress, **{**SHORT, "draws": 1000})
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert len(seen) < 50  # of some nine thousand


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *product(("updates", "chains", "draws", "thinning", "batch_size"), (0, -1, 2.5, "many")),
        *product(("burn_in", "seed"), (-1, 2.5, "many", 2**70)),
        *product(("gamma", "box"), (-1, np.nan, np.inf, "wide")),
        *product(("n_beta",), (0, np.nan, np.inf, "cold", [], [5, np.nan], [np.nan, 5], [5, -1])),
        ("device", "tpu"),
    ],
)
def test_an_argument_out_of_range_is_named(name: str, value: Any) -> None:
    torch.manual_seed(0)
    data = torch.randn(40, 3), torch.arange(40) % 3
    with pytest.raises(SltGrokError, match=name):
        slt_grok.llc.estimate(torch.nn.Linear(3, 3), data, **{"updates": 200, name: value})
