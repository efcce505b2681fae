"""Three hundred damaged checkpoints through the command line: a right import, or one sentence with exit code 2."""

import random
import sys

import pytest
import torch

import slt_grok
from slt_grok import cli
from tests.store import foreign
from tests.store.foreign import PAIRS, P

CASES, GROUPS = 300, 5
FEWEST = 3  # imports in a group: a tenth of the cases can be imported
PREFIXES = ["model.", "module.", "_orig_mod.", "model._orig_mod."]
LAYOUTS = {  # state dict, and its logits by its own formula
    "own code": (lambda: foreign.own_code(1, True), lambda s: foreign.own_code_logits(s, True)),
    "separate": (
        lambda: foreign.own_code(1, False, separate=True),
        lambda s: foreign.own_code_logits(s, False, 0.25, separate=True),
    ),
    "lens": (lambda: foreign.lens(1, d=9), foreign.lens_logits),
    "two layers": (lambda: foreign.lens(2, context=2, causal=False), lambda s: foreign.lens_logits(s, causal=False)),
    "linear": (lambda: foreign.linear("B").state_dict(), lambda s: foreign.linear_logits(foreign.linear("B"), "B")),
}
VALUES = [None, 3, -1, 0.5, float("nan"), 10**30, "text", [1, 2], {}, {"a": {}}, True, torch.ones(2), torch.tensor(7)]
ENTRIES = ["epoch", "step", "global_step", "config", "train_losses", "test_losses", "train_loss", "test_loss", "labels"]
ENTRIES += ["train_indices", "params", "optimizer", "checkpoints", "checkpoint_epochs", "log_history", "model"]
DTYPES = [torch.int64, torch.bool, torch.float16, torch.bfloat16, torch.float64, torch.complex64, torch.uint8]
NAMES = ["a", "a_5", "a_7", "a_step=9", "a_5_7", "a_epoch=3", "a-1"]
NAMES += ["a_step=99999999999999999999", "a_step=-3", "a_0.5"]


def damaged(rng, state):
    """Change one thing about a state dict; return what is to be saved, and whether the network is still the same."""
    state, name = dict(state), rng.choice([*state])
    tensor, damage = state[name], rng.randrange(15)
    if damage == 0:
        del state[name]
    elif damage == 1:
        state["extra.weight"] = torch.ones(2)
    elif damage == 2 and tensor.ndim:
        axis = rng.randrange(tensor.ndim)
        state[name] = tensor.narrow(axis, 0, tensor.shape[axis] // 2)
    elif damage == 3:
        state[name] = tensor[None]
    elif damage == 4:
        state[f"{name}.new"] = state.pop(name)
    elif damage == 5:
        nested = {}
        for key, values in state.items():
            nested.setdefault(key.split(".")[0], {})[key] = values
        return nested, False
    elif damage == 6:
        dtype = rng.choice(DTYPES)
        state = {key: values.to(dtype) if rng.random() < 0.5 else values for key, values in state.items()}
    elif damage == 7:
        state[name] = torch.full(tensor.shape, rng.choice([float("nan"), float("inf"), 1e300]), dtype=torch.float64)
    elif damage == 8:
        state[name] = rng.choice(VALUES)
    elif damage == 9:
        return rng.choice([{}, [], (), 3, [state, {}], {0: state, "b": state}, {"model": [state, [state]]}]), False
    elif damage == 10:
        prefix = rng.choice(PREFIXES)
        return {prefix + key: values for key, values in state.items()}, True
    elif damage == 11:
        return [state, state] if rng.random() < 0.5 else {1: state, rng.choice([2, -2, 10**30]): state}, True
    elif damage == 12:
        state[name] = rng.choice([torch.zeros(0), tensor.float().to_sparse(), tensor.to("meta")])
    return state, damage > 12


def saved(rng, folder, layout):
    """Write a damaged checkpoint, alone or with other entries."""
    content, same = damaged(rng, LAYOUTS[layout][0]())
    if rng.random() < 0.7:
        content = {rng.choice(["model", "state_dict", "model_state_dict", "net"]): content}
        for _ in range(rng.randrange(3)):
            content[rng.choice(ENTRIES)] = rng.choice(VALUES)
    name = rng.choice(NAMES)
    if layout in ("separate", "linear") and rng.random() < 0.9:
        foreign.pizza_file(folder, {}, name, model_type="B", diff_vocab=int(layout == "separate"))
        name = f"model_{name}"
    torch.save(content, folder / f"{name}.pt")
    return same


def run(arguments, monkeypatch, capsys):
    """Run the command in this process: exit code and printed words."""
    monkeypatch.setattr(sys, "argv", ["slt-grok", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    printed = capsys.readouterr()
    return caught.value.code or 0, printed.out + printed.err


@pytest.mark.parametrize("group", range(GROUPS))
def test_damaged_checkpoints(tmp_path, monkeypatch, capsys, group):
    imported = 0
    for case in range(CASES // GROUPS):
        rng, folder = random.Random(f"{group} {case}"), tmp_path / str(case)
        folder.mkdir()
        layout = rng.choice([*LAYOUTS])
        same = [saved(rng, folder, layout) for _ in range(rng.choice([1, 1, 2]))]
        code, words = run(["import", folder, "--out", folder / "run"], monkeypatch, capsys)
        if code:
            assert code == 2, words
            assert words.startswith(f"slt-grok: {folder}"), words  # names the file
            assert len(words.splitlines()) == 1, words
            assert not (folder / "run").exists()
            continue
        trajectory = slt_grok.trajectory(folder / "run")
        assert trajectory.task.modulus == P
        assert all(torch.isfinite(tensor).all() for tensor in trajectory.parameters.values())
        imported += 1
        if all(same):
            computes_the_logits_of(layout, trajectory)
    assert imported >= FEWEST


def computes_the_logits_of(layout, trajectory):
    found = trajectory.network.stacked_outputs(trajectory.stacked(torch.float64), PAIRS)
    expected = LAYOUTS[layout][1](LAYOUTS[layout][0]())
    torch.testing.assert_close(found, expected.expand_as(found), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("prefix", ["", *PREFIXES])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_undamaged_ones_are_imported_whatever_their_prefix(tmp_path, monkeypatch, capsys, layout, prefix):
    state = {prefix + name: tensor for name, tensor in LAYOUTS[layout][0]().items()}
    path = tmp_path / "model_a.pt"
    if layout in ("separate", "linear"):
        foreign.pizza_file(tmp_path, state, "a", model_type="B", diff_vocab=int(layout == "separate"))
    else:
        torch.save(state, path)
    code, words = run(["import", path, "--out", tmp_path / "run"], monkeypatch, capsys)
    assert code == 0, words
    computes_the_logits_of(layout, slt_grok.trajectory(tmp_path / "run"))
