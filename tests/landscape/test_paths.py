import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from slt_grok.landscape.barriers import barrier, excess_over_chord
from slt_grok.landscape.dynamics import predecessors
from tests.landscape.toys import stacked

POSITIONS = np.linspace(0, 1, 9)


def line(points, loss):
    first, second = (stacked(torch.tensor([point]), loss) for point in points)
    return barrier(first, second).line_loss.sel(split="train").values[0]


def test_straight_line_of_a_cubic():
    losses = line([[1.0, 0.0], [3.0, 0.0]], lambda w: w[0] ** 3)
    np.testing.assert_allclose(losses, (1 + 2 * POSITIONS) ** 3, rtol=1e-14)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=4, max_size=4))
def test_a_convex_loss_has_no_barrier(ends):
    losses = line([ends[:2], ends[2:]], lambda w: w[0] ** 2 + 3 * w[1] ** 2 + w[0] * w[1] - w[0])
    assert excess_over_chord(losses, POSITIONS).max() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("height", "tilt"), [(1.0, 0.0), (2.5, 0.4), (0.1, -3.0)])
def test_barrier_of_a_double_well(height, tilt):
    """h (w^2 - 1)^2 + c w from -1 to 1: the chord is c w, and h is left at w = 0."""
    losses = line([[-1.0, 0.0], [1.0, 0.0]], lambda w: height * (w[0] ** 2 - 1) ** 2 + tilt * w[0])
    assert excess_over_chord(losses, POSITIONS).max() == pytest.approx(height, rel=1e-12)


def test_barrier_is_the_excess_over_the_chord():
    """From w = -1 to 2 the double well (w^2 - 1)^2 ends at 9 and its hump stays below the chord 9 t."""
    losses = line([[-1.0, 0.0], [2.0, 0.0]], lambda w: (w[0] ** 2 - 1) ** 2)
    assert losses[2] > losses[0]  # there is a hump
    assert excess_over_chord(losses, POSITIONS).max() == 0


def test_predecessors_are_along_step():
    trajectory = stacked(torch.zeros(3, 2), torch.sum)
    assert predecessors(trajectory) == [(0, 1), (1, 2)]
    seeds = type(trajectory)(
        trajectory.network,
        {k: torch.stack([v, v], 1) for k, v in trajectory.parameters.items()},
        ("step", "seed"),
        {"step": np.arange(3), "seed": np.array([0, 1])},
    )
    assert predecessors(seeds) == [(0, 2), (1, 3), (2, 4), (3, 5)]
    assert predecessors(seeds.isel(step=0)) == []
