"""Figures of programs: the step from which they explain, means over seeds, circles beside the text."""

import numpy as np
import pytest

from slt_grok import program as programs
from slt_grok.circuits import maps
from slt_grok.errors import SltGrokError
from slt_grok.plots import explained_share, program_text
from slt_grok.plots.explained_share import explained_from
from slt_grok.trajectories import Trajectory
from tests.program import networks
from tests.program.networks import AMPLITUDES
from tests.report.test_program import measured


def test_a_network_is_explained_from_where_it_stays_explained() -> None:
    assert float(explained_from(measured())[0]) == 2000
    assert float(explained_from(measured(explains=(False, True, False, True, True, True)))[0]) == 1000
    assert np.isnan(explained_from(measured(explains=(True, True, True, True, True, False)))[0])


def test_the_figure_names_clocks_and_tokens() -> None:
    one = networks.gromov()
    stack = Trajectory.stack(one.network.module, {5: one.parameters}, one.task)
    keys = np.isin(np.arange(1, 12), list(AMPLITUDES))
    found = program_text("MODULUS = 23", programs.measure(stack), maps.measure(stack, keys))
    titles = [axes.get_title() for axes in found.axes if axes.get_title()]
    assert [title.split(":")[0] for title in titles] == ["clock 2", "clock 7", "clock 9"]
    written = {text.get_text() for axes in found.axes for text in axes.texts}
    assert written == {"0", "1", "2"}
    none = programs.measure(stack)
    with pytest.raises(SltGrokError, match="expected a frequency"):
        program_text("", none.assign(program_frequency=none.program_frequency & False), maps.measure(stack, keys))


def test_seeds_are_thin_lines_with_a_mean_and_its_interval() -> None:
    several = measured(2)
    several.explained_variance[-1, 1] = 0.5
    figure = explained_share(several)
    clock = [line for line in figure.axes[0].get_lines() if line.get_label() == "clock"]
    assert np.asarray(clock[0].get_ydata())[-1] == pytest.approx(74)  # of 98 and 50
    (end,) = {np.asarray(path.vertices)[:, 1].max() for path in figure.axes[0].collections[-1].get_paths()}
    assert end == pytest.approx(100)  # 74 + 12.7 * 24, cut
    assert len(figure.axes) == 6
    assert len(figure.axes[0].get_lines()) == 2 + 1
    assert len(explained_share(measured()).axes) == 2
