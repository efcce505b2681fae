"""Programs of several networks in one dataset."""

import numpy as np
import pytest

from slt_grok import program
from slt_grok.trajectories import Trajectory
from tests.program import networks
from tests.program.networks import AMPLITUDES


def test_a_planted_clock_after_an_untrained_network() -> None:
    end, start = networks.clock(), networks.untrained()
    stack = Trajectory.stack(end.network.module, {0: start.parameters, 5: end.parameters}, end.task)
    found = program.measure(stack)
    last = found.sel(step=5)
    assert last.chosen.values.tolist() == ["clock", "clock"]
    assert last.program_explains
    np.testing.assert_allclose(last.explained_variance, 1)
    assert found.frequency[last.program_frequency].values.tolist() == list(AMPLITUDES)
    np.testing.assert_allclose(last.clock_amplitude.sel(frequency=list(AMPLITUDES)), list(AMPLITUDES.values()))
    first = found.sel(step=0)
    assert (first.chosen == "table").all()
    assert not first.program_explains
    table = first.program_bits.sel(keeps="answers", mixture="table").item()
    assert table == pytest.approx(program.table_bits(23, 23**2))


def test_errors_cost_their_table() -> None:
    trajectory, rows = networks.with_errors()
    found = program.measure(trajectory)
    clock = program.measure(networks.clock())
    more = program.table_bits(23, len(rows)) - program.table_bits(23, 0)
    assert found.agreement.sel(level="clock").item() == pytest.approx(1 - len(rows) / 23**2)
    # the amplitudes may need other digits, three numbers of some bits
    own, whole = (one.program_bits.sel(keeps="answers", mixture="clock").item() for one in (found, clock))
    assert own == pytest.approx(whole + more, abs=12)


def test_an_operation_without_angles_has_its_table_alone() -> None:
    found = program.measure(networks.memorizer())
    assert (found.chosen == "table").all()
    assert np.isnan(found.explained_variance).all()
    assert "frequency" not in found.dims
