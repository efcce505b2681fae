"""Published files: our own weights written in the published layouts, and the published networks where they are."""

import copy
import json
import math
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import torch

import slt_grok
from slt_grok.errors import SltGrokError
from slt_grok.store import RunDirectory, importers
from slt_grok.studies.imports import import_published
from slt_grok.tasks import ModularTask
from tests.store import foreign
from tests.store.published import (
    CONFIG,
    HEADS,
    MLP,
    PIZZA,
    TASK,
    D,
    P,
    logits_of,
    mean_loss,
    pizza_file,
    progress_file,
    published_logits,
    published_state,
)

REFERENCE = Path(__file__).parents[2] / ".." / "shared" / "reference" / "checkpoints"

# -- what a file holds ----------------------------------------------------------------------------------------


def test_progress_measures_file(tmp_path):
    path = progress_file(tmp_path / "final.pth")
    assert importers.recognize(path) == "progress_measures"
    network = importers.read(path)
    torch.testing.assert_close(
        logits_of(network), published_logits(published_state(True), True), rtol=1e-12, atol=1e-12
    )
    assert network.task == TASK
    assert network.step == 20
    assert network.config["model"] == {
        "kind": "transformer",
        "d_model": D,
        "n_heads": HEADS,
        "d_mlp": MLP,
        "activation": "relu",
        "layout": "a_b_equals",
        "attention_rate": 1.0,
    }
    assert network.settings == {"learning_rate": 1e-3, "weight_decay": 1}
    steps, values, _ = network.curves["test_loss"]
    assert steps.tolist() == [0, 10, 20]
    np.testing.assert_allclose(values, [5, 4.99, 4.98])
    assert [note for note in network.notes if "they agree" in note] == network.notes
    assert len(network.notes) == 2


def test_contradictions_are_said_and_the_optimizers_word_counts(tmp_path):
    groups = {"state": {}, "param_groups": [{"lr": 1e-3, "initial_lr": 1e-3, "weight_decay": 0.1}]}
    network = importers.read(progress_file(tmp_path / "a.pth", optimizer=groups, train_loss=0.5))
    assert network.settings["weight_decay"] == 0.1
    assert any("weight_decay 1" in note and "0.1" in note for note in network.notes)
    assert any("train_loss 0.5" in note and "they differ" in note for note in network.notes)


def test_a_curve_of_unknown_spacing_is_left_out(tmp_path):
    network = importers.read(progress_file(tmp_path / "a.pth", test_losses=[1.0] * 7))
    assert set(network.curves) == {"train_loss"}
    assert any("7 values of test_loss fit neither" in note for note in network.notes)


def test_state_dict_alone(tmp_path):
    path = tmp_path / "_grok run (x)_300.pth"
    torch.save(published_state(True), path)
    network = importers.read(path)
    assert network.format == "progress_measures"
    assert network.step == 300
    assert network.config["name"] == "grok_run__x__300"
    assert network.task == ModularTask(P, train_fraction=1.0)
    assert not network.task_known
    assert network.curves is None
    assert any("addition is assumed" in note for note in network.notes)
    torch.testing.assert_close(
        logits_of(network), published_logits(published_state(True), True), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("rate", [0, 0.25, 1])
def test_clock_pizza_file(tmp_path, rate):
    path = pizza_file(tmp_path, attn_coeff=rate)
    assert importers.recognize(path) == "clock_pizza"
    network = importers.read(path)
    expected = published_logits(published_state(False), False, rate)
    torch.testing.assert_close(logits_of(network), expected, rtol=1e-12, atol=1e-12)
    assert network.task == ModularTask(P, train_fraction=1.0)
    assert network.step == 20000
    assert network.config["name"] == "abc1"
    assert network.config["model"]["attention_rate"] == rate
    assert network.config["model"]["layout"] == "a_b"
    assert network.settings == {"learning_rate": 0.001, "weight_decay": 2.0, "train_fraction": 0.8, "steps": 20000}
    assert "80%" in network.notes[0]
    assert "no test set" in network.notes[0]


def test_operation_is_read_from_the_function_and_never_executed(tmp_path):
    for text, operation in (
        ("lambda x: (x[0] - x[1]) % 7", "subtraction"),
        ("lambda x:(x[0]*x[1])%7", "multiplication"),
    ):
        assert importers.read(pizza_file(tmp_path, funcs=text)).task.operation == operation
    for text in ("lambda x: (x[0]+x[1])%11", f"__import__('pathlib').Path('{tmp_path}/ran').touch()"):
        with pytest.raises(SltGrokError, match="funcs"):
            importers.read(pizza_file(tmp_path, funcs=text))
    assert not (tmp_path / "ran").exists()


# -- run directories ------------------------------------------------------------------------------------------


def test_a_run_from_one_file(tmp_path):
    notes = import_published([progress_file(tmp_path / "final.pth")], tmp_path / "run")
    assert any("3 with all losses" in note for note in notes)
    trajectory = slt_grok.trajectory(tmp_path / "run")
    assert trajectory.dims == ("step", "seed")
    assert trajectory.coords["step"].tolist() == [20]
    assert trajectory.task == TASK
    outputs = trajectory.network.stacked_outputs(trajectory.stacked(torch.float64), TASK.inputs)[0]
    logits = published_logits(published_state(True), True)
    torch.testing.assert_close(outputs, logits, rtol=1e-12, atol=1e-12)
    training = slt_grok.load(tmp_path / "run")["training"]
    assert training.train_loss.dims == ("step", "seed")
    assert training.step.values.tolist() == [0, 10, 20]
    np.testing.assert_allclose(training.train_loss[:, 0], [5, 4, 3])
    np.testing.assert_allclose(training.test_loss[:, 0], [5, 4.99, 4.98])
    right = (logits.argmax(-1) == TASK.labels).double()
    for split in ("train", "test"):
        found = training[f"{split}_accuracy"][:, 0].values
        assert np.isnan(found[:2]).all()
        assert found[2] == pytest.approx(right[TASK.indices(split)].mean().item())
    config = RunDirectory(tmp_path / "run").manifest["config"]
    assert config["seeds"] == [0]
    assert config["training"] is None
    assert config["source"]["format"] == "progress_measures"
    source = config["source"]
    assert [*source["contradictions"], *source["notes"]] == notes[:-2]  # the last ones are on gamma and the cost
    assert len(set(notes)) == len(notes)


def test_several_files_are_several_steps(tmp_path):
    """Files of single epochs hold no config: the one that has it speaks for all."""
    files = [
        progress_file(tmp_path / "30.pth", seed=2, epoch=30),
        progress_file(tmp_path / "10.pth", seed=1, epoch=10, config=None),
    ]
    torch.save({"model": published_state(True, 5)}, tmp_path / "init.pth")
    import_published([*files, tmp_path / "init.pth"], tmp_path / "run")
    trajectory = slt_grok.trajectory(tmp_path / "run")
    assert trajectory.coords["step"].tolist() == [0, 10, 30]
    assert trajectory.task == TASK
    for i, seed in enumerate((5, 1, 2)):
        expected = published_state(True, seed)["embed.W_E"].T
        assert torch.equal(trajectory.parameters["W_E"][i, 0], expected)


def test_where_no_curve_is_stored_the_checkpoints_are_evaluated(tmp_path):
    first = pizza_file(tmp_path, "abc1_5")
    (tmp_path / "config_abc1.json").write_text(json.dumps(PIZZA))
    (tmp_path / "config_abc1_5.json").unlink()
    second = pizza_file(tmp_path, "abc1")
    import_published([second, first], tmp_path / "run")
    training = slt_grok.load(tmp_path / "run")["training"]
    assert training.step.values.tolist() == [5, 20000]
    task = ModularTask(P, train_fraction=1.0)
    expected = mean_loss(published_logits(published_state(False), False, 0.25), task, "all")
    np.testing.assert_allclose(training.train_loss, expected, rtol=1e-12)
    assert np.isnan(training.test_loss).all()


def test_files_that_do_not_make_a_run(tmp_path):
    one = progress_file(tmp_path / "one.pth")
    out = tmp_path / "run"
    with pytest.raises(SltGrokError, match="at least one file"):
        import_published([], out)
    same_step = progress_file(tmp_path / "other.pth", seed=1)
    with pytest.raises(SltGrokError, match="one file per step"):
        import_published([one, same_step], out)
    other_task = progress_file(tmp_path / "task.pth", epoch=30, config=CONFIG | {"seed": 4})
    with pytest.raises(SltGrokError, match="files of one network"):
        import_published([one, other_task], out)
    no_step = tmp_path / "nameless.pth"
    torch.save(published_state(True), no_step)
    with pytest.raises(SltGrokError, match=r"nameless.*step"):
        import_published([one, no_step], out)
    assert not out.exists()
    assert any("step 0" in note for note in import_published([no_step], out))
    with pytest.raises(SltGrokError, match="already holds a run"):
        import_published([one], out)


# -- bad input ------------------------------------------------------------------------------------------------


def rejects(path, words, format=None):
    with pytest.raises(SltGrokError, match=words) as caught:
        importers.read(path, format)
    assert path.name in str(caught.value) or "config_" in str(caught.value) or path.parent.name in str(caught.value)


def test_foreign_and_damaged_files(tmp_path):
    rejects(tmp_path / "absent.pth", "no such checkpoint")
    whole = progress_file(tmp_path / "whole.pth")
    cut = tmp_path / "cut.pth"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    rejects(cut, "complete torch checkpoint")
    text = tmp_path / "text.pth"
    text.write_text("epoch,loss\n")
    rejects(text, "complete torch checkpoint")
    for name, content in (("tensor", torch.ones(3)), ("list", [1, 2]), ("number", {"model": 3})):
        torch.save(content, tmp_path / f"{name}.pth")
        rejects(tmp_path / f"{name}.pth", "expected a state dict of named tensors")
    path = tmp_path / "mlp.pth"
    torch.save({"embed.weight": torch.ones(7, 4)}, path)
    rejects(path, "expected one of the formats clock_pizza, devinterp_mlp, progress_measures, transformer_lens")
    rejects(path, "expected a transformer on", "progress_measures")
    rejects(path, "expected a transformer on", "clock_pizza")
    with pytest.raises(SltGrokError, match="format"):
        importers.read(whole, "pickle")


class Runs:
    def __reduce__(self):
        return (Path.touch, (Path(self.path),))


def test_no_code_of_a_file_is_executed(tmp_path):
    trap = Runs()
    trap.path = str(tmp_path / "ran")
    torch.save({"model": trap}, tmp_path / "trap.pth")
    rejects(tmp_path / "trap.pth", "refused, since reading it would execute code")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("unembed.W_U"), "unembed.W_U, but it is missing"),
        (lambda s: s.update({"ln.w": torch.ones(3)}), "also has ln.w"),
        (lambda s: s.update({"blocks.0.mlp.b_in": torch.ones(5)}), "b_in of shape .12,"),
        (lambda s: s.update({"blocks.0.attn.W_Q": torch.ones(4, 4)}), "W_Q with 3 dimensions"),
        (lambda s: s.update({"blocks.0.attn.W_K": torch.ones(2, 3, 8)}), "W_K of shape"),
        (lambda s: s.update({"blocks.0.attn.W_O": torch.ones(8, 9)}), "W_O of shape"),
        (lambda s: s.update({"unembed.W_U": torch.ones(8, 20)}), "W_U of shape"),
        (lambda s: s["embed.W_E"].fill_(math.nan), "embed.W_E holds NaN"),
    ],
)
def test_tensors_that_do_not_fit(tmp_path, change, words):
    state = copy.deepcopy(published_state(True))
    change(state)
    path = tmp_path / "a.pth"
    torch.save({"model": state}, path)
    rejects(path, words)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (CONFIG | {"fn_name": "rand"}, "fn_name"),
        (CONFIG | {"p": 113}, "p = 113"),
        (CONFIG | {"act_type": "Tanh"}, "activation"),
        (CONFIG | {"num_layers": 2}, "2 layers"),
        ([1, 2], "table of settings"),
    ],
)
def test_configs_that_are_not_supported(tmp_path, config, words):
    path = tmp_path / "a.pth"
    torch.save({"model": published_state(True), "config": config}, path)
    rejects(path, words)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_layers": 2}, "expected 2 layers as stated in config_abc1.json, the weights have 1"),
        ({"eqn_sign": True}, "eqn_sign"),
        ({"diff_vocab": 1}, "as many tokens for a as for b"),
        ({"diff_vocab": 1, "n_layers": 2}, "diff_vocab"),
        ({"C": 11, "funcs": "lambda x: (x[0]+x[1])%11"}, "C = 11"),
        ({"C": "many"}, "numbers for C"),
        ({"act_fn": "Tanh"}, "activation"),
    ],
)
def test_clock_pizza_configs_that_are_not_supported(tmp_path, changes, words):
    rejects(pizza_file(tmp_path, **changes), words)


def test_clock_pizza_files_that_lack_something(tmp_path):
    path = pizza_file(tmp_path)
    config = tmp_path / "config_abc1.json"
    config.write_text(json.dumps({k: v for k, v in PIZZA.items() if k != "attn_coeff"}))
    rejects(path, "attn_coeff")
    config.write_text("{")
    rejects(path, "readable JSON")
    config.unlink()
    rejects(path, r"config_abc1\.json: no such file")
    rejects(pizza_file(tmp_path, blocks=2), "expected 1 layers as stated in config_abc1.json, the weights have 2")


# -- the published networks -----------------------------------------------------------------------------------


def published(name):
    path = REFERENCE / name
    if not path.is_file():
        pytest.skip(f"{path} is absent: the reference checkpoints are not part of the project")
    return path


def test_published_progress_measures_run(tmp_path):
    path = published("progress_measures/wd_10-1_mod_addition_loss_curve.pth")
    notes = import_published([path], tmp_path / "run")
    assert any("weight_decay 1," in note and "0.1" in note for note in notes)
    assert sum("they agree" in note for note in notes) == 2
    training = slt_grok.load(tmp_path / "run")["training"]
    assert training.step.values[[0, 1, -1]].tolist() == [0, 10, 107790]
    assert training.sizes["step"] == 10780
    assert float(training.train_loss[-1, 0]) == pytest.approx(9.2025e-9, rel=1e-4)
    assert float(training.test_loss[-1, 0]) == pytest.approx(4.9915e-7, rel=1e-4)
    assert slt_grok.trajectory(tmp_path / "run").coords["step"].tolist() == [107790]


def linear_beta(state):
    """L3 relu L2 relu L1(x1 + x2) on all pairs of 59."""
    w = {name: tensor.double() for name, tensor in state.items()}
    a, b = torch.cartesian_prod(torch.arange(59), torch.arange(59)).T
    first = ((w["embed.weight"][a] + w["embed.weight"][b]) @ w["l1.weight"].T + w["l1.bias"]).relu()
    return (first @ w["l2.weight"].T + w["l2.bias"]).relu() @ w["unembed.weight"].T


PUBLISHED = {
    "clock_pizza/model_p99zdpze5l.pt": (59, lambda state: foreign.own_code_logits(state, False, 0, p=59)),
    "clock_pizza/model_l8k1hzciux.pt": (59, lambda state: foreign.own_code_logits(state, False, 1, p=59)),
    "clock_pizza/model_4asyr7ht1p.pt": (
        59,
        lambda state: foreign.own_code_logits(state, False, 0.0074246143147905785, p=59),
    ),
    "clock_pizza/model_p71frej8t7.pt": (59, linear_beta),
    "progress_measures/wd_10-1_mod_addition_loss_curve.pth": (
        113,
        lambda content: foreign.own_code_logits(content["model"], True, p=113),
    ),
}


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_published_networks(name):
    """Logits on all pairs as the published formulas give them, loss and accuracy as the reference values say."""
    path = published(name)
    modulus, formula = PUBLISHED[name]
    network = importers.read(path)
    assert network.task.modulus == modulus
    logits = logits_of(network)
    expected = formula(torch.load(path, weights_only=True, map_location="cpu"))
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-6)
    golden = json.loads((REFERENCE.parent / "golden.json").read_text(), parse_float=Decimal)
    key = f"{path.parent.name}/{path.stem.removeprefix('model_')}"
    assert (logits.argmax(-1) == network.task.labels).all()  # accuracy 1 in all of them
    if key not in golden:  # the two-layer network has no reference values: as small as its neighbors'
        assert key == "clock_pizza/4asyr7ht1p"
        assert mean_loss_of(logits, network.task, "all") < 1e-6
        return
    names = {"cross_entropy_all": "all", "train_loss": "train", "test_loss": "test"}
    compared = [split for value, split in names.items() if value in golden[key]]
    assert compared
    for value, split in names.items():
        if value in golden[key]:
            half = Decimal(5).scaleb(golden[key][value].as_tuple().exponent - 1)
            found = mean_loss_of(logits, network.task, split)
            assert abs(Decimal(found) - golden[key][value]) <= half, f"{value}: {found} against {golden[key][value]}"


def mean_loss_of(logits, task, split):
    rows = task.indices(split)
    return torch.nn.functional.cross_entropy(logits[rows], task.labels[rows]).item()
