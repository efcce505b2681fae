"""The spectrum over training and the neuron clusters."""

import numpy as np
import pytest
from matplotlib.collections import QuadMesh

from slt_grok.plots import spectrum
from slt_grok.plots.spectrum import spread, step_edges
from tests import synthetic


def heat_map(axes):
    mesh = next(c for c in axes.collections if isinstance(c, QuadMesh))
    return np.asarray(mesh.get_array()).reshape(26, 19)


def test_heat_maps_hold_the_shares_in_per_cent():
    data = synthetic.circuits()
    axes = spectrum(data).axes
    for map_, name, table in ((axes[0], "embedding_spectrum", "W_E"), (axes[1], "neuron_logit_map_spectrum", "W_L")):
        share = 100 * data[name].isel(seed=0).values.T
        shown = share > 100 / 26 / 20
        np.testing.assert_allclose(heat_map(map_)[shown], share[shown])
        assert map_.get_ylabel() == f"Frequency $k$ of ${table}$"
        assert map_.get_xscale() == "symlog"


def test_an_older_run_has_the_embedding_alone():
    figure = spectrum(synthetic.circuits().drop_vars("neuron_logit_map_spectrum"))
    assert [axes.get_ylabel() for axes in figure.axes[:2]] == ["Frequency $k$ of $W_E$", "Neurons in cluster"]


def test_key_frequencies_are_marked_in_the_colors_of_their_clusters():
    data = synthetic.circuits()
    figure = spectrum(data)
    marks, again = (
        {text.get_text(): text.get_color() for text in axes.texts if text.get_text().isdigit()}
        for axes in figure.axes[:2]
    )
    assert set(marks) == {"5", "12", "23"}
    assert again == marks
    for k, color in marks.items():
        size = data.neuron_cluster_size.isel(seed=0).sel(frequency=int(k))
        assert any(
            a.get_color() == color and np.array_equal(np.asarray(a.get_ydata()), size) for a in figure.axes[2].lines
        )


def test_random_table_says_that_there_is_no_cluster():
    figure = spectrum(synthetic.circuits(grok=False))
    assert any("no neuron" in text.get_text() for text in figure.axes[2].texts)
    assert not any(text.get_text().isdigit() for text in figure.axes[0].texts)


def test_columns_reach_half_way_on_the_logarithmic_axis():
    edges = step_edges(np.array([10, 100, 1000]))
    np.testing.assert_allclose(edges, [10 / 10**0.5, 10 * 10**0.5, 100 * 10**0.5, 1000])
    with_zero = step_edges(synthetic.STEPS)
    assert with_zero[0] == 0
    assert with_zero[-1] == pytest.approx(5000, rel=1e-12)
    assert (with_zero[:-1] <= synthetic.STEPS).all()
    assert (with_zero[1:-1] >= synthetic.STEPS[:-1]).all()
    assert (np.diff(with_zero) > 0).all()


def test_the_named_seed_is_drawn():
    data = synthetic.circuits(seeds=2)
    values = heat_map(spectrum(data, seed=1).axes[0])
    np.testing.assert_allclose(values[4, 0], 100 * data.embedding_spectrum.sel(seed=1, frequency=5)[0])


def test_labels_of_neighboring_frequencies_do_not_overlap():
    assert spread([14, 41, 52], 3.0) == [14, 41, 52]
    assert spread([35, 41, 42], 3.0) == [35, 40, 43]
    places = spread([1, 2, 3, 4, 9, 11, 30], 3.0)
    assert min(np.diff(places)) >= 3.0 - 1e-12
