"""What the page says about the refined LLCs."""

import numpy as np
import xarray as xr

from slt_grok.report import attribution

GROUPS = ("whole", "matrix", "matrix", "circuit", "rest", "tables", "null circuit")
LLC = [[20.0, 9.0, 11.5, 2.0, 7.0, 8.0, 3.0], [100.0, 30.0, 20.0, 5.0, 40.0, 50.0, 4.0], [10.0, 8.0, 7.0, 1.0, 2, 3, 4]]


def refined(seeds: int = 1) -> xr.Dataset:
    llc = np.array([LLC] * seeds)
    interaction = llc[..., 1] + llc[..., 2] - llc[..., 0]
    return xr.Dataset(
        {
            "llc": (("seed", "step", "component"), llc),
            "llc_se": (("seed", "step", "component"), np.full_like(llc, 0.5)),
            "llc_interaction": (("seed", "step"), interaction),
            "llc_interaction_se": (("seed", "step"), np.full_like(interaction, 0.5)),
        },
        coords={
            "seed": np.arange(seeds), "step": [10, 300, 5000],
            "component": [f"{group} {i}" for i, group in enumerate(GROUPS)], "group": ("component", list(GROUPS)),
        },
    )  # fmt: skip


def said(data: xr.Dataset) -> list[str]:
    return [sentence.replace("\u00a0", " ") for sentence in attribution.refined(data)]


def test_peak_and_end_are_told_with_what_the_matrices_leave():
    peak, end = said(refined())
    assert peak.startswith("At step 300 the LLC of all weights is 100.00 ± 0.50; ")
    assert "its matrices, each moved alone, have 50.00 ± 0.50 less together" in peak  # 30 + 20 - 100
    assert "have 5.00 ± 0.50 more together: they share directions" in end  # 8 + 7 - 10
    assert end.startswith("At step 5,000")


def test_matrices_that_add_up_are_said_to():
    one = refined().isel(step=[0])
    assert "add up to it (difference 0.50 ± 0.50)" in said(one)[0]  # 9 + 11.5 - 20


def test_key_frequencies_stand_beside_the_others_and_the_null():
    assert (
        "Of the embedding and unembedding's 50.00 ± 0.50 the planes of the key frequencies alone have 5.00 ± 0.50, all "
        "others 40.00 ± 0.50; as many random frequencies that are not key have 4.00 ± 0.50." in said(refined())[0]
    )


def test_without_frequencies_or_a_whole_nothing_is_said_of_them():
    data = refined()
    bare = data.isel(component=[0, 1, 2])
    assert "frequencies" not in said(bare)[0]
    data.llc[:] = np.nan
    assert attribution.refined(data) == []


def test_seeds_are_told_apart():
    texts = said(refined(seeds=2))
    assert len(texts) == 4
    assert texts[2].startswith("Seed 1: at step 300")
