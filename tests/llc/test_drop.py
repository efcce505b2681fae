"""The drop of curves between two checkpoints, and half of it, on numbers that can be checked by hand."""

import numpy as np
import xarray as xr

from slt_grok.llc.drop import drop_of, half_ways


def curves(values: np.ndarray) -> xr.DataArray:
    """(step, seed, setting) at the steps 10, 20, 40 and the seed 3."""
    coords = {"step": [10, 20, 40], "seed": [3], "setting": list("abc")[: values.shape[-1]]}
    return xr.DataArray(values[:, None], coords, ("step", "seed", "setting"))


LLC = curves(np.array([[90.0, 300, 8], [100.0, 200, 10], [20.0, 50, 12]]))
SE = curves(np.array([[1.0, 1, 1], [3.0, 6, 1], [4.0, 8, 1]]))


def test_each_curve_drops_from_its_own_largest_value() -> None:
    fall = drop_of(LLC, SE)
    np.testing.assert_array_equal(fall.step.squeeze(), [20, 10, 40])
    np.testing.assert_allclose(fall.first.squeeze(), [100, 300, 12])
    np.testing.assert_allclose(fall.size.squeeze(), [80, 250, 0])
    np.testing.assert_allclose(fall.size_se.squeeze(), [5, np.sqrt(65), np.sqrt(2)])
    np.testing.assert_allclose(fall.factor.squeeze(), [5, 6, 1])
    np.testing.assert_allclose(fall.factor_se.squeeze()[0], 5 * np.hypot(3 / 100, 4 / 20))


def test_curves_with_a_reference_drop_between_its_checkpoints() -> None:
    fall = drop_of(LLC, SE, LLC.sel(setting="a", drop=True))
    assert fall.step.item() == 20
    np.testing.assert_allclose(fall.size.squeeze(), [80, 150, -2])
    np.testing.assert_allclose(fall.size_se.squeeze(), [5, 10, np.sqrt(2)])


def test_a_drop_with_an_unknown_end_is_unknown_and_the_peak_is_that_of_known_values() -> None:
    llc = LLC.copy()
    llc[2, 0, 0] = llc[1, 0, 1] = np.nan
    fall = drop_of(llc, SE)
    np.testing.assert_array_equal(fall.step.squeeze(), [20, 10, 40])
    for values in (fall.last, fall.size, fall.size_se, fall.factor, fall.factor_se):
        np.testing.assert_array_equal(np.isnan(values.squeeze()), [True, False, False])
    fall = drop_of(llc, SE, llc.sel(setting="a", drop=True))
    np.testing.assert_array_equal(np.isnan(fall.size_se.squeeze()), [True, True, False])


def test_half_way_is_in_the_middle_of_a_straight_fall() -> None:
    """In log(1 + step), between 21 and 41; the third curve rises."""
    exact = LLC.copy()
    exact[0, 0, 1] = 150.0  # so that it also falls from step 20 on
    found = half_ways(exact, 0 * SE)
    np.testing.assert_allclose(found["half_way_step"].squeeze()[:2], np.sqrt(21 * 41) - 1)
    assert np.isnan(found["half_way_step"].squeeze()[2])
    noisy = half_ways(exact, SE)
    assert (noisy["half_way_low"].squeeze()[:2] <= 20).all()
    assert (noisy["half_way_high"].squeeze()[:2] >= 40).all()
