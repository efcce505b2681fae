"""The drop of curves between two checkpoints, and half of it, on numbers that can be checked by hand."""

import numpy as np
import xarray as xr

from slt_grok.llc.drop import drop_of, half_ways
from slt_grok.llc.ladder import TOLERANCES
from slt_grok.llc.temperature import drops


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


def test_the_ladder_states_the_factor_with_its_error() -> None:
    """100 to 20 at equal n_beta, with standard errors of 3 and 4; at equal loss 50 to 10, only at the first loss."""
    llc, status = np.array([[90.0], [100.0], [20.0]]), np.full((3, 1), "effective")
    at_loss = np.full((3, len(TOLERANCES)), np.nan)
    at_loss[:, 0] = 50, 40, 10
    rungs, losses = ("step", "n_beta"), ("step", "at_loss")
    found = xr.Dataset(
        {
            "llc": (rungs, llc), "llc_se": (rungs, np.array([[1.0], [3.0], [4.0]])), "llc_status": (rungs, status),
            "llc_at_loss": (losses, at_loss), "llc_at_loss_low": (losses, at_loss - 1.96),
            "llc_at_loss_high": (losses, at_loss + 1.96), "excess_loss": (rungs, llc / 7, {"units": "nats"}),
        },
        {"step": [10, 20, 40], "n_beta": [7.0], "at_loss": list(TOLERANCES)}, {"configured_n_beta": 7.0},
    )  # fmt: skip
    first, second = drops(found)
    assert "from 100 at step 20 to 20 at step 40, a factor of 5.0\u00a0±\u00a01.0" in first  # 5 hypot(0.03, 0.2) = 1.01
    assert "from 50 at step 10 to 10 at step 40, a factor of 5.00\u00a0±\u00a00.51" in second  # 5 hypot(0.02, 0.1)
