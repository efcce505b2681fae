"""The page: one whole file that asks nothing of the network, escapes what it shows, and says what is absent."""

import html.parser
import json
import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from slt_grok import report
from slt_grok.circuits import maps
from slt_grok.errors import SltGrokError
from slt_grok.report import figures
from slt_grok.store.files import write_json
from slt_grok.trajectories import Trajectory
from tests import synthetic
from tests.circuits.planted import planted_trajectory


class Reader(html.parser.HTMLParser):
    """Collects the text, the addresses and the tags that were left open."""

    VOID = ("meta", "img", "br", "link", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "poster")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text += data.replace("\u00a0", " ")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    path = synthetic.write_run(tmp_path_factory.mktemp("runs") / "grokking").path
    assert report.write(path) == path / "report.html"
    return path


@pytest.fixture(scope="module")
def page(run) -> Reader:
    return Reader((run / "report.html").read_text(encoding="utf-8"))


def test_page_is_well_formed_and_asks_for_nothing_outside(run, page):
    assert page.open == []
    assert page.addresses
    assert all(address.startswith("data:image/svg+xml;base64,") for address in page.addresses)
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    raw = (run / "report.html").read_text(encoding="utf-8")
    assert "http" not in re.sub(r"base64,[A-Za-z0-9+/=]+", "", raw)
    assert "@import" not in raw
    assert "url(" not in raw


def test_page_is_for_phones_print_and_the_dark(run):
    raw = (run / "report.html").read_text(encoding="utf-8")
    assert 'name="viewport"' in raw
    assert "@media print" in raw
    assert "prefers-color-scheme: dark" in raw


def test_figures_are_on_disk_too(run):
    names = sorted(path.name for path in (run / "figures").iterdir())
    drawn = ("phase_transition", "llc_traces", "llc_diagnostics", "spectrum")
    assert names == sorted(f"{name}.{ending}" for name in drawn for ending in ("svg", "png"))


def test_page_says_what_was_found_with_settings_and_provenance(page):
    for text in (
        "memorized the train set by step 250",
        "a drop of 119.8 ± 3.3",
        "there is no finite minimizer",
        "5, 12 and 23",
        "addition modulo 53",
        "learning_rate",
        "0.001",
        "versions.torch",
        "2.6.0",
        "24.1 s",
    ):
        assert text in page.text


def test_page_has_the_health_of_the_chains(page):
    llc = synthetic.llc()
    for text in (
        "16 of 19",
        "1 of 76",
        "drifting: the second half is 14 standard errors above the first",
        f"{float(llc.rhat.max()):.3f}",
        f"{float(llc.ess.min()):.0f} (step",
        f"{float(llc.virial.values.ravel()[abs(llc.virial.values - 1).argmax()]):.3f} (step",
        f"{float(llc.acceptance.mean('chain').min()):.2f} (step",
    ):
        assert text in page.text


def test_order_of_events_table(page):
    row = re.search(r"Restricted loss\s*1,150\s*1,070 to 1,242\s*not resolved", page.text)
    assert row
    assert re.search(r"Train accuracy\s*130\s*121 to 140\s*yes", page.text)


def test_text_from_files_is_escaped(tmp_path):
    run = synthetic.write_run(tmp_path / "run", only=("training", "llc"))
    manifest = run.manifest
    evil = "<script>alert('x')</script>"
    manifest["config"]["name"] = evil
    manifest["config"]["model"]["kind"] = "<img src=x>"
    manifest["environment"]["device"] = '"><b>bold</b>'
    run.write_manifest(manifest)
    llc = synthetic.llc()
    llc["chain_health"] = llc.chain_health.astype(object)
    llc.chain_health[3, 0, 1] = "<i>drift</i>"
    llc["chain_health"] = llc.chain_health.astype(str)
    run.write_measurement("llc", llc, {})
    summary = synthetic.summary() | {"flags": ["<u>flag</u>"]}
    write_json(run.path / "summary.json", json.loads(json.dumps(summary)))
    page = Reader(report.write(run.path).read_text(encoding="utf-8"))
    assert not {"script", "b", "i", "u"} & set(page.tags)
    assert all(address.startswith("data:") for address in page.addresses)
    for text in (evil, "<i>drift</i>", "<u>flag</u>"):
        assert text in page.text


def test_run_without_measurements_is_a_page_that_says_so(tmp_path):
    run = synthetic.write_run(tmp_path / "bare", only=())
    (run.path / "summary.json").unlink()
    page = Reader(report.write(run.path).read_text(encoding="utf-8"))
    assert "The LLC was not measured." in page.text
    assert "img" not in page.tags


def test_random_table_says_so(tmp_path):
    run = synthetic.write_run(tmp_path / "control", grok=False)
    page = Reader(report.write(run.path).read_text(encoding="utf-8"))
    assert "No generalization was seen" in page.text
    assert "No Fourier circuit" in page.text


def test_several_seeds_have_a_table_and_figures_each(tmp_path):
    run = synthetic.write_run(tmp_path / "seeds", seeds=2)
    page = Reader(report.write(run.path).read_text(encoding="utf-8"))
    assert "Of 2 networks 2 memorized the train set and 2 generalized" in page.text
    for name in ("llc_traces_seed0", "llc_traces_seed1", "spectrum_seed1"):
        assert (run.path / "figures" / f"{name}.svg").is_file()
    assert page.open == []


def test_an_llc_measured_by_an_older_version_is_said_in_a_sentence(tmp_path):
    run = synthetic.write_run(tmp_path / "old", only=("training",))
    run.write_measurement("llc", synthetic.llc().drop_vars(["drift", "virial"]), {})
    with pytest.raises(SltGrokError, match=r"llc.nc: expected the variable drift.*measure again"):
        report.write(run.path)


def test_a_landscape_measured_by_an_older_version_is_said_in_a_sentence(tmp_path):
    run = synthetic.write_run(tmp_path / "old", only=("training", "llc"))
    older = synthetic.landscape()
    run.write_measurement("landscape", older.assign(sharpness=older.hessian_trace), {})
    with pytest.raises(SltGrokError, match=r"landscape.nc: expected the variable gauss_newton_trace.*measure RUN"):
        report.write(run.path)


def circuit_maps(keys: list[int]) -> xr.Dataset:
    network = planted_trajectory(31, [3, 7])
    parameters = {name: tensor[None] for name, tensor in network.parameters.items()}
    trajectory = Trajectory(network.network, parameters, ("step",), {"step": np.array([5000])})
    return maps.measure(trajectory, np.isin(np.arange(1, 16), keys))


def test_the_circuit_is_drawn_where_its_maps_were_measured(tmp_path):
    run = synthetic.write_run(tmp_path / "maps", only=("circuits",))
    run.write_measurement("circuits@maps", circuit_maps([3, 7]), {})
    page = Reader(report.write(run.path).read_text(encoding="utf-8"))
    names = {path.stem for path in (run.path / "figures").iterdir()}
    assert names == {"phase_transition", "spectrum", "embedding_circles", "activation_grids", "logit_spectrum"}
    assert page.open == []
    assert "on a circle the embedding holds tokens as angles" in page.text


def test_without_a_circuit_the_logits_alone_are_drawn(tmp_path):
    assert [figure.name for figure in figures.circuit_maps(circuit_maps([]), tmp_path)] == ["logit_spectrum"]


def test_other_labels_are_named(tmp_path):
    run = synthetic.write_run(tmp_path / "labels", only=("training",))
    run.write_measurement("llc@gamma300", synthetic.llc(), {})
    assert "llc@gamma300" in Reader(report.write(run.path).read_text(encoding="utf-8")).text


def test_page_is_the_same_when_written_again(run):
    before = (run / "report.html").read_bytes()
    assert report.write(run).read_bytes() == before


def test_errors_are_one_sentence(tmp_path):
    with pytest.raises(SltGrokError, match="expected a run directory"):
        report.write(tmp_path)
    run = synthetic.write_run(tmp_path / "run", only=())
    (run.path / "report.html").mkdir()
    with pytest.raises(SltGrokError, match=r"report.html: cannot be written"):
        report.write(run.path)
    damaged = synthetic.write_run(tmp_path / "damaged", only=("training",))
    damaged.measurement_path("training").write_bytes(b"not netCDF")
    with pytest.raises(SltGrokError, match=r"training.nc: expected a whole netCDF file"):
        report.write(damaged.path)
