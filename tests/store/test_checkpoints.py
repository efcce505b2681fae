"""Checkpoints as other libraries and plain scripts write them: which state dicts are read, and at which steps."""

import json
import math
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import slt_grok
from slt_grok.errors import SltGrokError
from slt_grok.store import importers
from slt_grok.store.importers import read_checkpoints
from slt_grok.store.importers.steps import step_in_name
from slt_grok.studies.imports import import_published
from slt_grok.tasks import ModularTask
from tests.store import foreign
from tests.store.foreign import PAIRS, P

LABELS = PAIRS.sum(1) % P


def net(seed):
    return {"0.weight": torch.full((2, 3), float(seed)), "0.bias": torch.ones(2)}


def found(paths, step_from=None):
    """Step -> the number that the weights were filled with."""
    return {file.step: file.state["0.weight"][0, 0].item() for file in read_checkpoints(paths, step_from)}


# -- steps in names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("epoch=9-step=500", 500),
        ("epoch=19-step=1000-v1", 1000),
        ("checkpoint-500", 500),
        ("global_step500", 500),
        ("model_step_00500", 500),
        ("lr1e-3_step500", 500),
        ("model_500", 500),
        ("500", 500),
        ("epoch=29-val_loss=0.25", None),
        ("epoch=29", None),
        ("seed_3", None),
        ("mlp2", None),
        ("wd_10-1_mod_addition", None),
        ("p23_seed0_100", None),
        ("step=5-step=6", None),
        ("model_0.5", 0.5),  # no whole number: an error, not 5
        ("step=-5", -5),
        ("final", None),
    ],
)
def test_a_number_in_a_name_that_could_mean_several_things_is_not_guessed_at(name, step):
    text, note = step_in_name(name)
    assert (None if text is None else float(text)) == step
    assert bool(note) == (step is not None and "step" not in name and "checkpoint" not in name)


def test_the_only_number_that_differs_between_names_is_the_step(tmp_path):
    for step in (0, 100, 200):
        torch.save(net(step), tmp_path / f"p23_seed0_{step}.pt")
    assert found([tmp_path]) == {0: 0.0, 100: 100.0, 200: 200.0}
    (alone,) = read_checkpoints([tmp_path / "p23_seed0_100.pt"])
    assert alone.step is None
    assert "--step-from, here one of p, seed" in alone.without_step(alone=True)


def test_names_with_epochs_are_asked_for(tmp_path):
    for epoch in (9, 19):
        torch.save(net(epoch), tmp_path / f"epoch={epoch}-val_loss=0.{epoch}.ckpt")
    assert [file.step for file in read_checkpoints([tmp_path])] == [None, None]
    assert found([tmp_path], "epoch") == {9: 9.0, 19: 19.0}
    with pytest.raises(SltGrokError, match="--step-from to be one of epoch, got steps"):
        read_checkpoints([tmp_path], "steps")
    with pytest.raises(SltGrokError, match=r"val_loss to be a whole number of at least 0, got 0\.19"):
        read_checkpoints([tmp_path], "val_loss")


@pytest.mark.parametrize("step", [-1, 0.5, float("nan"), float("inf"), True, 2**60, "soon", [3], None])
def test_steps_that_are_none(tmp_path, step):
    torch.save({"step": step, "model": net(0)}, tmp_path / "a.pt")
    with pytest.raises(SltGrokError, match=r"a\.pt: expected step to be a "):
        read_checkpoints([tmp_path / "a.pt"])


def test_a_name_and_an_epoch_that_disagree(tmp_path):
    for epoch, step in ((300, 300), (3, None)):
        torch.save({"epoch": epoch, "model": net(0)}, tmp_path / "model_300.pt")
        (file,) = read_checkpoints([tmp_path / "model_300.pt"])
        assert file.step == step
    assert found([tmp_path], "epoch") == {3: 0.0}


# -- Lightning ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "model.", "module.", "model._orig_mod.", "_orig_mod.module."])
def test_a_lightning_folder(tmp_path, prefix):
    for name, epoch, step in (
        ("epoch=9-step=500.ckpt", 9, 500),
        ("epoch=19-step=1000-v1.ckpt", 19, 1000),
        ("epoch=29-val_loss=0.25.ckpt", 29, 1500),
        ("last.ckpt", 29, 1500),
    ):
        content = {
            "epoch": epoch,
            "global_step": step,
            "pytorch-lightning_version": "2.4.0",
            "state_dict": {prefix + name: tensor for name, tensor in net(step).items()},
            "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}, "param_groups": [{"lr": 1e-3}]}],
            "hyper_parameters": {"lr": 1e-3},
        }
        torch.save(content, tmp_path / name)
    files = read_checkpoints([tmp_path])
    assert sorted(file.step for file in files) == [500, 1000, 1500, 1500]
    for file in files:
        assert list(file.state) == ["0.weight", "0.bias"]
        assert (file.state["0.weight"] == file.step).all()
        assert file.prefix == prefix
        assert any(f"prefix {prefix} " in note for note in file.notes) == bool(prefix)


def test_a_prefix_that_not_all_names_have_is_kept(tmp_path):
    state = {"model.0.weight": torch.ones(2), "criterion.weight": torch.ones(2)}
    torch.save({"state_dict": state}, tmp_path / "a.ckpt")
    (file,) = read_checkpoints([tmp_path / "a.ckpt"])
    assert list(file.state) == list(state)
    torch.save({"encoder._orig_mod.weight": torch.ones(2), "head.bias": torch.ones(2)}, tmp_path / "b.ckpt")
    (file,) = read_checkpoints([tmp_path / "b.ckpt"])
    assert list(file.state) == ["encoder.weight", "head.bias"]
    assert any("compiled" in note for note in file.notes)


def test_a_copy_of_the_last_checkpoint_is_one_step(tmp_path):
    for name, step, seed in (("epoch=0-step=10", 10, 0), ("epoch=1-step=20", 20, 1), ("last", 20, 1)):
        state = {f"model.{name}": tensor for name, tensor in foreign.notebook(seed).state_dict().items()}
        torch.save({"state_dict": state, "global_step": step, "epoch": step // 10}, tmp_path / f"{name}.ckpt")
    notes = import_published([tmp_path], tmp_path / "run")
    assert any("last.ckpt is the same network as epoch=1-step=20.ckpt" in note for note in notes)
    assert slt_grok.trajectory(tmp_path / "run").coords["step"].tolist() == [10, 20]
    assert sum("The prefix model. of all names was stripped." in note for note in notes) == 1  # not once per file


# -- Hugging Face -------------------------------------------------------------------------------------------------


def trainer_folder(folder, step, state, shards=False, weights="model.safetensors"):
    """The files that the library's trainer writes."""
    folder.mkdir(parents=True)
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
        (folder / name).write_bytes(b"not for torch.load(weights_only=True)")
    log = [{"loss": 1.0 / step, "step": step, "epoch": 0.5}, {"eval_loss": 2.0, "step": step, "epoch": 0.5}]
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": step, "epoch": 0.5, "log_history": log}))
    if shards:
        names = {name: f"model-0000{i}-of-00002.safetensors" for i, name in enumerate(state, 1)}
        for name, file in names.items():
            save_file({name: state[name]}, folder / file, {"format": "pt"})
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": names}))
    elif weights.endswith(".bin"):
        torch.save(state, folder / weights)
    else:
        save_file(state, folder / weights, {"format": "pt"})


@pytest.mark.parametrize("kind", ["model.safetensors", "pytorch_model.bin", "shards"])
def test_hugging_face_folders(tmp_path, kind):
    for step in (500, 1000):
        weights = "model.safetensors" if kind == "shards" else kind
        trainer_folder(tmp_path / f"checkpoint-{step}", step, net(step), kind == "shards", weights)
    assert found([tmp_path]) == {500: 500.0, 1000: 1000.0}
    assert found([tmp_path / "checkpoint-500"]) == {500: 500.0}
    (tmp_path / "checkpoint-1000" / "trainer_state.json").unlink()
    assert found([tmp_path]) == {500: 500.0, 1000: 1000.0}  # from the folder's name
    for file in read_checkpoints([tmp_path]):
        assert any("optimizer.pt, rng_state.pth, scheduler.pt, training_args.bin" in note for note in file.notes)
    save_file(net(7), tmp_path / "model.safetensors")
    assert any("Ignored: model.safetensors, of which no step" in n for n in read_checkpoints([tmp_path])[0].notes)


def test_shards_that_are_incomplete(tmp_path):
    folder = tmp_path / "checkpoint-500"
    trainer_folder(folder, 500, net(0), shards=True)
    shard = folder / "model-00002-of-00002.safetensors"
    save_file({"other": torch.ones(2)}, shard)
    with pytest.raises(SltGrokError, match=r"index.json: expected a tensor 0.bias in model-00002"):
        read_checkpoints([folder])
    shard.unlink()
    with pytest.raises(SltGrokError, match=r"model-00002-of-00002.safetensors: no such checkpoint"):
        read_checkpoints([folder])
    (folder / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(SltGrokError, match="weight_map"):
        read_checkpoints([folder])
    (folder / "model.safetensors.index.json").unlink()
    with pytest.raises(SltGrokError, match=r"model-00001-of-00002\.safetensors: expected the index of this shard"):
        read_checkpoints([folder])


def test_a_hugging_face_folder_becomes_a_run(tmp_path):
    for step in (5, 10):
        trainer_folder(tmp_path / "out" / f"checkpoint-{step}", step, foreign.notebook(step).state_dict())
    (tmp_path / "train.txt").write_text("3\n1\n40\n")
    with pytest.raises(SltGrokError, match=r"contradicts .* all pairs as the train set; give .* --train-indices"):
        import_published([tmp_path / "out"], tmp_path / "run")
    import_published([tmp_path / "out"], tmp_path / "run", train_indices=tmp_path / "train.txt")
    trajectory = slt_grok.trajectory(tmp_path / "run")
    assert trajectory.coords["step"].tolist() == [5, 10]
    assert torch.equal(trajectory.parameters["W_E"][1, 0], foreign.notebook(10).state_dict()["embedding.weight"])
    training = slt_grok.load(tmp_path / "run")["training"]
    assert float(training.train_loss.sel(step=10)[0]) == pytest.approx(0.1)  # of log_history
    assert float(training.test_loss.sel(step=10)[0]) == 2.0


@pytest.mark.parametrize("step", [math.nan, math.inf, 1.5])
def test_a_wrong_step_of_the_log(tmp_path, step):
    trainer_folder(tmp_path / "checkpoint-5", 5, foreign.notebook().state_dict())
    log = {"global_step": 5, "log_history": [{"loss": 1.0, "step": step}]}
    (tmp_path / "checkpoint-5" / "trainer_state.json").write_text(json.dumps(log))
    with pytest.raises(SltGrokError, match=f"expected step to be a whole number of at least 0, got {step:g}"):
        import_published([tmp_path / "checkpoint-5"], tmp_path / "run")


# -- several checkpoints in one file ------------------------------------------------------------------------------


def config_object(**settings):
    """An instance of a class of the library's name, as its own demo saves it."""
    module = ModuleType("transformer_lens.HookedTransformerConfig")
    kind = type("HookedTransformerConfig", (), {"__module__": module.__name__})
    module.HookedTransformerConfig = kind
    config = kind()
    vars(config).update(settings)
    return module, config


@pytest.mark.parametrize("as_object", [False, True])
def test_the_grokking_demo_of_transformer_lens(tmp_path, monkeypatch, as_object):
    epochs = [99, 199, 299]
    states = [foreign.lens(1, seed=seed) for seed in (1, 2, 3)]
    rows = torch.randperm(P * P, generator=torch.Generator().manual_seed(598))
    train, test = np.linspace(4, 1, 300), np.linspace(5, 2, 300)
    config = {"act_fn": "relu", "normalization_type": None, "n_ctx": 3, "dtype": torch.float32}
    if as_object:
        module, config = config_object(**config)
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setitem(sys.modules, "transformer_lens", ModuleType("transformer_lens"))
    content = {
        "model": states[-1],
        "config": config,
        "checkpoints": states,
        "checkpoint_epochs": epochs,
        "train_losses": train.tolist(),
        "test_losses": test.tolist(),
        "train_indices": rows[:14],
        "test_indices": rows[14:],
    }
    torch.save(content, tmp_path / "grokking_demo.pth")
    monkeypatch.undo()
    notes = import_published([tmp_path / "grokking_demo.pth"], tmp_path / "run")
    trajectory = slt_grok.trajectory(tmp_path / "run")
    assert trajectory.coords["step"].tolist() == epochs
    for i, state in enumerate(states):
        found = trajectory.isel(step=[i])
        logits = found.network.stacked_outputs(found.stacked(torch.float64), PAIRS)[0]
        torch.testing.assert_close(logits, foreign.lens_logits(state), rtol=1e-10, atol=1e-10)
    assert trajectory.task.indices("train").tolist() == rows[:14].tolist()
    training = slt_grok.load(tmp_path / "run")["training"]
    assert training.step.values.tolist() == list(range(300))
    np.testing.assert_allclose(training.train_loss[:, 0], train)
    np.testing.assert_allclose(training.test_loss[:, 0], test)
    assert any("steps are those of checkpoint_epochs" in note for note in notes)
    assert any("they differ" in note for note in notes)  # random weights do not have these losses


def test_the_final_network_of_a_file_with_checkpoints_is_named_if_it_is_another(tmp_path):
    content = {
        "model": net(9),
        "checkpoints": [net(1), net(2)],
        "checkpoint_steps": torch.tensor([10, 20]),
        "epoch": 99,
    }
    torch.save(content, tmp_path / "a.pt")
    files = read_checkpoints([tmp_path / "a.pt"])
    assert {file.step: file.state["0.weight"][0, 0].item() for file in files} == {10: 1.0, 20: 2.0}
    assert any("Ignored" in note and "under `model`" in note for note in files[0].notes)
    assert "epoch" not in files[0].extras  # that of the final network
    torch.save(content | {"checkpoint_steps": [10]}, tmp_path / "b.pt")
    with pytest.raises(SltGrokError, match="checkpoint_steps to list the step of each of the 2 checkpoints"):
        read_checkpoints([tmp_path / "b.pt"])


def test_plain_lists_and_dicts_of_state_dicts(tmp_path):
    for name, content in (("ints", {0: net(0), 100: net(1)}), ("words", {"step_0": net(0), "step_100": net(1)})):
        torch.save(content, tmp_path / f"{name}.pt")
        assert found([tmp_path / f"{name}.pt"]) == {0: 0.0, 100: 1.0}
    torch.save([{"step": 0, "model": net(0)}, {"step": 100, "model": net(1)}], tmp_path / "wrapped.pt")
    assert found([tmp_path / "wrapped.pt"]) == {0: 0.0, 100: 1.0}
    torch.save([{"epoch": 0, "model": net(0)}, {"epoch": 100, "model": net(1)}], tmp_path / "epochs.pt")
    assert found([tmp_path / "epochs.pt"], "epoch") == {0: 0.0, 100: 1.0}
    torch.save([net(0), net(1), net(2)], tmp_path / "list.pt")
    with pytest.raises(SltGrokError, match=r"each of its 3 checkpoints; name it by --step-from, here the number of"):
        read_checkpoints([tmp_path / "list.pt"])
    assert found([tmp_path / "list.pt"], "50") == {0: 0.0, 50: 1.0, 100: 2.0}


# -- what is no checkpoint ----------------------------------------------------------------------------------------


def test_layouts_of_other_networks_are_not_taken_for_ours(tmp_path):
    state = {"W_E.weight": torch.ones(8, 4), "blocks.0.attn.in_proj_weight": torch.ones(12, 4)}
    torch.save({"epoch": 3, "model_state_dict": state}, tmp_path / "a.pth")
    with pytest.raises(SltGrokError, match="layout not recognized") as caught:
        import_published([tmp_path / "a.pth"], tmp_path / "run")
    sentence = str(caught.value)
    assert "W_E.weight, blocks.0.attn.in_proj_weight" in sentence
    assert "slt-grok import ... --module my_net.py:build --data my_net.py:data" in sentence
    (file,) = read_checkpoints([tmp_path / "a.pth"], "epoch")
    assert file.step == 3


def test_files_without_named_tensors(tmp_path):
    nested = {"encoder": {"weight": torch.ones(2)}, "decoder": {"weight": torch.ones(2)}}
    circle = {"model": {}}
    circle["model"]["model"] = circle
    for content, words in (
        ({}, "named tensors"),
        ({"model": {}}, "named tensors"),
        (nested, "named tensors"),
        (circle, "named tensors"),
        ({**net(0), "epoch": 3}, "named tensors, but epoch is an int; save model.state_dict"),
        ({1: torch.ones(2)}, "named tensors, but 1 is a tensor without a name"),
        ({"a": torch.ones(2).to_sparse()}, "expected a to be an ordinary tensor"),
        ([[net(0), net(1)]], "the training step of each of its 2 checkpoints"),
        ([{0: net(0), 1: net(1)}], "expected a list of state dicts, got lists in a list"),
    ):
        torch.save(content, tmp_path / "a.pt")
        with pytest.raises(SltGrokError, match=words):
            read_checkpoints([tmp_path / "a.pt"])
    with pytest.raises(SltGrokError, match="no such checkpoint"):
        read_checkpoints([tmp_path / "absent.pt"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(SltGrokError, match="in this folder"):
        read_checkpoints([tmp_path / "empty"])


def test_a_split_of_the_labels_task(tmp_path):
    """Labels of another operation than addition are that operation."""
    task = ModularTask(P, "multiplication")
    content = {"model": foreign.lens(1), "labels": task.labels, "train_indices": [3, 1, 40]}
    torch.save(content, tmp_path / "a.pt")
    network = importers.read(tmp_path / "a.pt")
    assert network.task.operation == "multiplication"
    assert network.task.indices("train").tolist() == [3, 1, 40]
    torch.save(content | {"labels": torch.zeros(P * P)}, tmp_path / "b.pt")
    with pytest.raises(SltGrokError, match="labels of all 49 pairs"):
        importers.read(tmp_path / "b.pt")
