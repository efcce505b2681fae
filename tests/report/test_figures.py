"""The clock and pizza plane is on the page where its measures are."""

import numpy as np

from slt_grok.report import figures
from tests.plots.test_clock_pizza_plane import circuits


def test_the_plane_needs_both_measures_somewhere_defined(tmp_path):
    (shown,) = figures.clock_pizza_plane(circuits(), tmp_path)
    assert shown.name == "clock_pizza_plane"
    assert (tmp_path / "clock_pizza_plane.png").is_file()
    assert not figures.clock_pizza_plane(circuits().drop_vars("gradient_symmetricity"), tmp_path)
    nowhere = circuits().assign(gradient_symmetricity=circuits().gradient_symmetricity * np.nan)
    assert not figures.clock_pizza_plane(nowhere, tmp_path)
