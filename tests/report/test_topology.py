"""What the page says about the shapes of the clusters."""

import numpy as np
import xarray as xr

from slt_grok.report import figures, page, topology
from tests.plots.test_topology_figures import SITES, alignment, bars

DISC, CIRCLE, TORUS = [1, 0, 0], [1, 1, 0], [1, 2, 1]


def shapes(seeds: int = 1) -> xr.Dataset:
    """Frequencies 2 and 5 have clusters: tori, a disc and a circle, circles, and three points at the logits."""
    data = bars().isel(seed=[0] * seeds).assign_coords(seed=list(range(seeds)))
    betti = data.betti.copy()
    for k, rows in ((2, (TORUS, DISC, CIRCLE, [3, 0, 0])), (5, (TORUS, CIRCLE, CIRCLE, [3, 0, 0]))):
        betti.loc[{"frequency": k}] = np.array(rows)
    gap = betti * 0 + 0.5
    gap.loc[{"frequency": 5, "site": "logits", "degree": 1}] = 0.25
    gap.loc[{"degree": 0}] = 0.01
    return data.assign(betti=betti, persistence_gap=gap)


def circuits(seeds: int = 1) -> xr.Dataset:
    cka = np.zeros((2, seeds, 4, 3))
    cka[1, :, 0] = [0.71, 0.99, np.nan]
    coords = {"step": [0, 7], "seed": list(range(seeds)), "site": SITES, "cloud": ["disc", "torus", "clock"]}
    return xr.Dataset({"cka": (("step", "seed", "site", "cloud"), cka)}, coords=coords)


def test_the_shapes_of_the_last_checkpoint_in_a_sentence():
    text, caution = topology.sentences(shapes())
    assert text == (
        "At step 7 the 2 clusters of neurons (frequencies 2 and 5) have the Betti numbers of a torus before the "
        "activation, a disc (1) or a circle (1) after it, a circle in what the unembedding reads of them and no known "
        "shape (3, 0, 0) at the logits."
    )
    assert caution.startswith("A cloud without any shape has the Betti numbers of a disc")


def test_one_cluster_without_discs_and_a_cloud_that_is_a_point():
    data = shapes()
    data = data.where(data.frequency == 5)
    data.betti.loc[{"site": "neurons_post"}] = np.nan
    (text,) = topology.sentences(data)
    assert text.startswith("At step 7 the neurons of frequency 5 have the Betti numbers of a torus before")
    assert "a point after it" in text


def test_betti_numbers_by_step_and_site_with_the_smallest_gap():
    (table,) = topology.tables(shapes(), None)
    assert table.header == [
        "Step",
        "Clusters",
        "Pre-activations",
        "Post-activations",
        "Post-activations, as read",
        "Logits",
    ]
    assert table.rows == [
        [
            "7",
            "2",
            "2 × (1, 2, 1); gap 0.50",
            "1 × (1, 0, 0), 1 × (1, 1, 0); gap 0.50",
            "2 × (1, 1, 0); gap 0.50",
            "2 × (3, 0, 0); gap 0.25",
        ]
    ]


def test_alignment_stands_beside_that_of_the_ideal_clouds():
    _, table = topology.tables(shapes(), circuits())
    assert "at step 7" in table.caption
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["Pre-activations"] == ["0.710", "0.990", "–"]
    # disc and torus with each other 2^(-1/2), the clock with both 0
    assert rows["Ideal disc"] == ["1.000", "0.707", "0.000"]
    assert rows["Ideal torus"] == ["0.707", "1.000", "0.000"]
    assert rows["Ideal clock"] == ["0.000", "0.000", "1.000"]


def test_a_seed_without_clusters_is_said_and_seeds_have_tables_each():
    data = shapes(2)
    data.betti[:, 1] = np.nan
    first, second, _ = topology.sentences(data)
    assert first.startswith("Seed 0: at step 7 the 2 clusters")
    assert second == "Seed 1: at step 7 there is no shape to measure: no frequency has 4 neurons."
    found = topology.tables(data, circuits(2))
    assert [table.folded for table in found] == [True] * 4
    assert found[2].rows == [["7", "0", "–", "–", "–", "–"]]
    assert len(topology.tables(data, circuits(1))) == 3  # circuits of the first seed alone


def test_its_figures_for_each_seed(tmp_path):
    found = figures.topology(shapes(2), alignment(), tmp_path)
    names = [f"{kind}_seed{seed}" for kind in ("phase_alignment", "persistence_diagrams") for seed in (0, 1)]
    assert [figure.name for figure in found] == names
    assert [figure.folded for figure in found] == [False, True] * 2
    assert "seed 1" in found[3].caption
    assert [figure.name for figure in figures.topology(shapes(), None, tmp_path)] == ["persistence_diagrams"]


def test_the_page_has_the_section_after_the_circuit(tmp_path):
    titles = {part.title: part for part in page.parts({}, {"topology": shapes()}, {}, tmp_path)}
    assert list(titles)[list(titles).index("Fourier circuit") + 1] == "Shape of the representations"
    part = titles["Shape of the representations"]
    assert part.sentences == topology.sentences(shapes())
    assert [table.header[0] for table in part.tables] == ["Step"]
    assert [figure.name for figure in part.figures] == ["persistence_diagrams"]
