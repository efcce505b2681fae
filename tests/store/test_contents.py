"""What a checkpoint file can hold instead of a network, or next to it, and in which types."""

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from slt_grok.errors import SltGrokError
from slt_grok.store import importers
from slt_grok.store.importers import read_checkpoints
from slt_grok.studies.imports import import_published
from tests.store import foreign
from tests.store.test_checkpoints import net


def optimizer_state() -> dict[str, Any]:
    """The state of an optimizer after a step."""
    module = torch.nn.Linear(2, 3)
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


@pytest.mark.parametrize(
    "content",
    [
        {"exp_avg": net(0)},
        {"exp_avg": net(0), "exp_avg_sq": net(1), "step": 5},
        {"optimizer_state_dict": net(0), "epoch": 3},
        {"optimizer": optimizer_state()},
        optimizer_state(),
        optimizer_state()["state"],
        {"gradients": net(0)},
    ],
)
def test_the_state_of_an_optimizer_is_no_network(tmp_path: Path, content: dict[Any, Any]) -> None:
    torch.save(content, tmp_path / "5.pt")
    with pytest.raises(SltGrokError, match=r"5\.pt: expected a network, got the state of an optimizer"):
        read_checkpoints([tmp_path / "5.pt"])


@pytest.mark.parametrize("holder", ["model", "net"])
@pytest.mark.parametrize("average", [net(1), {"decay": 0.999, "module": net(1)}, {"shadow_params": [*net(1).values()]}])
def test_averaged_weights_are_ignored_with_a_note(tmp_path: Path, holder: str, average: dict[str, Any]) -> None:
    torch.save({"ema": average, holder: net(0), "optimizer": optimizer_state(), "step": 5}, tmp_path / "a.pt")
    (file,) = read_checkpoints([tmp_path / "a.pt"])
    assert file.state["0.weight"].eq(0).all()
    assert any(f"under `{holder}`; ignored the tensors under ema." in note for note in file.notes)
    torch.save({"ema": net(1), "step": 5}, tmp_path / "b.pt")
    (file,) = read_checkpoints([tmp_path / "b.pt"])
    assert any("averages" in note for note in file.notes)


@pytest.mark.parametrize(
    "key", ["upgraded_model", "optimal_model", "swapped_net", "semantic", "schema_net", "remapped"]
)
def test_a_name_that_contains_such_a_word_is_a_networks(tmp_path: Path, key: str) -> None:
    torch.save({key: net(0), "step": 5}, tmp_path / "a.pt")
    (file,) = read_checkpoints([tmp_path / "a.pt"])
    assert file.state.keys() == net(0).keys()
    assert not file.notes


@pytest.mark.parametrize("key", ["ema", "model_ema", "ema.0", "swa_state", "averaged_model"])
def test_averages_are_known_by_a_whole_word(tmp_path: Path, key: str) -> None:
    torch.save({key: net(0), "optimizer": net(1), "step": 5}, tmp_path / "a.pt")
    (file,) = read_checkpoints([tmp_path / "a.pt"])
    assert any("averages" in note for note in file.notes)


@pytest.mark.parametrize("key", ["momentum_encoder", "exp_avg", "optimizer_state"])
def test_all_ignored_tensors_are_noted(tmp_path: Path, key: str) -> None:
    torch.save({"model": net(0), key: net(1), "step": 5}, tmp_path / "a.pt")
    (file,) = read_checkpoints([tmp_path / "a.pt"])
    assert any(f"ignored the tensors under {key}." in note for note in file.notes)


@pytest.mark.skipif(not hasattr(torch, "float4_e2m1fn_x2"), reason="a type of newer versions of torch")
def test_packed_weights_are_named(tmp_path: Path) -> None:
    packed = torch.zeros(2, dtype=torch.uint8).view(torch.float4_e2m1fn_x2)
    torch.save({"weight": packed}, tmp_path / "a.pt")
    with pytest.raises(SltGrokError, match="to be an ordinary tensor, got one of torch"):
        read_checkpoints([tmp_path / "a.pt"])


@pytest.mark.parametrize("name", [name for name in dir(torch) if name.startswith("float8_e")])
def test_float8_weights_are_converted_with_a_note(tmp_path: Path, name: str) -> None:
    kind = getattr(torch, name)
    state = {key: values.abs().to(kind) for key, values in foreign.notebook().state_dict().items()}
    torch.save({"model": state, "checkpoints": [state], "checkpoint_steps": [5]}, tmp_path / "a.pt")
    network = importers.read(tmp_path / "a.pt")
    assert torch.equal(network.parameters["W_E"], state["embedding.weight"].float())
    assert any(f"weights are {kind}; they are stored as torch.float32" in note for note in network.notes)


def test_weights_beyond_float32_are_refused(tmp_path: Path) -> None:
    state = {name: tensor.double() for name, tensor in foreign.notebook().state_dict().items()}
    state["linear2.weight"][0, 0] = -1e200
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(SltGrokError, match=r"a\.pt: expected linear2\.weight in the range of float32.* got 1e\+200"):
        importers.read(tmp_path / "a.pt")
    torch.save({"mask": torch.tensor([-torch.inf, 0.0], dtype=torch.float64)}, tmp_path / "b.pt")
    assert read_checkpoints([tmp_path / "b.pt"])[0].state["mask"].dtype == torch.float64


def test_a_step_that_is_not_known_is_asked_for_with_what_the_file_offers(tmp_path: Path) -> None:
    state = foreign.notebook().state_dict()
    torch.save({"model": state, "epoch_number": 7, "lr": 0.1, "done": True, "name": "x"}, tmp_path / "run3-0.5.pt")
    notes = import_published([tmp_path / "run3-0.5.pt"], tmp_path / "run")
    (note,) = [note for note in notes if "step 0" in note and not note.startswith("LLC: ")]
    assert note.endswith("--step-from, here one of epoch_number, run.")
    entries = {"checkpoints": [net(0), net(1)], "saved_at": torch.tensor([0, 10]), "rates": [0.1, 0.2], "losses": [1.0]}
    torch.save(entries, tmp_path / "a.pt")
    with pytest.raises(SltGrokError, match="--step-from, here saved_at or the number of steps between"):
        read_checkpoints([tmp_path / "a.pt"])
    assert [file.step for file in read_checkpoints([tmp_path / "a.pt"], "saved_at")] == [0, 10]
    torch.save([{"epoch": i, "seed": 0, "lr": 0.1, "model": net(i)} for i in (3, 9)], tmp_path / "b.pt")
    with pytest.raises(SltGrokError, match="--step-from, here epoch or the number of steps between"):
        read_checkpoints([tmp_path / "b.pt"])


def test_scripted_and_pickled_modules_are_refused_with_a_remedy(tmp_path: Path) -> None:
    module = foreign.notebook()
    with warnings.catch_warnings(action="ignore"):
        torch.jit.save(torch.jit.trace(module, foreign.PAIRS), tmp_path / "jit.pt")
    torch.save(module, tmp_path / "module.pt")
    torch.save({"model": module, "step": 3}, tmp_path / "inside.pt")
    for name, words in (("jit", "a TorchScript archive"), ("module", "code of .*NotebookMLP"), ("inside", "code of")):
        with pytest.raises(
            SltGrokError, match=rf"{name}\.pt: refused, .*{words}.* save model\.state_dict\(\)"
        ) as caught:
            read_checkpoints([tmp_path / f"{name}.pt"])
        assert len(str(caught.value).removeprefix(str(tmp_path))) < 250
