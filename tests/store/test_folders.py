"""Folders as other libraries and people leave them: which of their files are read."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from slt_grok.errors import SltGrokError
from slt_grok.store.importers import read_checkpoints
from tests.store.test_checkpoints import found, net


def test_a_tensor_in_two_shards_is_that_of_the_file_that_the_index_names(tmp_path: Path) -> None:
    files = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    for seed, file in enumerate(files):
        save_file(net(seed), tmp_path / file)
    for seed, file in enumerate(files):
        weight_map = {"0.weight": file, "0.bias": files[1 - seed]}
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
        assert list(found([tmp_path]).values()) == [seed]


@pytest.mark.parametrize(
    "named", ["lightning_logs/version_0/checkpoints", "lightning_logs/version_0", "lightning_logs", ""]
)
def test_the_only_version_of_lightning_is_read_from_any_folder_above(tmp_path: Path, named: str) -> None:
    for version, step in ((0, 500), (1, None)):  # the second stopped before its first checkpoint
        folder = tmp_path / f"lightning_logs/version_{version}/checkpoints"
        folder.mkdir(parents=True)
        (folder.parent / "hparams.yaml").write_text("{}\n")
        if step:
            content = {"state_dict": net(step), "global_step": step, "pytorch-lightning_version": "2.4.0"}
            torch.save(content, folder / f"epoch=9-step={step}.ckpt")
    assert found([tmp_path / named]) == {500: 500.0}
    torch.save({"state_dict": net(0)}, folder / "epoch=0-step=100.ckpt")
    if not named.rpartition("/")[2].startswith(("version", "checkpoints")):
        with pytest.raises(SltGrokError, match=r"version_0, (lightning_logs/)?version_1; name one of them"):
            read_checkpoints([tmp_path / named])


STRAYS = ("README.txt", ".DS_Store", "metrics.csv", "curve.png", "hparams.yaml", "._100.pt", "loss.json")


@pytest.mark.parametrize("listed", [False, True])
def test_strays_in_a_folder_are_ignored_and_named(tmp_path: Path, listed: bool) -> None:
    for name in STRAYS:
        (tmp_path / name).write_bytes(b"\x00\x05\x16\x07 not a checkpoint")
    for step in (0, 100):
        torch.save(net(step), tmp_path / f"{step}.pt")
    paths = [path for path in tmp_path.iterdir() if path.name != "._100.pt"] if listed else [tmp_path]  # as *
    assert found(paths) == {0: 0.0, 100: 100.0}
    for file in read_checkpoints(paths):
        (note,) = file.notes[:1]
        assert note.startswith("Ignored: ")
        assert all(name in note for name in STRAYS if name not in ("loss.json", "._100.pt" if listed else ""))
    for suffix in (".pt", ".safetensors"):
        bad = tmp_path / f"200{suffix}"
        bad.write_text("broken")
        with pytest.raises(SltGrokError, match=rf"200\{suffix}: expected a complete"):
            read_checkpoints([*paths, bad] if listed else paths)
        bad.unlink()


@pytest.mark.parametrize("names", [["README.txt"], ["README.txt", "metrics.csv"], ["README.txt", "absent"]])
def test_strays_alone_are_no_checkpoints(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        if name != "absent":
            (tmp_path / name).write_text("words")
    with pytest.raises(SltGrokError, match=r"README\.txt: expected a complete|absent: no such checkpoint"):
        read_checkpoints([tmp_path / name for name in names])
