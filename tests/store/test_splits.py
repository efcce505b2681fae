"""Where the train set and the step of an imported network come from, and what contradicts them."""

import json
import math

import numpy as np
import pytest
import torch

import slt_grok
from slt_grok.errors import SltGrokError
from slt_grok.store import RunDirectory, importers
from slt_grok.store.importers.splits import read_rows
from slt_grok.studies.imports import import_published
from slt_grok.tasks import ModularTask
from tests.store import foreign
from tests.store.foreign import PAIRS, P
from tests.store.published import mean_loss, progress_file, published_logits, published_state


def that_code(seed):
    return ModularTask(P, train_fraction=0.3, split_seed=seed, split_rule="progress_measures")


def recorded_file(path, task, epochs=50, shift=0.0, **more):
    """Weights with recorded losses that end at those of the weights, and neither config nor epoch."""
    state = published_state(True)
    logits = published_logits(state, True)
    train, test = (mean_loss(logits, task, split) + shift for split in ("train", "test"))
    content = {
        "model": state,
        "train_losses": [train + 0.02 * (epochs - 1 - i) for i in range(epochs)],
        "test_losses": [test + 0.02 * (epochs - 1 - 10 * i) for i in range((epochs - 1) // 10 + 1)],
    }
    content["test_losses"][-1] = test
    torch.save(content | more, path)
    return path


@pytest.mark.parametrize("seed", [0, 3])
def test_recorded_losses_give_the_step_and_the_split(tmp_path, seed):
    path = recorded_file(tmp_path / "mod_addition.pth", that_code(seed))
    network = importers.read(path)
    assert network.step == 49  # the last of 50 recorded losses, from epoch 0 on
    assert network.task == that_code(seed)
    assert any("50 recorded losses" in note for note in network.notes)
    assert any(f"for seed {seed}, 30% of the pairs, which gives the stored train_loss" in n for n in network.notes)
    assert sum("they agree" in note for note in network.notes) == 2
    import_published([path], tmp_path / "run")
    assert slt_grok.trajectory(tmp_path / "run").coords["step"].tolist() == [49]
    assert slt_grok.trajectory(tmp_path / "run").task == that_code(seed)
    source = RunDirectory(tmp_path / "run").manifest["config"]["source"]
    assert any("is assumed" in note for note in source["notes"])


def test_seed_0_is_preferred_and_other_splits_that_fit_are_mentioned(tmp_path):
    state = {name: torch.zeros_like(tensor) for name, tensor in published_state(True).items()}
    torch.save(
        {"model": state, "train_losses": [math.log(P)] * 11, "test_losses": [math.log(P)] * 2}, tmp_path / "a.pth"
    )
    network = importers.read(tmp_path / "a.pth")
    assert network.task == that_code(0)
    assert any("so do 9 other splits, so it is not certain" in note for note in network.notes)


def test_stored_losses_that_no_assumed_split_gives_are_a_contradiction(tmp_path):
    path = recorded_file(tmp_path / "a.pth", that_code(0), shift=5.0)
    with pytest.raises(SltGrokError, match=r"a\.pth: .*stored train_loss .* contradicts .* seed 0.*--train-indices"):
        import_published([path], tmp_path / "run")
    assert not (tmp_path / "run").exists()
    torch.save({"model": foreign.lens(1), "train_loss": 0.01}, tmp_path / "b.pt")
    with pytest.raises(SltGrokError, match=r"b\.pt: .*contradicts .* all pairs"):
        importers.read(tmp_path / "b.pt")


def test_a_test_loss_contradicts_an_empty_test_set(tmp_path):
    state = foreign.lens(1)
    losses = torch.nn.functional.cross_entropy(foreign.lens_logits(state), PAIRS.sum(1) % P).item()
    torch.save({"model": state, "train_loss": losses}, tmp_path / "a.pt")
    assert importers.read(tmp_path / "a.pt").task.train_fraction == 1
    torch.save({"model": state, "train_loss": losses, "test_loss": losses}, tmp_path / "b.pt")
    with pytest.raises(SltGrokError, match="contradicts"):
        importers.read(tmp_path / "b.pt")


def test_a_name_that_contradicts_the_number_of_losses(tmp_path):
    with pytest.raises(SltGrokError, match="number in its name, 2, to fit its 50 recorded losses"):
        importers.read(recorded_file(tmp_path / "run_b_2.pth", that_code(0)))
    for name in ("net_49.pth", "net_50.pth"):
        assert importers.read(recorded_file(tmp_path / name, that_code(0))).step == int(name[4:6])
    assert importers.read(recorded_file(tmp_path / "b_2.pth", that_code(0), epoch=49)).step == 49


@pytest.mark.parametrize("suffix", ["json", "txt", "npy", "pt"])
def test_a_given_train_set_replaces_the_assumed_one(tmp_path, suffix):
    rows = [3, 1, 48, 20]
    file = tmp_path / f"rows.{suffix}"
    match suffix:
        case "json":
            file.write_text(json.dumps(rows))
        case "txt":
            file.write_text("\n".join(map(str, rows)))
        case "npy":
            np.save(file, rows)
        case "pt":
            torch.save(torch.tensor(rows), file)
    path = recorded_file(tmp_path / "a.pth", that_code(0), shift=5.0)
    notes = import_published([path], tmp_path / "run", train_indices=file)
    assert slt_grok.trajectory(tmp_path / "run").task.indices("train").tolist() == rows
    assert any(f"train set is that of rows.{suffix}" in note for note in notes)
    assert sum("they differ" in note for note in notes) == 2
    stated = progress_file(tmp_path / "stated.pth")
    import_published([stated], tmp_path / "other", train_indices=file)
    assert slt_grok.trajectory(tmp_path / "other").task.indices("train").tolist() == rows


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[1, 1]", "distinct numbers in 0..48"),
        ("[49]", "distinct numbers in 0..48"),
        ("[-1]", "distinct numbers in 0..48"),
        ("[]", "list of whole numbers"),
        ("[0.5]", "list of whole numbers"),
        ("[true]", "list of whole numbers"),
        ("[[1]]", "list of whole numbers"),
        ("{", "list of whole numbers"),
        ('["a"]', "list of whole numbers"),
        ("3", "list of whole numbers"),
        ('{"a": 3}', "list of whole numbers"),
    ],
)
def test_train_sets_that_are_none(tmp_path, content, words):
    path, rows = progress_file(tmp_path / "a.pth"), tmp_path / "rows.json"
    rows.write_text(content)
    with pytest.raises(SltGrokError, match=rf"rows\.json: .*{words}"):
        import_published([path], tmp_path / "run", train_indices=rows)
    assert not (tmp_path / "run").exists()


def test_train_set_files_that_cannot_be_read(tmp_path):
    for name, words in (
        ("absent.json", "No such file"),
        ("rows.csv", "in a file .json"),
        ("absent.npy", "No such file"),
    ):
        with pytest.raises(SltGrokError, match=words):
            read_rows(tmp_path / name)
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(SltGrokError, match="whole numbers"):
        read_rows(tmp_path / "objects.npy")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_precision_are_converted_with_a_note(tmp_path, dtype):
    state = {name: tensor.to(dtype) for name, tensor in foreign.lens(1).items() if tensor.is_floating_point()}
    torch.save(state, tmp_path / "a_5.pt")
    network = importers.read(tmp_path / "a_5.pt")
    assert network.parameters["W_E"].dtype == torch.float32
    assert torch.equal(network.parameters["W_E"], state["embed.W_E"].float())
    assert any(f"weights are {dtype}; they are stored as torch.float32" in note for note in network.notes)
