"""The surgeries of the script on a planted network, where what each one leaves is known."""

import numpy as np
import surgery as script

from slt_grok.models import planted
from slt_grok.program.constants import Constants
from slt_grok.program.other_primes import worst_margin
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory

P, AMPLITUDES = 13, {2: 9.0, 5: 6.0}
PROGRAM = Constants(P, "addition", AMPLITUDES)


def network() -> Trajectory:
    return Trajectory.of(planted.quadratic_clock(P, AMPLITUDES), ModularTask(P, train_fraction=0.4))


def test_a_frequency_moves_where_the_clock_has_the_largest_margin() -> None:
    margins = {k: worst_margin(P, {5: 6.0, k: 9.0}) for k in (1, 3, 4, 6)}
    best = max(margins, key=lambda k: margins[k])
    assert script.best_move(PROGRAM, 2) == best
    found = script.measured(script.moved(network(), PROGRAM, [2, 5]))
    np.testing.assert_array_equal(found.accuracy, 1)
    moved = found.worst_margin.sel(variant=f"2 moved to {best}").item()
    assert abs(moved - margins[best]) < 1e-9
    assert abs(found.worst_margin.sel(variant="all frequencies moved by 2").item() - worst_margin(P, AMPLITUDES)) < 1e-9


def test_parts_and_written_networks() -> None:
    parts = script.parted(network(), [2, 5], np.ones(32, dtype=bool), "planted")
    found = script.measured(parts)
    alone, removed = (found.sel(variant=f"planted, circuit {what}") for what in ("alone", "removed"))
    assert alone.accuracy.sel(split="all").item() == 1
    assert removed.worst_margin.item() == 0
    new, frequencies = script.written(PROGRAM, network(), {"kind": "quadratic", "width": 60}, [11, 31])
    about = script.measured(new)
    np.testing.assert_array_equal(about.accuracy, 1)
    assert about.modulus.values.tolist() == [11, 31]
    assert set(frequencies) == set(new)
