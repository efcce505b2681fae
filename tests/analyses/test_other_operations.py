"""What the script says of networks whose operation and mechanism are planted."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import other_operations as script
import pytest
import torch

from slt_grok.models import planted
from slt_grok.program import pairs, read
from slt_grok.store import RunDirectory
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory
from tests.program import networks
from tests.program.networks import AMPLITUDES

P = 13


def of_logits(logits: np.ndarray, task: ModularTask) -> Trajectory:
    p = task.classes
    return Trajectory.of(planted.lookup_table(torch.from_numpy(logits).unflatten(0, (p, p))), task)


def subtracting() -> Trajectory:
    """The planted addition network whose second tokens were renamed b -> -b."""
    one = networks.gromov()
    parameters = {**one.parameters, "V": one.parameters["V"][-torch.arange(23) % 23]}
    return replace(one, network=replace(one.network, task=ModularTask(23, "subtraction")), parameters=parameters)


def test_subtraction_by_renamed_tokens_is_explained_and_addition_of_it_is_not() -> None:
    own, plain = script.measured(subtracting()), script.measured(networks.gromov())
    assert own["keys"] == list(AMPLITUDES)
    assert own["accuracy"]["test"] == plain["accuracy"]["test"] == 1
    for level, shares in plain["levels"].items():
        assert own["levels"][level] == pytest.approx(shares, abs=1e-6)
    assert own["levels"]["neurons"]["explained_variance"] > 0.99
    assert own["explained"]
    assert own["read_as"]["addition"]["explained_variance"] == 0  # no clock of a + b holds a thousandth
    assert plain["read_as"]["subtraction"]["explained_variance"] == 0


def test_multiplication_is_a_function_of_the_quotient() -> None:
    found = script.measured(networks.logarithmic())
    assert found["levels"]["clock"]["explained_variance"] > 0.99
    assert found["bounds"]["by c / s"] == pytest.approx(1)
    assert found["bounds"]["by the answer"] == pytest.approx(1)
    assert found["bounds"]["by c - s"] < 0.5


def test_a_mirrored_clock_is_told_from_the_clock() -> None:
    task = ModularTask(P, "subtraction", train_fraction=0.5)
    s, c = (2 * np.pi / P * x for x in (task.labels.numpy()[:, None], np.arange(P)))
    logits = 3 * np.cos(s) * np.cos(c) + np.sin(s) * np.sin(c)  # 2 cos(s - c) + cos(s + c)
    found = script.measured(of_logits(logits, task))
    assert found["levels"]["clock"]["explained_variance"] == pytest.approx(0.8)
    assert found["bounds"]["by c - s"] == pytest.approx(0.8)
    assert found["bounds"]["by c + s"] == pytest.approx(0.2)
    assert found["bounds"]["by c"] == pytest.approx(0, abs=1e-12)
    biased = script.bounds(read(of_logits(logits + np.sqrt(2.5) * np.cos(2 * c), task)))
    assert biased["by c"] == pytest.approx(1 / 3)  # 5 / 4 of 5 / 2 + 5 / 4


def test_a_norm_has_no_level_but_its_bounds() -> None:
    task = ModularTask(P, "x^2+xy+y^2", train_fraction=0.5)
    norm = task.labels.numpy()
    turned = np.cos(2 * np.pi / P * (norm[:, None] - np.arange(P)))
    found = script.measured(of_logits(turned, task))
    assert found["levels"] == {}
    assert not found["explained"]
    assert found["bounds"]["by c - s"] == pytest.approx(1)
    assert found["bounds"]["by c / s"] < 0.6
    assert set(found["read_as"]) == {"addition", "subtraction", "multiplication"}


def test_the_answer_holds_one_in_p_of_noise() -> None:
    task = ModularTask(P, "random_table")
    noise = np.random.default_rng(0).standard_normal((P * P, P))
    # (p^2 - p) of (p^3 - p^2) dimensions: 0.077, with a standard deviation of 0.009
    assert script.bounds(read(of_logits(noise, task)))["by the answer"] == pytest.approx(1 / P, abs=0.036)


def test_what_was_mirrored_is_no_generalization() -> None:
    a, b = pairs(P)
    train = tuple(np.flatnonzero(a < b)[:40].tolist())
    task = ModularTask(P, split_rule="listed", train_rows=train)
    known = np.isin(a * P + b, train) | np.isin(b * P + a, train)
    answers = np.where(known, task.labels.numpy(), (task.labels.numpy() + 1) % P)
    found = script.accuracies(read(of_logits(np.eye(P)[answers], task)))
    assert found["train"] == 1
    assert found["test"] == pytest.approx(40 / (P * P - 40))
    assert found["unmirrored test"] == 0


def test_runs_become_a_table_and_a_figure(tmp_path: Path) -> None:
    run, end = RunDirectory(tmp_path / "runs" / "subtraction"), subtracting()
    model = {"kind": "quadratic", "width": 400, "activation": "quadratic"}
    task = {"modulus": 23, "operation": "subtraction", "train_fraction": 0.3}
    run.write_manifest({"config": {"name": "one", "task": task, "model": model, "seeds": [0], "training": None}})
    run.write_checkpoint(5, {name: tensor[None].float() for name, tensor in end.parameters.items()})
    script.main([run.path], tmp_path / "out")
    content = json.loads((tmp_path / "out" / "other_operations.json").read_text())
    assert content["command"] == "python analyses/other_operations.py runs/subtraction"
    (row,) = content["networks"]
    assert (row["operation"], row["step"], row["explained"], row["run"]) == ("subtraction", 5, True, "runs/subtraction")
    assert (tmp_path / "out" / "other_operations.png").is_file()
    assert str(tmp_path) not in json.dumps(content)
