"""Published networks: the acceptance of the extraction."""

from pathlib import Path

import pytest

from slt_grok import program
from slt_grok.program.extraction import AGREEMENT
from slt_grok.store import importers
from slt_grok.trajectories import Trajectory
from tests.program.running import answers_of_file

REFERENCE = Path(__file__).parents[2] / ".." / "shared" / "reference" / "checkpoints"
PUBLISHED = [
    "clock_pizza/model_p99zdpze5l.pt",
    "clock_pizza/model_l8k1hzciux.pt",
    "progress_measures/wd_10-1_mod_addition_loss_curve.pth",
]


@pytest.mark.parametrize("file", PUBLISHED)
def test_published_networks(file: str, tmp_path: Path) -> None:
    if not (REFERENCE / file).exists():
        pytest.skip("the published checkpoints are not here")
    imported = importers.read(REFERENCE / file)
    module = imported.module
    module.load_state_dict(imported.parameters)
    reading = program.read(Trajectory.of(module, imported.task))
    ideal, best = program.clock(reading), program.extract(reading, "neurons")
    assert program.match(reading, best.program).unexplained <= program.match(reading, ideal).unexplained / 2
    assert (answers_of_file(best, tmp_path) == reading.answers).mean() >= AGREEMENT
    shortest = program.extract(reading)
    assert shortest.program.level == "clock"
    assert (answers_of_file(shortest, tmp_path) == reading.answers).mean() >= AGREEMENT
