"""Programs of a run as a measurement of its own, and as columns of a study's table."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import slt_grok
from slt_grok import plots, program
from slt_grok.config import RunConfig, parse_config
from slt_grok.errors import SltGrokError
from slt_grok.models import build
from slt_grok.models.network import Network
from slt_grok.program import measurement
from slt_grok.program.measurement import Programs, as_text
from slt_grok.store import RunDirectory
from slt_grok.studies.run import Run, run_measurements
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory
from tests.conftest import CONFIG
from tests.program import networks
from tests.studies.small import PLANTED, planted_run

PAGES = True


def settings(**changes: int) -> RunConfig:
    return parse_config(PLANTED | {"program": changes}, "test")


def measured(path: Path, config: RunConfig | None = None, label: str | None = None) -> xr.Dataset:
    run_measurements(Run(path), ["program"], config, label)
    return RunDirectory(path).read_measurement(f"program@{label}" if label else "program")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return planted_run(tmp_path / "run")


def test_every_checkpoint_or_some_of_them(run: Path) -> None:
    found = measured(run)
    assert found.step.values.tolist() == [0, 1, 2, 5, 9]
    assert found.seed.values.tolist() == [3]
    stage = RunDirectory(run).manifest["stages"]["program"]
    assert stage["wall_seconds"] >= 0
    expected = program.measure(slt_grok.trajectory(run))
    xr.testing.assert_identical(found.drop_attrs(), expected.drop_attrs())
    some = measured(run, settings(checkpoints=3), "some")
    assert some.step.values.tolist() == [0, 2, 9]
    xr.testing.assert_identical(some.drop_attrs(), expected.isel(step=[0, 2, 4]).drop_attrs())
    with pytest.raises(SltGrokError, match="checkpoints"):
        measured(run, settings(checkpoints=2))


def test_it_resumes_where_it_was_killed(run: Path, monkeypatch: pytest.MonkeyPatch, in_this_process: None) -> None:
    calls = []

    def measure(shard: Trajectory, *rest: object) -> xr.Dataset:
        calls.append(shard.coords["step"].tolist())
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(shard)

    whole = program.measure
    monkeypatch.setattr(measurement, "measure", measure)
    with pytest.raises(KeyboardInterrupt):
        measured(run)
    assert "program" not in RunDirectory(run).labels
    found = measured(run)
    assert calls == [[0, 1, 2, 5], [9], [9]]
    xr.testing.assert_identical(found.drop_attrs(), whole(slt_grok.trajectory(run)).drop_attrs())


def test_page_has_the_last_network(tmp_path: Path) -> None:
    one, programs = networks.clock(), Programs()
    coords = {"step": np.array([9]), "seed": np.array([3])}
    last = Trajectory(one.network, {k: w[None, None] for k, w in one.parameters.items()}, ("step", "seed"), coords)
    data = {"program": program.measure(last).assign_attrs(as_text(last))}
    file = program.write(program.extract(program.read(last)), tmp_path / "program.py")
    assert programs.text(data) == file.read_text()
    assert "step 9, seed 3" in programs.notes(data)[-1]
    assert "from step 9 (seed 3) on" in programs.notes(data)[0]
    rows = {row[0]: row[1:] for row in programs.tables(data)[-1].rows}
    assert set(rows) == {"Clock", "Pizza", "Neurons", "Table", "Network, quantized", "Network, pruned"}
    bits = data["program"].program_bits.isel(step=-1, seed=0).sel(mixture="clock", keeps="answers").item()
    assert rows["Clock"][2] == f"{bits:,.0f}"
    figures = {drawing.name: drawing for drawing in programs.figures()}
    plots.save(figures["explained_share"].draw(data["program"]), tmp_path, "explained_share")
    plots.save(figures["description_length"].draw(data["program"], None), tmp_path, "description_length")
    with pytest.raises(SltGrokError, match="circuit_maps"):
        figures["program_text"].draw(data["program"], None)


def test_a_network_without_a_program_has_the_reason_on_the_page(run: Path) -> None:
    data = {"program": program.measure(slt_grok.trajectory(run).isel(step=[-1]))}
    data["program"].attrs |= as_text(slt_grok.trajectory(run).isel(step=[-1]))
    assert "The network at step 9, seed 3 has no program: the network is not explained" in Programs().notes(data)[-1]
    assert not Programs().text(data)


def test_it_is_made_when_asked_for() -> None:
    assert not parse_config(CONFIG, "here").asks_for(Programs)
    assert parse_config({**CONFIG, "program": {}}, "here").asks_for(Programs)


def test_it_needs_an_odd_prime() -> None:
    network = Network(build("quadratic", 9, width=4), ModularTask(9))
    assert "odd prime" in Programs().unmeasurable(network)
    assert not Programs().unmeasurable(Network(build("quadratic", 7, width=4), ModularTask(7)))


def test_wrong_settings(run: Path) -> None:
    with pytest.raises(SltGrokError, match=r"program.checkpoints: expected"):
        settings(checkpoints=0)
    with pytest.raises(SltGrokError, match=r"program.bits: unknown key"):
        settings(bits=3)
    with pytest.raises(SltGrokError, match="expected settings for program"):
        measured(run, parse_config(PLANTED | {"program": None}, "test"))


def test_a_row_of_the_table_has_the_end_and_the_drop() -> None:
    bits = np.array(
        [[[900.0, 700.0], [50.0, 60.0]], [[np.nan, 800.0], [np.nan, 300.0]], [[40.0, 800.0], [30.0, 300.0]]]
    )
    found = xr.Dataset(
        {"program_bits": (("step", "keeps", "mixture"), bits),
         "chosen": (("step", "keeps"), [["table", "clock"], ["table", "table"], ["clock", "clock"]])},
        {"step": [0, 10, 30], "keeps": ["answers", "loss"], "mixture": ["clock", "table"]},
    )  # fmt: skip
    row = Programs().columns(found)
    assert row["final.program.shortest_bits.answers"] == 40
    assert row["final.program.shortest_bits.loss"] == 30
    assert row["program_bits_drop.answers"] == 800 - 40
    assert row["program_bits_drop.loss"] == 300 - 30
    assert row["final.program.chosen.loss"] == "clock"
