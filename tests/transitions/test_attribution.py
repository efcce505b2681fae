"""The drop split over parts: numbers done by hand, errors by simulation, what is missing said."""

import numpy as np
import pytest
import xarray as xr

from slt_grok.errors import SltGrokError
from slt_grok.transitions.attribution import attribute

PARTS = {  # component -> group, LLC at the peak and at the end
    "all weights": ("whole", 100.0, 20.0),
    "W_E": ("matrix", 30.0, 10.0),
    "W_U": ("matrix", 40.0, 5.0),
    "head 0": ("head", 8.0, 2.0),
    "head 1": ("head", 9.0, 5.0),
    "all heads": ("attention", 30.0, 8.0),
    "frequency 2": ("frequency", 4.0, 3.0),
    "frequency 5": ("frequency", 6.0, 4.0),
    "other frequencies": ("rest", 20.0, 6.0),
    "all frequencies": ("tables", 50.0, 14.0),
    "null frequency 3": ("null frequency", 1.0, 1.0),
}


def refined(error: float = 1.0, noise: np.ndarray | None = None) -> xr.Dataset:
    """Three checkpoints: before the peak half of it, the peak, the end."""
    llc = np.array([[0.5 * peak, peak, end] for _, peak, end in PARTS.values()]).T[:, None, :]
    llc = llc if noise is None else llc + noise
    dims = ("step", "seed", "component")
    return xr.Dataset(
        {
            "llc": (dims, llc),
            "llc_se": (dims, np.full_like(llc, error)),
            "llc_low": (dims, llc - 2 * error),
            "llc_high": (dims, llc + 3 * error),
            "llc_status": (dims, np.full(llc.shape, "effective", dtype=object)),
        },
        coords={
            "step": [10, 300, 2600], "seed": [0], "component": list(PARTS),
            "group": ("component", [group for group, *_ in PARTS.values()]),
        },
        attrs={"gamma": 100.0, "n_beta": 30.0, "seed": 0},
    )  # fmt: skip


def row(found: xr.Dataset, splitting: str, name: str) -> xr.Dataset:
    (place,) = np.flatnonzero((found.splitting == splitting) & (found.component == name))
    return found.isel(row=place, seed=0)


def test_parts_and_remainder_by_hand() -> None:
    found = attribute(refined())
    assert (int(found.drop_from[0]), int(found.drop_to[0])) == (300, 2600)
    wanted = {
        ("matrix", "all weights"): 80, ("matrix", "W_E"): 20, ("matrix", "W_U"): 35, ("matrix", "remainder"): 25,
        ("head", "head 0"): 6, ("head", "head 1"): 4, ("head", "all heads"): 22, ("head", "remainder"): 12,
        ("frequency", "frequency 2"): 1, ("frequency", "frequency 5"): 2, ("frequency", "other frequencies"): 14,
        ("frequency", "all frequencies"): 36, ("frequency", "remainder"): 19,
    }  # fmt: skip
    assert len(wanted) == found.sizes["row"]
    for (splitting, name), drop in wanted.items():
        one = row(found, splitting, name)
        assert float(one["drop"]) == pytest.approx(drop)
        assert float(one.share) == pytest.approx(drop / 80)
    assert found.attrs == {"gamma": 100.0, "n_beta": 30.0}


def test_parts_and_remainder_make_up_the_whole_in_every_splitting() -> None:
    found = attribute(refined(noise=np.random.default_rng(0).normal(size=(3, 1, len(PARTS))))).isel(seed=0)
    for splitting in ("matrix", "head", "frequency"):
        rows = found.isel(row=(found.splitting == splitting).values)
        whole = float(rows["drop"].isel(row=(rows.kind == "whole").values).squeeze())
        assert float(rows["drop"].sum()) == pytest.approx(2 * whole)


def test_errors_by_hand() -> None:
    """Each drop has sqrt 2; the remainder of two matrices sqrt(2 x 3). Ends: +3 and -2 of both values, in squares."""
    found = attribute(refined())
    one, left = row(found, "matrix", "W_E"), row(found, "matrix", "remainder")
    assert float(one.drop_se) == pytest.approx(2**0.5)
    assert float(left.drop_se) == pytest.approx(6**0.5)
    assert float(one["drop"] - one.drop_low) == pytest.approx(13**0.5)
    assert float(one.drop_high - one["drop"]) == pytest.approx(13**0.5)
    assert float(left["drop"] - left.drop_low) == pytest.approx(39**0.5)


@pytest.fixture(scope="module")
def drawn() -> list[xr.Dataset]:
    """400 draws of all LLCs."""
    rng = np.random.default_rng(1)
    return [attribute(refined(noise=rng.normal(size=(3, 1, len(PARTS))))) for _ in range(400)]


@pytest.mark.parametrize(
    ("splitting", "name"),
    [("matrix", "W_U"), ("matrix", "remainder"), ("head", "remainder"), ("frequency", "all frequencies")],
)
def test_standard_errors_of_shares_are_those_of_repeated_draws(
    drawn: list[xr.Dataset], splitting: str, name: str
) -> None:
    """The spread of 400 draws is known to 3.5%, so that 15% are more than four of its standard errors."""
    exact = attribute(refined())
    spread = np.std([float(row(one, splitting, name).share) for one in drawn], ddof=1)
    assert spread == pytest.approx(float(row(exact, splitting, name).share_se), rel=0.15)
    assert float(row(exact, "matrix", "all weights").share_se) == 0


def test_what_was_not_measured_is_said_and_never_a_share_of_nothing() -> None:
    data = refined()
    without = attribute(data.isel(component=[list(PARTS).index(n) for n in PARTS if n != "all heads"]))
    heads = without.isel(row=(without.splitting == "head").values)
    assert heads.kind.values.tolist() == ["part", "part"]
    diverged = refined()
    diverged.llc_status[2, 0, list(PARTS).index("W_U")] = "diverged"
    found = attribute(diverged)
    assert np.isnan(row(found, "matrix", "W_U")["drop"])
    assert np.isnan(row(found, "matrix", "remainder")["drop"])
    assert float(row(found, "matrix", "W_E")["drop"]) == 20
    rising = refined()
    rising.llc[:, :, 0] = [[10], [20], [30]]
    found = attribute(rising)
    assert float(row(found, "matrix", "all weights")["drop"]) == 0  # from the last to the last
    assert np.isnan(row(found, "matrix", "W_E").share)


def test_another_seeds_frequency_is_no_part_of_this_seeds_drop() -> None:
    data = xr.concat([refined(), refined().assign_coords(seed=[1])], "seed")
    place = list(PARTS).index("frequency 5")
    data.llc_status[:, 1, place] = ""
    for name in ("llc", "llc_se", "llc_low", "llc_high"):
        data[name][:, 1, place] = np.nan
    found = attribute(data)
    rows = (found.splitting == "frequency") & (found.kind == "remainder")
    assert found["drop"].isel(row=rows.values).values.ravel().tolist() == pytest.approx([19, 21])


@pytest.mark.parametrize(
    "change", [lambda d: d.isel(step=[0]), lambda d: d.isel(component=slice(1, None)), lambda d: d.isel(step=0)]
)
def test_bad_input_is_named(change) -> None:
    with pytest.raises(SltGrokError, match=r"refined: expected"):
        attribute(change(refined()))
