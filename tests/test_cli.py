"""The command line and the library's main functions, on a tiny finished run."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml
from typer.testing import CliRunner

import slt_grok
from slt_grok.cli import app
from slt_grok.config import load_config, parse_config
from slt_grok.measurement import evenly_spaced
from slt_grok.store import RunDirectory
from tests.conftest import CONFIG, Command, write_config

ROOT = Path(__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))


def output(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_run_leaves_what_the_design_says(finished: Path) -> None:
    for name in ("manifest.json", "summary.json", "report.html", "figures/phase_transition.svg"):
        assert (finished / name).is_file(), name
    labels = {path.stem for path in (finished / "measurements").iterdir()}
    measured = {"training", "llc", "circuits", "circuit_maps", "circuit_null", "landscape"}
    assert labels == measured | {"llc_correlation", "transitions"}
    assert [path.name for path in sorted((finished / "checkpoints").iterdir())] == [
        f"step_{step:08d}.safetensors" for step in (0, 10, 20)
    ]
    manifest = json.loads((finished / "manifest.json").read_text())
    assert set(manifest["stages"]) == labels
    assert manifest["format"] == 2
    assert manifest["config"] == CONFIG  # what the user wrote, without defaults
    assert manifest["environment"]["packages"]["torch"]
    assert not (finished / "state").exists()


def test_every_variable_says_what_it_is(finished: Path) -> None:
    tree = slt_grok.load(finished)
    for label, node in tree.children.items():
        for name, variable in node.data_vars.items():
            assert variable.attrs.get("long_name"), (label, name)
    for label in ("llc", "circuits", "circuit_maps", "circuit_null", "landscape"):
        dataset = tree[label].to_dataset()
        numeric = [name for name in dataset if dataset[name].dtype.kind in "fib"]
        assert all(dataset[name].attrs.get("definition") and dataset[name].attrs.get("source") for name in numeric)


def test_summary_has_what_scripts_rely_on(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    assert summary.keys() >= {
        "memorization_step",
        "generalization_step",
        "llc_peak",
        "llc_peak_step",
        "llc_final",
        "llc_drop",
        "key_frequencies",
        "restricted_loss_final",
        "excluded_loss_final",
    }


def test_load_and_trajectory_speak_of_the_same_checkpoints(finished: Path) -> None:
    tree, networks = slt_grok.load(finished), slt_grok.trajectory(finished)
    assert networks.dims == ("step", "seed")
    for label in ("llc", "circuits", "landscape"):
        np.testing.assert_array_equal(tree[label].step, networks.coords["step"])
    losses = tree["circuits"].loss.sel(split="train")
    np.testing.assert_allclose(tree["llc"].baseline_loss, losses, rtol=1e-10)
    np.testing.assert_allclose(tree["training"].train_loss.sel(step=[0, 10, 20]), losses, rtol=1e-5)


def test_running_again_does_nothing_new(finished: Path, slt_grok_command: Command, tmp_path: Path) -> None:
    times = {path: path.stat().st_mtime_ns for path in finished.glob("checkpoints/*")}
    times |= {finished / "measurements" / f"{x}.nc": 0 for x in ("llc", "circuits", "landscape", "training")}
    times = {path: path.stat().st_mtime_ns for path in times}
    code, error = slt_grok_command("run", write_config(tmp_path / "same.yaml"), "--out", finished)
    assert code == 0, error
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_show_and_help_and_version(finished: Path) -> None:
    command = [sys.executable, "-m", "slt_grok", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == slt_grok.__version__
    for name in ("run", "study", "measure", "list", "calibrate", "extract", "import", "report", "show"):
        assert name in output("--help")
    shown = " ".join(output("show", str(finished)).split())
    for part in ("tiny: The network ", "Final LLC*", "LLC estimates by status", "* Effective LLC", "nβ = 5, γ = 10"):
        assert part in shown
    assert "null" not in shown
    assert '"' not in shown


def test_help_and_list_name_what_is_registered() -> None:
    for measurement in ("circuits", "seed_barriers", "confound"):
        assert measurement in output("measure", "--help")
    for format in ("clock_pizza", "devinterp_mlp"):
        assert format in output("import", "--help")
    listed = output("list").splitlines()
    for name in ("llc", "underdamped", "modular", "deep_transformer", "spectra", "transformer_lens"):
        assert any(line.startswith(f"  {name}: ") for line in listed), name
    assert any("probe_checkpoints=null, eigenvalues=5, radii=[0.1, 1.0]" in line for line in listed)
    assert any("modulus (required), operation=" in line for line in listed)


def test_help_does_not_import_what_a_command_does_not_need() -> None:
    """The heavy libraries are imported by the stages that use them."""
    heavy = ("torch", "matplotlib", "xarray")
    program = f"import sys, slt_grok.cli; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configurations_are_valid_and_named_after_their_file(path: Path) -> None:
    config = load_config(path)
    assert config.name == path.stem
    assert (config.llc is None) == path.stem.startswith("topology_")  # circuits are their subject
    assert config.training is not None
    assert max(config.training.checkpoints.at(config.training.steps)) == config.training.steps


def test_the_example_of_the_documentation_is_the_quickstart() -> None:
    example = (ROOT / "docs" / "configurations.md").read_text().split("```yaml\n", 1)[1].partition("```")[0]
    shipped = load_config(ROOT / "configs" / "quickstart.yaml")
    assert parse_config(yaml.safe_load(example), "the example").content == shipped.content


def test_the_shipped_configurations_are_those_the_readme_lists() -> None:
    readme = (ROOT / "README.md").read_text()
    assert {path.name for path in CONFIGS} >= {
        f"{name}.yaml" for name in ("quickstart", "mod113", "clock", "pizza", "random_table", "devinterp_notebook")
    }
    for path in CONFIGS:
        assert f"configs/{path.name}" in readme, path.name


def test_the_guide_shows_the_script_that_ships() -> None:
    script = (ROOT / "analyses" / "bring_your_own.py").read_text()
    assert script.split('"""', 2)[2].strip() in (ROOT / "docs" / "guide.md").read_text()


def test_the_llc_of_some_weights_on_other_pairs_in_a_box(
    slt_grok_command: Command, finished: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    subprocess.run(["cp", "-r", finished, run], check=True)
    sampler = {"name": "sgld", "step_size": 0.01}
    changes = (("llc.weights", ["W_E"]), ("llc.data", "test"), ("llc.box", 0.5), ("llc.sampler", sampler))
    config = write_config(tmp_path / "some.yaml", *changes)
    code, error = slt_grok_command("measure", run, "--only", "llc", "--config", config, "--label", "some")
    assert code == 0, error
    found = slt_grok.load(run)["llc@some"].to_dataset()
    assert found.attrs["dimension"] == slt_grok.trajectory(run).network.shapes["W_E"].numel()
    assert (found.attrs["n"], found.attrs["data"], found.attrs["box"], found.attrs["sampler"]) == (
        5,
        "test",
        0.5,
        "sgld",
    )
    losses = slt_grok.load(run)["circuits"].loss.sel(split="test")
    np.testing.assert_allclose(found.baseline_loss, losses, rtol=1e-10)


def test_several_seeds_in_one_run(slt_grok_command: Command, tmp_path: Path) -> None:
    content = {**CONFIG, "seeds": [2, 7], "circuits": None, "landscape": None}
    (tmp_path / "seeds.yaml").write_text(yaml.safe_dump(content))
    code, error = slt_grok_command("run", tmp_path / "seeds.yaml", "--out", tmp_path / "both")
    assert code == 0, error
    (tmp_path / "one.yaml").write_text(yaml.safe_dump({**content, "seeds": [7]}))
    code, error = slt_grok_command("run", tmp_path / "one.yaml", "--out", tmp_path / "one")
    assert code == 0, error
    both, one = slt_grok.load(tmp_path / "both")["llc"], slt_grok.load(tmp_path / "one")["llc"]
    assert both.seed.values.tolist() == [2, 7]
    # a seed's streams are its own: its numbers are those of the seed alone, up to rounding
    xr.testing.assert_allclose(both.llc.sel(seed=7), one.llc.sel(seed=7), rtol=1e-3)


def test_evenly_spaced_takes_every_nth_checkpoint_and_the_last() -> None:
    steps = np.array([0, 1, 2, 5, 10, 100, 1000])
    assert steps[evenly_spaced(steps, 3)].tolist() == [0, 5, 1000]
    assert steps[evenly_spaced(steps, 1)].tolist() == [1000]
    assert steps[evenly_spaced(steps, 0)].tolist() == []
    assert steps[evenly_spaced(steps, 50)].tolist() == steps.tolist()
    assert steps[evenly_spaced(steps, None)].tolist() == steps.tolist()


@pytest.mark.parametrize("name", ["quickstart", "random_table", "mod113"])
def test_the_readme_states_the_recorded_numbers(name: str) -> None:
    summary = json.loads((ROOT / "analyses" / "results" / f"{name}.json").read_text())["summary"]
    lines = (ROOT / "README.md").read_text().splitlines()
    header = next(line for line in lines if line.startswith("| run |"))
    row = next(line for line in lines if line.startswith(f"| `{name}`"))
    generalized = summary["generalization_step"]
    cells = [
        f"{summary['memorization_step']:,}",
        "never" if generalized is None else f"{generalized:,}",
        f"{summary['llc_peak']:.1f} ± {summary['llc_peak_se']:.1f}",
        f"{summary['llc_final']:.1f} ± {summary['llc_final_se']:.1f}",
        ", ".join(map(str, summary["key_frequencies"])) or "none",
    ]
    names, found = ([cell.strip() for cell in line.strip("|").split("|")] for line in (header, row))
    shown = dict(zip(names, found, strict=True))
    keys = ("memorization step", "generalization step", "LLC at its peak", "LLC at the end", "key frequencies")
    assert [shown[key].partition(" (")[0] for key in keys] == cells


@pytest.mark.parametrize("label", ["null", "maps", "seeds", "random", "between"])
def test_any_label_is_free(finished: Path, tmp_path: Path, slt_grok_command: Command, label: str) -> None:
    """These once were names of internal datasets, and nothing was measured."""
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    assert slt_grok_command("measure", run, "--only", "circuits,llc", "--label", label)[0] == 0
    labels = RunDirectory(run).labels
    assert {f"circuits@{label}", f"llc@{label}"} < set(labels)
    assert RunDirectory(run).read_measurement(f"llc@{label}").llc.sizes["step"] == 3
