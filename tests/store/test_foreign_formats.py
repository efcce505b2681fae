"""Imported networks against the foreign network in plain torch, for every format and depth; files that do not fit."""

import copy
import math
import pickle
import random

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import slt_grok
from slt_grok.errors import SltGrokError
from slt_grok.store import importers
from slt_grok.studies.imports import import_published
from slt_grok.tasks import ModularTask
from tests.store import foreign
from tests.store.foreign import HEADS, PAIRS, D, P

LABELS = PAIRS.sum(1) % P


def imported_logits(path, format=None):
    network = importers.read(path, format)
    module = network.module.double()
    module.load_state_dict(network.parameters)
    assert torch.equal(network.task.inputs, PAIRS)
    assert torch.equal(network.task.labels, LABELS)
    return module(PAIRS).detach()


def same(found, expected):
    torch.testing.assert_close(found, expected.detach(), rtol=1e-10, atol=1e-10)


# -- logits on all pairs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@pytest.mark.parametrize(("rate", "act"), [(0, "ReLU"), (0.37, "GeLU"), (1, "ReLU")])
def test_clock_pizza_transformers(tmp_path, depth, rate, act):
    state = foreign.own_code(depth, False)
    path = foreign.pizza_file(tmp_path, state, n_layers=depth, attn_coeff=rate, act_fn=act)
    assert importers.recognize(path) == "clock_pizza"
    same(imported_logits(path), foreign.own_code_logits(state, False, rate, act))


@pytest.mark.parametrize("depth", [1, 2])
def test_clock_pizza_transformers_whose_width_is_no_multiple_of_the_heads(tmp_path, depth):
    state = foreign.own_code(depth, False, d=9, d_head=9 // HEADS)
    path = foreign.pizza_file(tmp_path, state, n_layers=depth)
    same(imported_logits(path), foreign.own_code_logits(state, False, 0.25))


@pytest.mark.parametrize("rate", [0, 0.37, 1])
def test_clock_pizza_transformers_with_separate_vocabularies(tmp_path, rate):
    state = foreign.own_code(1, False, separate=True)
    assert state["embed.W_E"].shape == (D, 2 * P)
    path = foreign.pizza_file(tmp_path, state, diff_vocab=1, attn_coeff=rate)
    same(imported_logits(path), foreign.own_code_logits(state, False, rate, separate=True))
    parameters = importers.read(path).parameters
    assert torch.equal(parameters["W_E_right"], state["embed.W_E"].T[P:])
    import_published([path], tmp_path / "run")
    trajectory = slt_grok.trajectory(tmp_path / "run")
    found = trajectory.network.stacked_outputs(trajectory.stacked(torch.float64), PAIRS)[0]
    same(found, foreign.own_code_logits(state, False, rate, separate=True))


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_progress_measures_transformers(tmp_path, depth):
    state = foreign.own_code(depth, True)
    torch.save({"model": state, "config": {"p": P, "num_layers": depth}}, tmp_path / "a_100.pth")
    assert importers.recognize(tmp_path / "a_100.pth") == "progress_measures"
    same(imported_logits(tmp_path / "a_100.pth"), foreign.own_code_logits(state, True))


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("answers", [P, P + 1])
@pytest.mark.parametrize("d", [D, D + 3])  # D is the number of tokens too, so that W_E is square
def test_transformer_lens(tmp_path, depth, answers, d):
    assert D == P + 1
    state = foreign.lens(depth, answers=answers, d=d)
    torch.save(state, tmp_path / "lens_7.pt")
    assert importers.recognize(tmp_path / "lens_7.pt") == "transformer_lens"
    same(imported_logits(tmp_path / "lens_7.pt"), foreign.lens_logits(state))


@pytest.mark.parametrize(("depth", "causal"), [(1, True), (1, False), (2, False)])
def test_transformer_lens_on_two_tokens(tmp_path, depth, causal):
    state = foreign.lens(depth, context=2, causal=causal)
    torch.save({"model": state, "config": {"act_fn": "gelu", "normalization_type": None}}, tmp_path / "a.pt")
    same(imported_logits(tmp_path / "a.pt"), foreign.lens_logits(state, "GeLU", causal))
    assert not any("activation" in note for note in importers.read(tmp_path / "a.pt").notes)


@pytest.mark.parametrize("letter", ["A", "B", "C", "D", "X"])
def test_linear_models(tmp_path, letter):
    modules = foreign.linear(letter)
    path = foreign.pizza_file(tmp_path, modules.state_dict(), model_type=letter)
    assert importers.recognize(path) == "clock_pizza"
    same(imported_logits(path), foreign.linear_logits(modules, letter))
    # the weights are theirs, no two of them added up
    ours = importers.read(path).parameters.values()
    total = sum(w.double().square().sum() for w in modules.state_dict().values())
    assert sum(w.double().square().sum() for w in ours).item() == pytest.approx(total.item(), rel=1e-6)


@pytest.mark.parametrize("bias", [False, True])
def test_the_notebooks_mlp(tmp_path, bias):
    module = foreign.notebook(bias=bias)
    torch.save(module.state_dict(), tmp_path / "checkpoint_250.pt")
    assert importers.recognize(tmp_path / "checkpoint_250.pt") == "devinterp_mlp"
    same(imported_logits(tmp_path / "checkpoint_250.pt"), module.double()(PAIRS))
    parameters = importers.read(tmp_path / "checkpoint_250.pt").parameters
    assert sum(w.numel() for w in parameters.values()) == sum(w.numel() for w in module.parameters())


def test_safetensors(tmp_path):
    module = foreign.notebook()
    save_file(module.state_dict(), tmp_path / "3.safetensors")
    same(imported_logits(tmp_path / "3.safetensors"), module.double()(PAIRS))


@pytest.mark.parametrize(
    "format", ["progress_measures, 2 layers", "clock_pizza, 3 layers", "clock_pizza C", "clock_pizza X"]
)
def test_through_a_run_directory(tmp_path, format):
    state, write = files(tmp_path)[format]
    path = write(state)
    import_published([path], tmp_path / "run", format.split()[0].rstrip(","))
    trajectory = slt_grok.trajectory(tmp_path / "run")
    found = trajectory.network.stacked_outputs(trajectory.stacked(torch.float64), PAIRS)[0]
    same(found, imported_logits(path))


# -- what else a file says ----------------------------------------------------------------------------------------


def test_a_folder_of_numbered_files_is_a_trajectory(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    modules = {step: foreign.notebook(seed=step) for step in (0, 250, 1000)}
    for step, module in modules.items():
        torch.save(module.state_dict(), folder / f"model_{step}.pt")
    (folder / "notes.txt").write_text("not a checkpoint")
    import_published([folder], tmp_path / "run")
    trajectory = slt_grok.trajectory(tmp_path / "run")
    assert trajectory.coords["step"].tolist() == [0, 250, 1000]
    found = trajectory.network.stacked_outputs(trajectory.stacked(torch.float64), PAIRS)
    for logits, module in zip(found, modules.values(), strict=True):
        same(logits, module.double()(PAIRS))
    (tmp_path / "empty").mkdir()
    with pytest.raises(SltGrokError, match=r"empty: expected checkpoints .* in this folder"):
        import_published([tmp_path / "empty"], tmp_path / "other")


def notebook_split(seed, fraction):
    """The notebook's two functions in other words: a set of pairs, the numbers of its elements shuffled."""
    pairs = list(set(map(tuple, PAIRS.tolist())))
    order = list(range(len(pairs)))
    random.seed(seed)
    random.shuffle(order)
    size = int(fraction * len(pairs))
    return [pairs[i] for i in order[:size]], [pairs[i] for i in order[size:]]


def test_the_notebooks_seed_gives_back_the_train_set(tmp_path):
    module = foreign.notebook()
    with torch.no_grad():
        module.linear2.weight.mul_(30)  # so that it matters which pairs the loss is taken over
    train, test = notebook_split(3, 0.4)
    losses = {
        name: torch.nn.functional.cross_entropy(module(torch.tensor(part)), torch.tensor(part).sum(1) % P).item()
        for name, part in (("train_loss", train), ("test_loss", test))
    }
    params = {"p": P, "train_frac": 0.4, "random_seed": 3}
    torch.save({"model": module.state_dict(), "params": params, "step": 500, **losses}, tmp_path / "a.pt")
    network = importers.read(tmp_path / "a.pt")
    assert network.step == 500
    assert [tuple(pair) for pair in network.task.data("train")[0].tolist()] == train
    assert {tuple(pair) for pair in network.task.data("test")[0].tolist()} == set(test)
    assert sum("they agree" in note for note in network.notes) == 2
    params["random_seed"] = 4
    torch.save({"model": module.state_dict(), "params": params, "step": 500, **losses}, tmp_path / "b.pt")
    assert sum("they differ" in note for note in importers.read(tmp_path / "b.pt").notes) == 2
    import_published([tmp_path / "a.pt"], tmp_path / "run")
    assert slt_grok.trajectory(tmp_path / "run").task == network.task  # through the manifest
    training = slt_grok.load(tmp_path / "run")["training"]
    assert float(training.train_loss[0, 0]) == pytest.approx(losses["train_loss"], rel=1e-5)
    assert float(training.test_loss[0, 0]) == pytest.approx(losses["test_loss"], rel=1e-5)


def test_train_indices_of_a_transformer_lens_file(tmp_path):
    state = foreign.lens(1)
    rows = torch.randperm(P * P, generator=torch.Generator().manual_seed(598))[:20]
    loss = torch.nn.functional.cross_entropy(foreign.lens_logits(state)[rows], LABELS[rows])
    content = {"model": state, "train_indices": rows, "train_loss": loss, "epoch": 99}
    torch.save(content, tmp_path / "a.pt")
    network = importers.read(tmp_path / "a.pt")
    assert network.task.indices("train").tolist() == rows.tolist()
    assert network.task.indices("test").tolist() == sorted(set(range(P * P)) - set(rows.tolist()))
    assert network.step == 99
    assert any("they agree" in note for note in network.notes)
    torch.save(content | {"train_indices": [0, 0]}, tmp_path / "b.pt")
    rejects(tmp_path / "b.pt", "train_indices to be distinct numbers")


# -- files that do not fit ----------------------------------------------------------------------------------------


def rejects(path, words, format=None):
    with pytest.raises(SltGrokError, match=words) as caught:
        importers.read(path, format)
    sentence = str(caught.value)
    assert path.name in sentence or "config_" in sentence
    assert "\n" not in sentence


def files(folder):
    """A state dict of each format, and how to write it."""

    def save(name):
        def write(state):
            torch.save(state, folder / name)
            return folder / name

        return write

    def pizza(**changes):
        return lambda state: foreign.pizza_file(folder, state, **changes)

    def with_config(state):
        torch.save({"model": state, "config": {"p": P}}, folder / "a.pth")
        return folder / "a.pth"

    def with_params(state):
        torch.save({"model": state, "params": {"p": P}}, folder / "b.pt")
        return folder / "b.pt"

    found = {
        "progress_measures": (foreign.own_code(1, True), with_config),
        "progress_measures, 2 layers": (foreign.own_code(2, True), with_config),
        "clock_pizza": (foreign.own_code(1, False), pizza(n_layers=1)),
        "clock_pizza, 3 layers": (foreign.own_code(3, False), pizza(n_layers=3)),
        "transformer_lens": (foreign.lens(1, d=9), save("lens.pt")),
        "transformer_lens, 2 layers": (foreign.lens(2, d=9), save("lens.pt")),
        "devinterp_mlp": (foreign.notebook().state_dict(), with_params),
    }
    for letter in "ABCDX":
        found[f"clock_pizza {letter}"] = (foreign.linear(letter).state_dict(), pizza(model_type=letter))
    return found


FORMATS = [*files(None)]
NOT_WEIGHTS = ("attn.mask", "attn.IGNORE", "attn.b_Q", "attn.b_K", "attn.b_V", "attn.b_O", "unembed.b_U")
# axes that two tensors alone have and no config speaks of: which of them is wrong nobody can say
UNDECIDED = {
    "clock_pizza A": {"embed.weight", "l1.weight"},
    "clock_pizza B": {"embed.weight", "l1.weight", "l2.weight"},
    "clock_pizza C": {"embed.weight", "l1.weight", "l2.weight"},
    "clock_pizza D": {"embed.weight", "l1.weight"},
}


@pytest.mark.parametrize("format", FORMATS)
def test_every_missing_tensor_is_named(tmp_path, format):
    state, write = files(tmp_path)[format]
    importers.read(write(dict(state)))
    for name in state:
        if not name.endswith(NOT_WEIGHTS):
            # of a deeper layer all of it may be missing, but not a part
            less = {k: v for k, v in state.items() if k != name}
            rejects(write(less), f"expected a tensor {name}, but it is missing")


@pytest.mark.parametrize("format", FORMATS)
def test_every_misshapen_tensor_is_named(tmp_path, format):
    state, write = files(tmp_path)[format]
    for name, tensor in state.items():
        if name.endswith(NOT_WEIGHTS):
            continue
        for axis in range(tensor.ndim):
            larger = torch.cat([tensor, tensor.narrow(axis, 0, 1)], axis)
            if name == "pos_embed.W_pos" and axis == 0:
                if format.startswith("transformer_lens"):  # three positions or two, but not four
                    assert len(larger) == 4
                rejects(write({**state, name: larger}), f"pos_embed.W_pos for .* positions .*, got {len(larger)}")
                continue
            if name == "embed.W_E" and format.startswith("transformer_lens") and axis == 0:
                rejects(write({**state, name: larger}), r"unembed.W_U with the 8 answers that embed.W_E .*, got 7")
                continue
            if name == "unembed.W_U" and format.startswith("transformer_lens") and axis == 1:
                larger = torch.cat([larger, tensor[:, :1]], 1)  # p + 1 answers would be right
            blamed = UNDECIDED.get(format, {name}) if name in UNDECIDED.get(format, ()) else {name}
            rejects(write({**state, name: larger}), "|".join(blamed))
        rejects(write({**state, name: tensor[None]}), f"{name} with {tensor.ndim} dimensions")
        broken = tensor.clone()
        broken.view(-1)[0] = torch.nan
        rejects(write({**state, name: broken}), f"{name} holds NaN")


@pytest.mark.parametrize("format", FORMATS)
def test_a_tensor_too_many_is_named(tmp_path, format):
    state, write = files(tmp_path)[format]
    rejects(write({**state, "extra.weight": torch.ones(2)}), "also has extra.weight")


@pytest.mark.parametrize(("change", "words"), [
    ({"p": math.nan}, "expected p to be a whole number of at least 0, got nan"),
    ({"p": 7.5}, r"expected p to be a whole number of at least 0, got 7\.5"),
    ({"random_seed": math.inf}, "expected random_seed to be a whole number of at least 0, got inf"),
    ({"random_seed": "three"}, "expected random_seed to be a number, got str"),
    ({"train_frac": math.nan}, "expected train_frac to be above 0 and at most 1, got nan"),
    ({"train_frac": math.inf}, "expected train_frac to be above 0 and at most 1, got inf"),
    ({"train_frac": None}, "expected train_frac to be a number, got NoneType"),
])  # fmt: skip
def test_wrong_numbers_of_the_notebook(tmp_path, change, words):
    params = {"p": P, "train_frac": 0.4, "random_seed": 3} | change
    torch.save({"model": foreign.notebook().state_dict(), "params": params}, tmp_path / "a.pt")
    rejects(tmp_path / "a.pt", words)


@pytest.mark.parametrize(("key", "name"), [("p", "config.p"), ("seed", "seed")])
@pytest.mark.parametrize("value", [math.nan, math.inf, 1.5])
def test_wrong_numbers_of_the_config(tmp_path, key, name, value):
    config = {"p": P, "fn_name": "add", key: value}
    torch.save({"model": foreign.own_code(1, True), "config": config}, tmp_path / "a.pth")
    rejects(tmp_path / "a.pth", f"expected {name} to be a whole number of at least 0, got {value:g}")


def test_a_wrong_p_is_found_by_shape(tmp_path):
    torch.save({"model": foreign.own_code(1, True), "config": {"p": 113}}, tmp_path / "a.pth")
    rejects(tmp_path / "a.pth", "p = 113 as stated in its config, got p = 7")
    for state, changes in (
        (foreign.own_code(2, False), {"n_layers": 2}),
        (foreign.linear("B").state_dict(), {"model_type": "B"}),
        (foreign.linear("D").state_dict(), {"model_type": "D"}),
    ):
        path = foreign.pizza_file(tmp_path, state, C=59, funcs="lambda x: (x[0]+x[1])%59", **changes)
        rejects(path, "weights for C = 59 as stated in config_abc1.json, got 7")
    torch.save({"model": foreign.notebook().state_dict(), "params": {"p": 53}}, tmp_path / "b.pt")
    rejects(tmp_path / "b.pt", "p = 53 as stated in its params, got p = 7")
    torch.save(foreign.lens(1, answers=P - 1), tmp_path / "c.pt")
    rejects(tmp_path / "c.pt", "unembed.W_U with the 7 answers that embed.W_E has tokens for, got 6")


@pytest.mark.parametrize("name", ["b_Q", "b_K", "b_V", "b_O", "b_U"])
def test_biases_that_our_transformers_do_not_have(tmp_path, name):
    state = foreign.lens(2)
    key = "unembed.b_U" if name == "b_U" else f"blocks.1.attn.{name}"
    state[key].view(-1)[0] = 1e-3
    torch.save(state, tmp_path / "a.pt")
    rejects(tmp_path / "a.pt", f"expected {key} to be zero")


@pytest.mark.parametrize("name", ["blocks.0.ln1.w", "blocks.0.ln2.b", "ln_final.w"])
def test_layer_norm(tmp_path, name):
    torch.save(foreign.lens(1) | {name: torch.ones(D)}, tmp_path / "a.pt")
    rejects(tmp_path / "a.pt", f"without LayerNorm, but it has {name}")
    torch.save({"model": foreign.lens(1), "config": {"normalization_type": "LNPre"}}, tmp_path / "b.pt")
    rejects(tmp_path / "b.pt", "without LayerNorm, got LNPre")


def test_attention_in_another_direction(tmp_path):
    torch.save(foreign.lens(2, context=2, causal=True), tmp_path / "a.pt")
    rejects(tmp_path / "a.pt", "unmasked attention on")
    torch.save(foreign.lens(2, context=3, causal=False), tmp_path / "b.pt")
    rejects(tmp_path / "b.pt", "causal attention on")
    odd = foreign.lens(2)
    odd["blocks.1.attn.mask"] = torch.eye(3)
    torch.save(odd, tmp_path / "c.pt")
    rejects(tmp_path / "c.pt", "blocks.1.attn.mask to be causal or all ones")


def test_an_unembedding_that_is_tied(tmp_path):
    state = foreign.notebook().state_dict()
    state["linear2.weight"] = torch.ones(D, len(state["linear1l.bias"]))
    torch.save(state, tmp_path / "a.pt")
    rejects(tmp_path / "a.pt", "tied unembedding")


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"model_type": "E"}, "model_type to be one of A, B, C, D, X"), ({}, "expected a key model_type")],
)
def test_linear_models_of_no_known_type(tmp_path, changes, words):
    rejects(foreign.pizza_file(tmp_path, foreign.linear("A").state_dict(), **changes), words)
    wrong = foreign.pizza_file(tmp_path, foreign.linear("B").state_dict(), model_type="A")
    rejects(wrong, "also has l2")


class Runs:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("format", [None, *[kind.name for kind in importers.Importer.all()]])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, format):
    trap = Runs(str(tmp_path / "ran"))
    torch.save({"model": foreign.lens(1), "config": trap}, tmp_path / "a.pt")
    torch.save({**foreign.notebook().state_dict(), "embedding.weight": trap}, tmp_path / "b.pt")
    torch.save(foreign.notebook(), tmp_path / "c.pt")  # a whole module, whose class would be looked up and built
    for name in ("a.pt", "b.pt", "c.pt"):
        rejects(tmp_path / name, "refused, since reading it would execute code of [a-z_.]*(open|NotebookMLP)", format)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (tmp_path / "d.pt").write_bytes(pickle.dumps({"model": trap}, protocol=protocol))
        rejects(tmp_path / "d.pt", "refused.* execute code", format)
    assert not (tmp_path / "ran").exists()


def test_splits_that_are_listed():
    task = ModularTask(P, split_rule="listed", train_rows=(3, 1, 48), train_fraction=3 / 49)
    assert task.indices("train").tolist() == [3, 1, 48]
    assert task.indices("test").tolist() == [i for i in range(49) if i not in (1, 3, 48)]
    for rows, words in (((1, 1), "distinct rows"), ((49,), "rows in 0..48"), ((-1,), "train_rows"), ((), "listed")):
        with pytest.raises(SltGrokError, match=words):
            ModularTask(P, split_rule="listed", train_rows=rows)
    with pytest.raises(SltGrokError, match="none without"):
        ModularTask(P, train_rows=(1, 2))
    assert np.isin(task.data("train")[1], (3, 1, 5)).all()
    assert copy.copy(task) == task
