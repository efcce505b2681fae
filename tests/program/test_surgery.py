"""What stands beside a network after surgery: margins, losses and the LLC of planted networks."""

import math
from functools import partial

import numpy as np
import pytest

from slt_grok.errors import SltGrokError
from slt_grok.llc import estimate
from slt_grok.models import planted
from slt_grok.program.modulus import worst_margin
from slt_grok.program.surgery import measure
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory


def clock(p: int, height: float = 4.0) -> Trajectory:
    return Trajectory.of(planted.quadratic_clock(p, {1: height, 2: height}), ModularTask(p, train_fraction=0.5))


def test_variants_of_different_moduli_stand_side_by_side() -> None:
    blank = Trajectory.of(planted.quadratic_clock(7, {1: 0.0}), ModularTask(7))
    found = measure({"small": clock(7), "large": clock(11), "blank": blank})
    assert found["variant"].values.tolist() == ["small", "large", "blank"]
    np.testing.assert_array_equal(found.accuracy.sel(variant=["small", "large"]), 1)
    margins = [worst_margin(7, {1: 4.0, 2: 4.0}), worst_margin(11, {1: 4.0, 2: 4.0}), 0]
    np.testing.assert_allclose(found.worst_margin, margins, atol=1e-12)
    a = np.arange(7)
    height = 4 * (np.cos(2 * np.pi * a / 7) + np.cos(4 * np.pi * a / 7))  # of the wrong answers by distance; 8 at 0
    loss = math.log(np.exp(height).sum()) - 8
    np.testing.assert_allclose(found.loss.sel(variant="small"), loss, atol=1e-12)
    np.testing.assert_allclose(found.loss.sel(variant="blank"), math.log(7), atol=1e-12)
    assert found.parameters.values.tolist() == [3 * 7 * 32, 3 * 11 * 32, 3 * 7 * 16]
    assert "llc" not in found


def test_the_llc_is_that_of_the_estimate_with_streams_by_name() -> None:
    llc = partial(estimate, n_beta=20.0, gamma=50.0, chains=2, draws=40)
    found = measure({"before": clock(7), "after": clock(7)}, llc)
    alone = measure({"after": clock(7)}, llc)
    assert found.llc.sel(variant="after").item() == alone.llc.item()
    assert found.llc.sel(variant="before").item() != alone.llc.item()
    assert (found.llc_se > 0).all()
    assert (found.llc_status != "").all()


def test_no_variant_or_several_networks_in_one_are_said() -> None:
    with pytest.raises(SltGrokError, match="expected at least one"):
        measure({})
    one = clock(7)
    pair = Trajectory(
        one.network,
        {k: t.expand(2, *t.shape).clone() for k, t in one.parameters.items()},
        ("step",),
        {"step": np.arange(2)},
    )
    with pytest.raises(SltGrokError, match="variant pair: expected a single network, got 2"):
        measure({"pair": pair})
