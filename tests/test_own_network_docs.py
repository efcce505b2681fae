"""docs/own-network.md as a reader would follow it: its files written, its commands run, in order."""

import re
import runpy
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from slt_grok.studies.run import Run
from tests.conftest import Command

PAGE = Path(__file__).parents[1] / "docs" / "own-network.md"
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S))
PAGES = True


def blocks(section: str) -> list[str]:
    return re.findall(r"^```\w*\n(.*?)^```", SECTIONS[section], re.M | re.S)


@pytest.fixture(autouse=True)
def folder(nothing_permitted: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the page's files."""
    monkeypatch.syspath_prepend(str(nothing_permitted))
    for block in [block for section in SECTIONS for block in blocks(section)]:
        if name := re.match(r"# (\S+\.(py|yaml))\n", block):
            (nothing_permitted / name[1]).write_text(block)
    return nothing_permitted


def follow(section: str, slt_grok_command: Command, *extra: str) -> None:
    """Run the commands of a section, each that measures with extra options."""
    for line in [line for block in blocks(section) for line in block.splitlines()]:
        match shlex.split(line):
            case ["python", script]:
                runpy.run_path(script, run_name="__main__")
            case ["slt-grok", *words]:
                exit_code, error = slt_grok_command(*words, *(extra if words[0] == "measure" else ()))
                assert exit_code == 0, error


def states(folder: Path, steps: list[int], prefix: str = "") -> dict[int, dict[str, torch.Tensor]]:
    """Different weights of the page's network at each step, under names with a prefix."""
    names = runpy.run_path(str(folder / "my_net.py"))
    torch.manual_seed(0)
    return {step: {prefix + k: v.clone() for k, v in names["build"]().state_dict().items()} for step in steps}


def imported(folder: Path, run: str) -> dict[int, dict[str, torch.Tensor]]:
    trajectory = Run(folder / "runs" / run).trajectory
    steps = trajectory.coords["step"].tolist()
    return {step: {k: v[i, 0] for k, v in trajectory.parameters.items()} for i, step in enumerate(steps)}


def assert_same(stored: dict[int, dict[str, torch.Tensor]], expected: dict[int, dict[str, torch.Tensor]]) -> None:
    assert stored.keys() == expected.keys()
    for step, state in expected.items():
        assert all(torch.equal(stored[step][name], tensor) for name, tensor in state.items()), step


@pytest.fixture
def quick(folder: Path) -> tuple[str, str]:
    """Settings for a quick estimate."""
    (folder / "quick.yaml").write_text("llc: {gamma: 30, draws: 8, burn_in: 0, sampler: {name: sgld, step_size: 1e-4}}")
    return "--config", "quick.yaml"


def test_lightning(folder: Path, slt_grok_command: Command, quick: tuple[str, str]) -> None:
    expected = states(folder, [500, 1000, 1500])
    for name in blocks("Lightning")[0].split():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        step = int(re.search(r"step=(\d+)", name)[1])  # pyright: ignore[reportOptionalSubscript]
        state = {"model._orig_mod." + key: tensor for key, tensor in expected[step].items()}
        content = {"epoch": step // 50 - 1, "global_step": step, "state_dict": state, "optimizer_states": [{}]}
        torch.save(content, folder / name)
    follow("Lightning", slt_grok_command, *quick)
    assert_same(imported(folder, "lightning"), expected)
    assert Run(folder / "runs" / "lightning").data["llc"].sizes["step"] == 3


def test_hugging_face(folder: Path, slt_grok_command: Command, quick: tuple[str, str]) -> None:
    expected = states(folder, [500, 1000])
    for name in blocks("Hugging Face Trainer")[0].split():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("safetensors"):
            save_file(expected[int(re.search(r"-(\d+)/", name)[1])], folder / name)  # pyright: ignore
        else:
            torch.save({"state": {0: torch.zeros(3)}, "param_groups": []}, folder / name)
    follow("Hugging Face Trainer", slt_grok_command, *quick)
    assert_same(imported(folder, "trainer"), expected)


@pytest.mark.slow
def test_from_a_training_script_to_a_page_and_in_a_script(folder: Path, slt_grok_command: Command) -> None:
    follow("From a training script to a page", slt_grok_command)
    follow("In a script", slt_grok_command)
    run = Run(folder / "runs" / "division")
    assert (run.path / "report.html").stat().st_size > 100_000
    assert run.data["training"].test_accuracy.isel(step=-1).item() > 0.9
    llc = run.data["llc"].isel(seed=0)
    assert llc.sizes["step"] == 31
    assert np.isfinite(llc.llc).all()
    assert run.data["landscape"].sizes["step"] == 31
    assert "seed" in run.data["transitions"].dims
