import numpy as np
import pytest
import torch

from slt_grok.landscape.barriers import barrier
from slt_grok.landscape.bezier import bernstein, bezier, bezier_seconds
from tests.landscape.toys import stacked

SETTINGS = {"updates": 600}


@pytest.fixture(autouse=True)
def learn_fast(monkeypatch):
    monkeypatch.setattr("slt_grok.landscape.bezier.LEARNING_RATE", 0.05)


def ring(w):
    """The valley |w| = 1 around the ridge at 0."""
    return (w @ w - 1) ** 2


def pair(start, end, loss):
    return (stacked(torch.tensor([point]), loss) for point in (start, end))


def test_the_bent_path_around_a_ridge(monkeypatch):
    """Between (-1, 0) and (1, 0) the straight line crosses the ridge of height 1. With theta = (0, h), x = 2t - 1 and
    s = 1 - x^2 the loss on the curve is (h^2 s^2 / 4 - s)^2, whose mean over t is smallest at h^2 / 4 = E[s^3] / E[s^4]
    = (16/35) / (128/315) = 9/8: theta = (0, +-3 / sqrt 2). The highest point of that curve is at s = 4/9: 4/81."""
    first, second = pair([-1.0, 0.0], [1.0, 0.0], ring)
    assert barrier(first, second).line_barrier.sel(split="train") == 1
    monkeypatch.setattr("slt_grok.landscape.bezier.POSITIONS", 65)
    found = bezier(first, second, **SETTINGS)
    assert float(found.curve_bend[0]) == pytest.approx(3 / 2**0.5 / 2, rel=0.03)
    highest = float(found.curve_barrier.sel(split="train")[0])
    q = (2 * float(found.curve_bend[0])) ** 2 / 4
    assert highest == pytest.approx(1 / (16 * q**2), rel=0.02)  # the same for any h, at s = 1 / (2 q)
    assert highest == pytest.approx(4 / 81, rel=0.15)
    assert found.curve_loss.dims == ("step", "split", "position")
    assert np.isnan(found.curve_barrier.sel(split="test")).all()


def test_weights_of_the_three_points():
    """From w_1 to w_2, with the tangents of a Bezier curve: 2 (theta - w_1) at the start."""
    np.testing.assert_array_equal(bernstein(np.array([0.0, 1.0])), [[1, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(bernstein(np.array([0.5])), [[0.25, 0.5, 0.25]])
    np.testing.assert_allclose((bernstein(np.array([1e-7])) - [1, 0, 0]) / 1e-7, [[-2, 2, 0]], atol=1e-6)


def test_a_convex_loss_has_no_barrier_to_go_around():
    first, second = pair([-1.0, 0.5, 2.0], [1.0, 0.3, -1.0], lambda w: w @ w)
    assert bezier(first, second, **SETTINGS).curve_barrier.sel(split="train") == 0


def test_a_curve_does_not_depend_on_its_company():
    points = torch.randn(11, 2, generator=torch.manual_seed(0))
    starts, ends = stacked(points, ring), stacked(points.flip(0) + 1, ring)
    short = SETTINGS | {"updates": 20}
    whole = bezier(starts, ends, **short)
    alone = bezier(starts.isel(step=9), ends.isel(step=9), **short)
    np.testing.assert_allclose(alone.curve_loss[0], whole.curve_loss[9], rtol=1e-12)
    to_one = bezier(starts, ends.isel(step=[9] * 11), **short)
    np.testing.assert_allclose(alone.curve_loss[0], to_one.curve_loss[9], rtol=1e-12)


def test_where_the_loss_is_not_finite():
    """log w_0 is NaN for w_0 < 0: a curve that starts there is NaN, and the one beside it is as it was."""
    starts = stacked(torch.tensor([[-1.0, 0.0], [1.0, 0.0]]), lambda w: w[0].log() ** 2 + w[1] ** 2)
    found = bezier(starts, stacked(torch.tensor([[2.0, 0.0]] * 2), torch.sum), **SETTINGS).sel(split="train")
    assert np.isnan(found.curve_barrier[0])
    assert found.curve_barrier[1] < 0.01


def test_cost_and_progress():
    first, second = pair([-1.0, 0.0], [1.0, 0.0], ring)
    assert bezier_seconds(first, 10) > 0
    done = []
    bezier(first, second, on_progress=lambda done_, note="": done.append(done_), **SETTINGS | {"updates": 3})
    assert done == pytest.approx([1 / 3, 2 / 3, 1])
