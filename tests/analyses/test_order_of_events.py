"""Order of events over a study's seeds: the planted lag is written, and every seed that is not in it is named."""

import json
from pathlib import Path

import numpy as np
import order_of_events
import pytest

from slt_grok.errors import SltGrokError
from tests.analyses import planted
from tests.transitions.test_association import recorded
from tests.transitions.test_measure import LINEAR


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five seeds in one run, and one in a run that failed."""
    data = recorded((0, 1, 2, 3, 4))
    rows = [planted.row("main", seed) for seed in range(5)]
    failed = planted.row("main", 5, run="main_5") | {"status": "failed", "outcome": None, "reason": "killed"}
    return planted.written(tmp_path_factory.mktemp("studies"), "planted", [*rows, failed], {"main": data})


def test_the_planted_lags_are_written_on_both_scales(study: Path, tmp_path: Path, capsys) -> None:
    """Train accuracy is planted at step 100, the fall of the LLC at 900, that of train loss at 130 on a log scale."""
    order_of_events.main(study, "main", tmp_path)
    content = json.loads((tmp_path / "order_of_events.json").read_text())
    assert content["seeds"] == {"generalized": [0, 1, 2, 3, 4]}
    assert [one["seed"] for one in content["not_done"]] == [5]
    assert content["scale"] == "linear"

    def lag(of: dict, reference: str, measure: str) -> dict:
        (row,) = (
            one
            for one in of["lags"]["sigmoid"]
            if (one["reference"], one["event"], one["measure"]) == (reference, "middle", measure)
        )
        return row

    assert lag(content, "llc", "train_accuracy")["verdict"] == "before"
    assert abs(lag(content, "llc", "train_accuracy")["lag"] - np.log(101 / 901)) < 0.15
    # one curve on two scales: the fall of train loss by 7 decades, behind the weight norm, at 1500 on the linear one
    step, other = content["events"]["train_loss"]["median"], content["log"]["events"]["train_loss"]["median"]
    assert abs(np.log(step / LINEAR["train_loss"])) < 0.1
    assert abs(np.log(other / 130)) < 0.1
    assert step < 0.9 * other
    printed = capsys.readouterr().out
    assert "linear scale, then log" in printed


def test_a_folder_without_a_study_is_named(tmp_path: Path) -> None:
    with pytest.raises(SltGrokError, match=str(tmp_path)):
        order_of_events.main(tmp_path, "main", tmp_path)
