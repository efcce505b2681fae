"""An estimate within a time limit: what is reduced, in which order, and what is never reduced."""

from typing import Any

import pytest
import torch
import xarray as xr

from slt_grok import llc
from slt_grok.errors import SltGrokError
from slt_grok.llc import budget
from slt_grok.llc.budget import FEWEST_CHAINS, SHORTEST, Budget
from slt_grok.llc.problem import Problem
from slt_grok.llc.samplers.adaptive import AdaptiveLangevin
from slt_grok.llc.sampling import Schedule
from slt_grok.progress import ProgressCallback


def regression() -> tuple[torch.nn.Linear, tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(0)
    module, inputs = torch.nn.Linear(3, 1), torch.randn(40, 3)
    return module, (inputs, module(inputs).detach())


def fit(seconds: float | None, share: float = 1.0) -> tuple[int, float]:
    module, data = regression()
    problem = Problem.from_inputs(module, data, torch.nn.functional.mse_loss)
    return Budget(seconds).fit(problem, Schedule(2_400, 5_600), 64, 3, share, lambda fraction, note="": None)


def test_without_a_limit_nothing_is_reduced() -> None:
    assert fit(None) == (64, 1.0)


def test_an_exceeded_limit_keeps_the_fewest_chains_and_updates() -> None:
    chains, fraction = fit(0.0)
    assert chains == FEWEST_CHAINS
    assert fraction == SHORTEST / 8_000


def test_chains_go_before_updates() -> None:
    for seconds in (0.1, 1.0, 10.0, 100.0):
        chains, fraction = fit(seconds)
        assert fraction == 1.0 or chains == FEWEST_CHAINS


def test_an_estimate_out_of_time_is_short_and_has_a_status() -> None:
    module, data = regression()
    result = llc.estimate(module, data, loss=torch.nn.functional.mse_loss, max_seconds=1e-6)
    assert result.attrs["gradients"] <= SHORTEST
    assert result.llc_status.item()
    assert torch.isfinite(torch.tensor(result.llc.item()))


@pytest.mark.parametrize(("seconds", "stopped"), [(1e-3, True), (None, False), (100.0, False)])
def test_a_longer_attempt_is_stopped_at_the_limit(
    seconds: float | None, stopped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(budget.time, "monotonic", lambda: now[0])
    first, reported = xr.Dataset(attrs={"which": "first", "notes": "known"}), list[float]()

    def attempt(length: int, on_progress: ProgressCallback) -> xr.Dataset:
        for update in range(length):
            now[0] += 1e-3
            on_progress(update / length)
        return xr.Dataset(attrs={"which": "longer"})

    result = Budget(seconds).improved(
        first, attempt, 20, on_progress=lambda fraction, note="": reported.append(fraction)
    )
    assert result.attrs["which"] == ("first" if stopped else "longer")
    assert (len(reported) < 20) == stopped
    assert result.attrs.get("notes") == ("known; a longer estimate was stopped after 0.001 s" if stopped else None)


@pytest.mark.parametrize("sampler", [None, AdaptiveLangevin()])
def test_an_estimate_out_of_time_still_tunes_its_sampler(sampler: AdaptiveLangevin | None) -> None:
    torch.manual_seed(0)
    module, inputs, targets = torch.nn.Linear(3, 3), torch.randn(40, 3), torch.arange(40) % 3
    result = llc.estimate(module, (inputs, targets), sampler=sampler, max_seconds=1e-6)
    assert result.attrs["adaptation"] == result.attrs["burn_in"] == AdaptiveLangevin.adaptation
    module, data = regression()
    result = llc.estimate(
        module, data, loss=torch.nn.functional.mse_loss, sampler=AdaptiveLangevin(), gamma=1, max_seconds=1e-6
    )
    assert result.attrs["burn_in"] == AdaptiveLangevin.adaptation


@pytest.mark.parametrize("wrong", [0, -1.0, float("nan"), "60"])
def test_a_limit_that_is_none_is_refused(wrong: Any) -> None:
    with pytest.raises(SltGrokError, match="max_seconds: expected a number above 0"):
        llc.estimate(*regression(), loss=torch.nn.functional.mse_loss, max_seconds=wrong)


class Deciding(torch.nn.Linear):
    """A module that vmap cannot evaluate, and that counts its calls."""

    calls = 0

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        Deciding.calls += 1
        return super().forward(input) if self.weight.sum().item() > -1e9 else input


def test_without_time_a_module_in_a_loop_is_called_as_often_as_the_shortest_estimate_needs() -> None:
    _, (inputs, _) = regression()
    module, notes = Deciding(3, 1), list[str]()
    llc.estimate(
        module, (inputs, module(inputs).detach()), loss=torch.nn.functional.mse_loss, max_seconds=1e-6,
        on_progress=lambda fraction, note="": notes.append(note),
    )  # fmt: skip
    assert "the shortest estimate" in notes[0]
    assert Deciding.calls < 8_000  # more than 20,000 with as many chains in the pilots as without a limit


def test_settings_that_were_not_given_are_not_called_given() -> None:
    module, (inputs, targets) = regression()
    result = llc.estimate(module, (inputs, targets), loss=torch.nn.functional.mse_loss, max_seconds=1)
    assert "given" not in result.attrs["calibration"]
    classifier = torch.nn.Linear(3, 2)
    result = llc.estimate(classifier, (inputs, torch.arange(40) % 2), n_beta=40, max_seconds=1e-6)
    assert result.attrs["calibration"] == "chosen: sampler and gamma"


def test_given_lengths_are_kept() -> None:
    module, data = regression()
    result = llc.estimate(
        module, data, loss=torch.nn.functional.mse_loss, n_beta=100, gamma=1, draws=300, burn_in=50, max_seconds=1e-6
    )
    assert result.attrs["gradients"] == 350
