"""Order of events over a study's seeds: the planted lag is written, and every seed that is not in it is named."""

import json
from pathlib import Path

import numpy as np
import order_of_events
import pytest

from slt_grok.errors import SltGrokError
from tests.analyses import planted
from tests.transitions.test_association import recorded


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five seeds in one run, and one in a run that failed."""
    data = recorded((0, 1, 2, 3, 4))
    rows = [planted.row("main", seed) for seed in range(5)]
    failed = planted.row("main", 5, run="main_5") | {"status": "failed", "outcome": None, "reason": "killed"}
    return planted.written(tmp_path_factory.mktemp("studies"), "planted", [*rows, failed], {"main": data})


def test_the_planted_lag_is_written(study: Path, tmp_path: Path) -> None:
    """Train accuracy is planted at step 100, the fall of the LLC at 900."""
    order_of_events.main(study, "main", tmp_path)
    content = json.loads((tmp_path / "order_of_events.json").read_text())
    assert content["seeds"] == {"generalized": [0, 1, 2, 3, 4]}
    assert [one["seed"] for one in content["not_done"]] == [5]
    (row,) = [
        one
        for one in content["lags"]["sigmoid"]
        if (one["reference"], one["event"], one["measure"]) == ("llc", "middle", "train_accuracy")
    ]
    assert row["verdict"] == "before"
    assert abs(row["lag"] - np.log(101 / 901)) < 0.15


def test_a_folder_without_a_study_is_named(tmp_path: Path) -> None:
    with pytest.raises(SltGrokError, match=str(tmp_path)):
        order_of_events.main(tmp_path, "main", tmp_path)
