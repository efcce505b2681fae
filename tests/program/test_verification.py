"""Verification of programs whose errors are known."""

import numpy as np
import pytest
import torch

from slt_grok import program
from slt_grok.errors import SltGrokError
from slt_grok.program.verification import controls, untrained_like, verify, verify_levels
from tests.circuits.planted import clock_loss
from tests.program import networks
from tests.program.networks import AMPLITUDES


def test_a_program_that_is_the_network() -> None:
    reading = program.read(networks.clock())
    found = verify(reading, program.clock(reading))
    assert found.agreement == 1
    assert found.accuracy == 1
    assert found.explained_variance.item() == pytest.approx(1)
    assert found.kl.item() == pytest.approx(0, abs=1e-12)
    loss = clock_loss(23, AMPLITUDES)
    np.testing.assert_allclose(found.program_loss, loss, rtol=1e-9)
    np.testing.assert_allclose(found.network_loss, loss, rtol=1e-9)
    d = np.arange(1, 23)
    margin = sum(size * (1 - np.cos(2 * np.pi * k * d / 23)) for k, size in AMPLITUDES.items()).min()
    assert found.program_margin.item() == pytest.approx(margin)
    assert found.network_margin.item() == pytest.approx(margin)


def test_a_frequency_left_out_is_what_is_left() -> None:
    reading = program.read(networks.clock())
    found = verify(reading, program.clock(reading, np.array([2, 9])))
    total = sum(size**2 for size in AMPLITUDES.values())
    share = found.residual_share.to_series()
    assert share[7] == pytest.approx(AMPLITUDES[7] ** 2 / total)
    assert share.drop(7).abs().max() < 1e-20
    assert found.explained_variance.item() == pytest.approx(1 - AMPLITUDES[7] ** 2 / total)


def test_kl_is_torchs() -> None:
    reading = program.read(networks.gromov())
    other = program.clock(reading)
    expected = torch.nn.functional.kl_div(
        torch.from_numpy(other.grid()).log_softmax(-1),
        torch.from_numpy(reading.logits).log_softmax(-1),
        reduction="batchmean",
        log_target=True,
    )
    assert verify(reading, other).kl.item() == pytest.approx(expected.item())


def test_agreement_is_with_the_network_and_accuracy_with_the_truth() -> None:
    trajectory, rows = networks.with_errors()
    reading = program.read(trajectory)
    found = verify(reading, program.clock(reading))
    assert found.agreement.item() == pytest.approx(1 - len(rows) / 23**2)
    assert found.accuracy.item() == 1
    assert found.network_accuracy.item() == pytest.approx(1 - len(rows) / 23**2)
    with_table = verify(reading, program.extract(reading).program)
    assert with_table.agreement.item() == 1
    assert with_table.accuracy.item() == pytest.approx(1 - len(rows) / 23**2)


def test_residual_shares_of_a_logarithm_and_levels() -> None:
    found = verify_levels(program.read(networks.logarithmic()))
    assert found.level.values.tolist() == ["clock", "pizza", "neurons"]
    assert found.sizes["frequency"] == 6
    assert found.explained_variance.sel(level="clock").item() == pytest.approx(1)


def test_controls_know_nothing_of_the_network() -> None:
    trajectory = networks.clock()
    found = controls(program.read(trajectory), untrained_like(trajectory), "clock")
    variance = found.explained_variance.to_series()
    assert variance["program"] == pytest.approx(1)
    assert variance["random frequencies"] == pytest.approx(0, abs=1e-20)
    assert variance["untrained network"] < 0.05
    assert found.agreement.sel(control="true answers").item() == 1


def test_another_modulus() -> None:
    other = program.clock(program.read(networks.clock(p=29)))
    with pytest.raises(SltGrokError, match="modulus 23"):
        verify(program.read(networks.clock()), other)
