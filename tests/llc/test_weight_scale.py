"""How much of a drop each treatment leaves, on numbers that can be checked by hand."""

import numpy as np
import pytest
import xarray as xr

from slt_grok.llc.weight_scale import WeightScale, drops


def made_up() -> xr.Dataset:
    """Fixed gamma peaks at step 20 with 100 and ends at 20; relative gamma falls from 200 to 40; the third rises."""
    llc = np.array([[90.0, 210.0, 10.0], [100.0, 200.0, 20.0], [20.0, 40.0, 30.0]])
    se = np.array([[1.0, 1.0, 1.0], [3.0, 6.0, 1.0], [4.0, 8.0, 1.0]])
    return xr.Dataset(
        {"llc": (("step", "seed", "treatment"), llc[:, None]), "llc_se": (("step", "seed", "treatment"), se[:, None])},
        coords={"step": [10, 20, 30], "seed": [4], "treatment": ["fixed_gamma", "relative_gamma", "rescaled_weights"]},
    )


def test_drops_are_between_the_peak_at_fixed_gamma_and_the_end() -> None:
    found = drops(made_up()).isel(seed=0)
    assert found.drop_from == 20
    np.testing.assert_allclose(found["drop"], [80, 160, -10])
    np.testing.assert_allclose(found.drop_se, [5, 10, np.sqrt(2)])
    np.testing.assert_allclose(found.drop_share, [0.8, 0.8, -0.5])
    np.testing.assert_allclose(found.drop_left, [1, 2, -0.125])
    # relative errors 10/160 and 5/80, each 1/16, in squares; times 2
    np.testing.assert_allclose(found.drop_left_se.values[:2], [0, 2 * np.sqrt(2) / 16])


def test_half_way_is_between_the_values_at_the_ends() -> None:
    """100 to 20 and 200 to 40 on straight lines in log(1 + step): half way in the middle of 21 and 31."""
    data = made_up()
    data.llc[0, 0, 1] = 150.0
    found = drops(data).isel(seed=0)
    np.testing.assert_allclose(found.half_way_step.values[:2], np.sqrt(21 * 31) - 1)
    assert (found.half_way_low.values[:2] <= 20).all()
    assert (found.half_way_high.values[:2] >= 30).all()
    assert np.isnan(found.half_way_step.values[2])  # it rises


@pytest.mark.parametrize("status", ["diverged", "melted"])
def test_an_excluded_estimate_is_no_peak_and_every_variable_is_declared(status: str) -> None:
    data = made_up()
    data["llc_status"] = data.llc.astype(str)
    data["llc_status"][:] = "effective"
    data.llc_status[1, 0, 0] = status
    found = drops(data)
    assert found.drop_from.item() == 10
    assert set(found) <= set(WeightScale.variables)
