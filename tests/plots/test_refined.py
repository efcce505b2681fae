"""The refined LLC figure: what is drawn is what was measured, and what is missing is said."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.colors import to_hex

from slt_grok.errors import SltGrokError
from slt_grok.plots.refined_llc import refined_llc
from slt_grok.plots.saving import save

PARTS = {
    "all weights": ("whole", 5000),
    **{f"W_{i}": ("matrix", 500) for i in range(10)},
    "head 0": ("head", 300),
    "head 1": ("head", 300),
    "frequency 4": ("frequency", 40),
    "frequency 9": ("frequency", 40),
    "key frequencies": ("circuit", 80),
    "other frequencies": ("rest", 920),
    "all frequencies": ("tables", 1000),
    "null frequency 2": ("null frequency", 40),
    "null frequency 7": ("null frequency", 40),
    "null frequencies": ("null circuit", 80),
    "test pairs": ("data", 5000),
    "all pairs": ("data", 5000),
}
STEPS = np.array([0, 10, 100, 1000])


def refined(*groups: str, seeds: int = 1) -> xr.Dataset:
    """Made-up estimates, each value its own; only some groups where they are named."""
    lead = ("step", "seed", "component")
    shape = (len(STEPS), seeds, len(PARTS))
    llc = 1.0 + np.arange(np.prod(shape)).reshape(shape) / 10
    status = np.full(shape, "effective", dtype="<U32")
    status[1] = "not converged"
    data = xr.Dataset(
        {
            "llc": (lead, llc),
            "llc_low": (lead, llc - 0.3),
            "llc_high": (lead, llc + 0.5),
            "llc_status": (lead, status),
            "dimension": ("component", [size for _, size in PARTS.values()]),
        },
        coords={
            "step": STEPS,
            "seed": np.arange(seeds),
            "component": list(PARTS),
            "group": ("component", [group for group, _ in PARTS.values()]),
        },
        attrs={"sampler": "underdamped", "n_beta": 30.0, "gamma": 100.0},
    )
    return data.isel(component=np.isin(data.group, groups)) if groups else data


def drawn(axes, label: str) -> np.ndarray:
    return np.asarray(next(line.get_ydata() for line in axes.lines if line.get_label() == label), dtype=float)


def test_every_panel_draws_what_was_measured():
    data = refined()
    panels = refined_llc(data).axes
    assert len(panels) == 5
    llc = data.llc.isel(seed=0)
    for axes, label, component in (
        (panels[0], "train pairs", "all weights"),
        (panels[0], "test pairs", "test pairs"),
        (panels[1], "W_9", "W_9"),
        (panels[2], "head 1", "head 1"),
        (panels[3], "frequency 9", "frequency 9"),
    ):
        np.testing.assert_allclose(drawn(axes, label), llc.sel(component=component))
    summed = sum(llc.sel(component=f"W_{i}") for i in range(10))
    np.testing.assert_allclose(drawn(panels[1], "sum of matrices"), summed)
    # per thousand dimensions: 80 move of the circuit
    np.testing.assert_allclose(drawn(panels[4], "key frequencies"), llc.sel(component="key frequencies") * 1000 / 80)
    assert "$n\\beta$ = 30" in panels[0].get_title(loc="right")
    assert panels[-1].get_xlabel().startswith("Training step")


def test_the_band_is_the_interval_that_was_measured():
    data = refined("head")
    axes = refined_llc(data).axes[0]
    bands = [c for c in axes.collections if isinstance(c, FillBetweenPolyCollection)]
    assert len(bands) == 2
    for band, name in zip(bands, ("head 0", "head 1"), strict=True):
        heights = band.get_paths()[0].vertices[:, 1]
        one = data.isel(seed=0).sel(component=name)
        assert heights.min() == pytest.approx(one.llc_low.min().item())
        assert heights.max() == pytest.approx(one.llc_high.max().item())


def test_points_without_a_trusted_status_are_hollow_and_diverged_ones_are_not_drawn():
    data = refined("head").copy(deep=True)
    data.llc_status[2] = "diverged"
    axes = refined_llc(data).axes[0]
    points = [line for line in axes.lines if line.get_marker() == "o"][:2]
    filled, hollow = ([bool(np.isfinite(y)) for y in np.asarray(line.get_ydata(), dtype=float)] for line in points)
    assert filled == [True, False, False, True]
    assert hollow == [False, True, False, False]
    assert to_hex(points[1].get_markerfacecolor()) == "#ffffff"


def test_the_smallest_of_many_matrices_share_a_gray_line_in_the_legend():
    axes = refined_llc(refined("whole", "matrix")).axes[0]
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    # the made-up values rise along the components, so that W_9 is the largest
    assert labels == ["all weights", "sum of matrices", *(f"W_{i}" for i in range(9, 1, -1)), "W_1, W_0"]


def test_another_seeds_key_frequency_is_not_drawn():
    data = refined(seeds=2).copy(deep=True)
    here = {"seed": 1, "component": "frequency 4"}
    data.llc.loc[here], data.llc_status.loc[here] = np.nan, ""
    for seed, expected in ((0, ["frequency 4", "frequency 9"]), (1, ["frequency 9"])):
        labels = [text.get_text() for text in refined_llc(data, seed=seed).axes[3].get_legend().get_texts()]
        assert labels == ["not key: 2, 7", *expected]


def test_one_checkpoint_and_both_files(tmp_path):
    paths = save(refined_llc(refined().isel(step=[2])), tmp_path, "refined")
    assert [path.suffix for path in paths] == [".svg", ".png"]


def test_what_cannot_be_drawn_is_said():
    with pytest.raises(SltGrokError, match="expected a dimension step"):
        refined_llc(refined().isel(step=0))
    with pytest.raises(SltGrokError, match="among 0, got 3"):
        refined_llc(refined(), seed=3)
    with pytest.raises(SltGrokError, match="expected matrices, heads or frequencies, got whole"):
        refined_llc(refined("whole"))
