"""Figures on disk: whole, deterministic, and a clear error where they cannot be written."""

import subprocess
import sys

import pytest
from matplotlib import pyplot
from PIL import Image

from slt_grok import plots
from slt_grok.errors import SltGrokError
from slt_grok.plots import llc_curve, save
from tests.plots.test_numbers import llc


def test_svg_and_png_of_150_dots_an_inch(tmp_path):
    figure = llc_curve(llc())
    width = figure.get_figwidth()
    svg, png = save(figure, tmp_path / "figures", "llc")
    assert (svg.name, png.name) == ("llc.svg", "llc.png")
    assert svg.read_text().startswith("<?xml")
    with Image.open(png) as image:
        assert image.width == round(150 * width)
    assert sorted(path.name for path in svg.parent.iterdir()) == ["llc.png", "llc.svg"]
    assert not figure.axes


def test_the_same_figure_gives_the_same_bytes(tmp_path):
    first, second = (save(llc_curve(llc()), tmp_path / name, "llc") for name in ("a", "b"))
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert b"<dc:date>" not in first[0].read_bytes()


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path):
    (tmp_path / "figures").write_text("a file where the folder should be")
    with pytest.raises(SltGrokError, match=r"figures.*cannot be written"):
        save(llc_curve(llc()), tmp_path / "figures", "llc")


def test_plotting_libraries_are_imported_only_when_asked_for():
    code = "import sys, slt_grok; assert not {'matplotlib', 'seaborn', 'jinja2'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_figure_of_pyplot_is_left_open():
    plots.phase_transition(llc=llc())
    assert pyplot.get_fignums() == []
