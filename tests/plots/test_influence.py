"""The influence figure shows what it is given, and says where nothing is above 0."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from slt_grok import plots
from slt_grok.plots.influence import influence_figure

STEPS = [100, 400, 1600]


@pytest.fixture
def datasets() -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
    relation = ["swapped", "same answer", "shared token", "unrelated"]
    value = np.array([[0.3, 0.02, 0.002, 1e-6], [0.4, 0.02, 0.004, -1e-6], [0.6, 0.03, 0.008, 1e-6]])
    by_relation = xr.Dataset(
        {
            "loss_correlation": (("step", "relation"), value),
            "loss_correlation_se": (("step", "relation"), np.full((3, 4), 1e-4)),
        },
        {"step": STEPS, "relation": relation},
    )
    losses = {"bayes_test_loss": [8.0, 4.0, 0.02], "bayes_training_loss": [0.1, 0.05, 0.01], "waic": [0.3, 0.1, 0.02]}
    waic = xr.Dataset(
        {**{name: ("step", v) for name, v in losses.items()}, "waic_se": ("step", [0.01] * 3)}, {"step": STEPS}
    )
    slope = np.arange(1.0, 1 + 3 * 4 * 5).reshape(3, 4, 5)
    chi = xr.Dataset(
        {"loss_slope": (("step", "component", "sample"), slope)},
        {
            "step": STEPS,
            "component": ["2", "14", "5", "9"],
            "key": ("component", [True, True, False, False]),
            "trained": ("sample", [True, True, True, False, False]),
        },
    )
    return by_relation, waic, chi


def test_panels_show_the_datasets(datasets: tuple[xr.Dataset, xr.Dataset, xr.Dataset], tmp_path: Path) -> None:
    by_relation, waic, chi = datasets
    figure = influence_figure(*datasets)
    relations, losses, slopes = figure.axes
    lines = {line.get_label(): line.get_ydata() for axes in figure.axes for line in axes.lines}
    np.testing.assert_allclose(lines["swapped"], by_relation.loss_correlation[:, 0])
    assert "unrelated: 0 within its error" in lines
    np.testing.assert_allclose(lines["WAIC"], waic.waic)
    unseen = chi.loss_slope.values[:, :, 3:].mean(-1)
    np.testing.assert_allclose(lines["key frequencies"], unseen[:, :2].mean(1))  # the median of two
    np.testing.assert_allclose(lines["other frequencies"], unseen[:, 2:].mean(1))
    assert "(nats)" in losses.get_ylabel()
    assert "step" in slopes.get_xlabel()
    assert relations.get_yscale() == "log"
    assert [path.suffix for path in plots.save(figure, tmp_path, "influence")] == [".svg", ".png"]
