"""Figures of laws of size and of free energies: what is drawn is what was found."""

import numpy as np
import pytest
import xarray as xr

from slt_grok.errors import SltGrokError
from slt_grok.plots.finite_size import finite_size
from slt_grok.plots.free_energy import free_energies, tempering
from slt_grok.plots.saving import save
from slt_grok.transitions.finite_size import scaling
from slt_grok.transitions.fraction_crossing import against_training
from slt_grok.transitions.free_energy import free_energy
from tests.transitions.test_finite_size import PLANTED, planted
from tests.transitions.test_fraction_crossing import FRACTIONS
from tests.transitions.test_fraction_crossing import planted as planted_energies


def test_every_seed_and_every_law_that_is_near_is_drawn(tmp_path):
    found = scaling(planted(PLANTED["proportional"][0], 0.1, 3), "y", bootstrap=50)
    figure = finite_size([found], ["LLC"])
    axes = figure.axes[0]
    seeds = np.concatenate([line.get_ydata() for line in axes.lines if line.get_markersize() == 2.6])
    np.testing.assert_allclose(np.sort(seeds), np.sort(found.measured.values.ravel()))
    near = int((found.aicc - found.aicc.min() <= 4).sum())
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert len(labels) == near + 1
    assert any(label.startswith("a p, ") for label in labels)
    assert len(axes.collections) == 1  # the band of the best
    assert all(path.exists() for path in save(figure, tmp_path, "finite_size"))
    with pytest.raises(SltGrokError, match="a name for each"):
        finite_size([found], [])


def test_free_energies_and_crossings_are_drawn(tmp_path):
    energies = free_energy(planted_energies(0.25, noise=0.1))
    shares = against_training(energies)
    figure = free_energies(energies, shares, (0.25, 0.2, 0.3), (np.nan, 0.0, np.inf))
    upper, lower = figure.axes
    means = [line for line in upper.lines if line.get_label().endswith("mean")]
    np.testing.assert_allclose(means[0].get_ydata(), energies.mean_free_energy.sel(phase="memorizing"))
    names = [text.get_text() for text in upper.get_legend().get_texts()]
    assert "crossing predicted" in names
    assert "crossing seen" not in names  # there is none
    assert lower.get_xlabel() == "Train fraction"
    assert all(path.exists() for path in save(figure, tmp_path, "free_energy"))
    with pytest.raises(SltGrokError, match="at least 2"):
        free_energies(energies.sel(train_fraction=FRACTIONS[:1]), shares, (0, 0, 0), (0, 0, 0))


def test_the_integrand_of_the_marginal_likelihood_is_drawn(tmp_path):
    betas = np.r_[0, np.geomspace(1e-3, 1, 6)]
    values = np.stack([100 * betas, 10 * betas])
    measured = xr.Dataset(
        {
            "llc_at_beta": (("step", "beta"), values),
            "beta_value": (("step", "beta"), np.stack([betas, betas])),
            "mean_loss_se": (("step", "beta"), np.full((2, 7), 1e-3)),
            **{
                f"log_marginal_likelihood{end}": ("step", np.array([-500.0, -50.0]))
                for end in ("", "_se", "_quadrature")
            },
        },
        {"step": [10, 20]},
        {"n": 100},
    )
    figure = tempering(measured, ["one", "other"])
    lines = [line for line in figure.axes[0].lines if "log Z" in line.get_label()]
    np.testing.assert_allclose(lines[1].get_ydata(), values[1, 1:])
    assert all(path.exists() for path in save(figure, tmp_path, "marginal_likelihood"))
    with pytest.raises(SltGrokError, match="a name for each"):
        tempering(measured, ["one"])
