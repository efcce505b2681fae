"""Figures of interventions on weights, and of the drop's parts."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from slt_grok import plots
from slt_grok.errors import SltGrokError
from slt_grok.report import attribution as said
from slt_grok.report import interventions as words
from slt_grok.transitions.attribution import attribute
from tests.transitions.test_attribution import PARTS, refined

FIELDS = ("act", "site", "control", "draw")
VARIANTS = [
    ("as trained", "as trained", "", "", 0),
    ("circuit kept in tables and neurons", "kept", "tables and neurons", "circuit", 0),
    ("random 1 kept in tables and neurons", "kept", "tables and neurons", "random", 1),
    ("random 2 kept in tables and neurons", "kept", "tables and neurons", "random", 2),
    ("MLP from the end", "from the end", "MLP", "", 0),
]


def measured() -> xr.Dataset:
    llc = np.array([[[100.0, 20.0, -6.0, -4.0, 30.0]], [[15.0, 16.0, -60.0, -40.0, 15.0]]])
    dims = ("step", "seed", "variant")
    loss = np.stack([np.abs(llc) / 100, np.abs(llc) / 50], -1)
    status = np.where(llc < 0, "not a minimum", "effective")
    return xr.Dataset(
        {
            "llc": (dims, llc), "llc_se": (dims, 0 * llc + 0.5), "llc_low": (dims, llc - 1),
            "llc_high": (dims, llc + 2), "llc_status": (dims, status), "llc_status_reason": (dims, status),
            "distance": (dims, 0 * llc + 0.1),
            "loss": ((*dims, "split"), loss), "accuracy": ((*dims, "split"), np.clip(loss, 0, 1)),
        },
        coords={
            "step": [300, 2600], "seed": [0], "split": ["train", "test"], "variant": [v[0] for v in VARIANTS],
            **{name: ("variant", [v[i + 1] for v in VARIANTS]) for i, name in enumerate(FIELDS)},
        },
        attrs={"n_beta": 30.0, "gamma": 100.0, "sampler": "underdamped"},
    )  # fmt: skip


def test_a_column_for_each_act_with_the_mean_of_its_controls(tmp_path: Path) -> None:
    figure = plots.interventions(measured())
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == ["circuit kept alone", "part from the\nlast checkpoint"]
    drawn = [line.get_ydata() for line in figure.axes[0].get_lines() if line.get_linestyle() == "--"]
    assert any(np.allclose(np.asarray(values, dtype=float), [-5, -50]) for values in drawn)
    plots.save(figure, tmp_path, "interventions")
    with pytest.raises(SltGrokError, match="only networks as trained"):
        plots.interventions(measured().isel(variant=[0]))


def test_what_is_said_of_interventions() -> None:
    text = " ".join(words.sentences(measured())).replace("\u00a0", " ")
    assert "At step 300 the LLC as trained is 100.00 ± 0.50." in text
    assert "With nothing but the circuit it is 20.00 ± 0.50, at a train loss of 0.2 nats" in text
    assert "in its place: -5, train loss 0.05" in text
    assert "with one part of the weights from step 2,600: MLP 30.00 ± 0.50 at 0.3 nats" in text
    (first, last) = words.tables(measured())
    assert [row[0] for row in first.rows] == [v[0] for v in VARIANTS]
    assert last.rows[2][2] == "not a minimum"


def test_bars_of_the_drop_are_its_parts_the_remainder_hatched(tmp_path: Path) -> None:
    split = attribute(refined())
    figure = plots.attribution(split)
    matrices = figure.axes[0]
    widths = [bar.get_width() for bar in matrices.patches]  # pyright: ignore[reportAttributeAccessIssue]
    assert widths == pytest.approx([35, 20, 25, 80])  # W_U, W_E, remainder, all weights
    assert [bool(bar.get_hatch()) for bar in matrices.patches] == [False, False, True, False]
    assert "31.2%" in [text.get_text() for text in matrices.texts]  # 25 of 80
    plots.save(figure, tmp_path, "attribution")
    with pytest.raises(SltGrokError, match="seed among 0"):
        plots.attribution(split, seed=5)


def test_what_is_said_of_the_drop() -> None:
    (text,) = said.drop(attribute(refined()))
    text = text.replace("\u00a0", " ")
    assert text.startswith("Of the drop of 80.0 ± 1.4 from step 300 to step 2,600")
    assert "the largest part among the matrices, moved alone, is that of W_U with 43.8 ± 1.9%" in text
    bare = attribute(refined().isel(component=[i for i, name in enumerate(PARTS) if name != "all heads"]))
    assert "what does not add up is not known" in said.drop(bare)[0]
    flat = refined()
    flat.llc[:] = 1.0
    assert "no drop is seen" in said.drop(attribute(flat))[0]
