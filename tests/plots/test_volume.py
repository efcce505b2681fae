"""The figure of the volume's scaling: what is drawn is what was measured."""

import numpy as np
import pytest
import xarray as xr

from slt_grok.errors import SltGrokError
from slt_grok.plots.saving import save
from slt_grok.plots.volume import volume_scaling

EPSILON = np.array([1e-1, 1e-2, 1e-3, 1e-4])
STEPS = np.array([0, 10, 100])
EXPONENTS = np.array([20.0, 12.0, 5.0])


def scaling(multiplicity: int = 1) -> xr.Dataset:
    """V = epsilon^slope of the ball, the smallest threshold missing at the first checkpoint."""
    correction = (multiplicity - 1) / np.log(1 / np.exp(np.log(EPSILON).mean()))
    log_volume = -40 + (EXPONENTS[:, None] - correction) * np.log(EPSILON)
    if multiplicity == 1:
        log_volume[0, -1] = np.nan
    return xr.Dataset(
        {
            "log_volume": (("step", "epsilon"), log_volume),
            "log_volume_se": (("step", "epsilon"), np.full((3, 4), 0.8)),
            "volume_exponent": ("step", EXPONENTS),
            "volume_exponent_se": ("step", np.array([0.5, 0.4, 0.1])),
            "log_ball_volume": ("step", np.full(3, -40.0)),
            "median_ball_loss": ("step", np.ones(3)),
        },
        coords={"step": STEPS, "epsilon": EPSILON},
        attrs={"multiplicity": multiplicity},
    )


@pytest.mark.parametrize("multiplicity", [1, 3])
def test_lines_go_through_the_points(multiplicity, tmp_path):
    figure = volume_scaling(scaling(multiplicity))
    (axes,) = figure.axes
    lines = [line for line in axes.lines if line.get_label().startswith("step")]
    points = [container.lines[0] for container in axes.containers]
    assert len(lines) == len(points) == 3
    for line, dots in zip(lines, points, strict=True):
        np.testing.assert_allclose(line.get_ydata()[[-1, 0]], np.asarray(dots.get_ydata())[[-1, 0]], atol=1e-9)
    assert [len(dots.get_xdata()) for dots in points] == ([3, 4, 4] if multiplicity == 1 else [4, 4, 4])
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert [float(label.split("= ")[1].split(" ")[0]) for label in labels] == EXPONENTS.tolist()
    assert all(path.exists() for path in save(figure, tmp_path, "volume"))


def test_an_unknown_exponent_has_points_and_no_line():
    measured = scaling()
    measured.volume_exponent[1] = np.nan
    (axes,) = volume_scaling(measured, steps=[10, 100]).axes
    assert len(axes.containers) == 2
    assert len([line for line in axes.lines if line.get_label().startswith("step")]) == 1


def test_what_cannot_be_drawn():
    with pytest.raises(SltGrokError, match="variable log_volume"):
        volume_scaling(scaling().drop_vars("log_volume"))
    with pytest.raises(SltGrokError, match="steps: expected 1 to 8"):
        volume_scaling(scaling(), steps=[11])
    with pytest.raises(SltGrokError, match="seed"):
        volume_scaling(scaling(), seed=4)
