"""What is said of programs: a network explained from a known step on, and one that never is."""

import html
import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from slt_grok import program as programs
from slt_grok import report
from slt_grok.errors import SltGrokError
from slt_grok.models import planted
from slt_grok.report import listing, program
from slt_grok.store import RunDirectory
from slt_grok.tasks import ModularTask
from slt_grok.trajectories import Trajectory
from tests import synthetic
from tests.program import networks
from tests.program.networks import AMPLITUDES

SUMMARY = {"memorization_step": 250, "generalization_step": 2000}
MIXTURES = ["clock", "pizza", "neurons", "table"]
STEPS = [0, 100, 400, 1000, 2000, 5000]


def measured(seeds: int = 1, explains: tuple[bool, ...] = (False, False, False, False, True, True)) -> xr.Dataset:
    """A made-up run: no frequency at first, a clock of 2 and 5 that holds 30% at step 400 and 98% at the end."""
    held, given = [np.nan, np.nan, 0.3, 0.7, 0.9, 0.98], [np.nan, np.nan, 0.55, 0.8, 0.9995, 1.0]
    lead = ("step", "seed")
    levels = np.stack([held, np.array(held) + 0.01, np.array(held) + 0.015], -1)
    answers = np.array([[np.nan] * 3 + [9000.0]] * 2 + [[5000, 5050, 40000, 9000]] * 2 + [[40.0, 55, 38000, 9000]] * 2)
    loss = answers * np.array([2, 2, 1.5, 0.5])
    bits = np.stack([answers, loss], 1)  # (step, keeps, mixture)
    chosen = np.array(MIXTURES)[np.nanargmin(bits, -1)]

    def each(values: object) -> np.ndarray:
        return np.repeat(np.asarray(values)[:, None], seeds, 1)

    return xr.Dataset(
        {
            "explained_variance": ((*lead, "level"), each(levels)),
            "agreement": ((*lead, "level"), each(np.repeat(np.array(given)[:, None], 3, 1))),
            "true_answers": (lead, each([0.02, 0.05, 0.5, 0.8, 0.9995, 1.0])),
            "program_explains": (lead, each(explains)),
            "program_bits": ((*lead, "keeps", "mixture"), each(bits)),
            "chosen": ((*lead, "keeps"), each(chosen)),
            "table_share": ((*lead, "keeps"), each(np.repeat([[1.0], [1.0], [0.9], [0.5], [0.25], [0.0]], 2, 1))),
            "network_bits": ((*lead, "keeps", "compression"), each(np.full((6, 2, 2), 123456.0))),
            "program_frequency": ((*lead, "frequency"), each(np.isin(np.arange(1, 12), [2, 5])[None].repeat(6, 0))),
            "clock_amplitude": ((*lead, "frequency"), each(np.arange(1.0, 12)[None].repeat(6, 0))),
        },
        coords={
            "step": STEPS, "seed": np.arange(seeds), "level": ["clock", "pizza", "neurons"],
            "keeps": ["answers", "loss"], "mixture": MIXTURES,
            "compression": ["quantized", "pruned"], "frequency": np.arange(1, 12),
        },
    )  # fmt: skip


def llc(seeds: int = 1) -> xr.Dataset:
    """160 on the plateau and 40 at the end, with n = 1024 train pairs, so that log2 n = 10."""
    values = np.repeat(np.array([0.0, 100, 160, 120, 60, 40])[:, None], seeds, 1)
    return xr.Dataset(
        {"llc": (("step", "seed"), values), "llc_se": (("step", "seed"), 0 * values + 0.5)},
        coords={"step": STEPS, "seed": np.arange(seeds)},
        attrs={"n": 1024, "n_beta": 30.0, "gamma": 100.0},
    )


def test_plateau_and_end_are_said_with_their_numbers() -> None:
    text = " ".join(program.sentences(measured(), llc(), SUMMARY)).replace("\u00a0", " ")
    plateau, end = text.split("At step 5,000")
    assert plateau.startswith("At step 400 (train set memorized, test set not yet) with frequencies 2 and 5 the clock ")
    assert "the clock holds 30% of the variance of the logits and gives 55% of the network's answers" in plateau
    assert "the pizza 31% and 55%, the program of neurons 31.5% and 55%. The network is right on 50%" in plateau
    assert (
        "keeps the network's answers to all pairs is that of the clock, 5,000 bits, 90% of them for listed" in plateau
    )
    assert "within a nat in all is the table, 4,500 bits" in plateau
    assert "is that of the clock, 40 bits, 0% of them for listed pairs (the table alone: 9,000)" in end
    assert "the shortest program explains the network from step 2,000 on" in end
    assert "n = 1,024 train pairs" in end


def test_what_is_never_explained_is_said_so() -> None:
    text = " ".join(program.sentences(measured(explains=(False,) * 6), None, SUMMARY))
    assert "its shortest program does not explain the network at the end" in text
    assert "LLC" not in text
    early = " ".join(program.sentences(measured().isel(step=[0, 1]), None, {}))
    assert "At step 100 no level has a program" in early


def test_there_is_no_plateau_where_the_first_checkpoint_after_memorizing_generalizes() -> None:
    one = measured().isel(seed=0)
    assert program.places(one, SUMMARY) == [2, 5]
    assert program.places(one, {"memorization_step": 250, "generalization_step": 300}) == [5]
    assert program.places(one, {"memorization_step": 250, "generalization_step": None}) == [2, 5]
    assert program.places(one, {"memorization_step": None}) == [5]


def test_tables_have_every_code_beside_the_llc_in_bits() -> None:
    plateau, end = program.tables(measured(), llc(), SUMMARY)
    rows = {row[0]: [cell.replace("\u00a0", " ") for cell in row[1:]] for row in end.rows}
    assert rows["Clock"] == ["98%", "100%", "40", "80"]
    assert rows["Table"] == ["–", "–", "9,000", "4,500"]
    assert rows["Network, pruned"] == ["–", "–", "123,456", "123,456"]
    assert rows["LLC × log₂ n"] == ["–", "–", "–", "400.0 ± 5.0"]  # 40 log2 1024, 0.5 log2 1024
    assert plateau.rows[-1][-1].replace("\u00a0", " ") == "1,600.0 ± 5.0"
    assert "step 400" in plateau.caption


def test_of_several_seeds_every_onset_and_their_median_are_said() -> None:
    several = measured(3)
    several.program_explains[3, 1] = True
    several.program_explains[5, 2] = False
    several.explained_variance[5, 1:, 0] = [0.9, 0.5]
    shares, text = program.sentences(several, None, {"seeds": {str(i): SUMMARY for i in range(3)}})
    plateau, end = shares.split("At the end")
    assert "On the plateau these hold of the variance of the logits" in plateau
    assert "the clock 30% (30% to 30%, 3 seeds)" in plateau
    assert "the clock 90% (50% to 98%, 3 seeds)" in end
    every, *each = program.tables(several, None, {})
    assert every.rows[2] == ["2", "–", "50%", "99%", "99.5%", "40 (clock)", "80 (clock)"]
    assert len(each) == 3
    assert "explains 2 of 3 networks at the end, from step 2,000 (seed 0) and 1,000 (seed 1) on" in text
    assert "the median is step 1,500" in text


def planted_run(path: Path) -> RunDirectory:
    """A run of two checkpoints, the last one a planted clock."""
    end = networks.clock()
    run = RunDirectory(path)
    model = {"kind": "quadratic", "width": end.parameters["U"].shape[-1], "activation": "quadratic"}
    config = {"name": "planted", "task": {"modulus": 23, "operation": "addition"}, "model": model, "seeds": [0]}
    run.write_manifest({"config": {**config, "training": None}, "stages": {}})
    for step in (0, 5):
        run.write_checkpoint(step, {name: tensor[None] for name, tensor in end.parameters.items()})
    return run


def test_the_listing_is_the_file_and_runs_by_itself(tmp_path: Path) -> None:
    found = listing.read_listing(planted_run(tmp_path / "run"))
    assert found.explained
    assert found.reason == ""
    space: dict = {}
    exec(compile(found.source, "program.py", "exec"), space)
    a, b = np.divmod(np.arange(23**2), 23)
    assert (space["answer"](a, b) == (a + b) % 23).all()
    assert (found.step, found.seed) == (5, 0)
    for k, size in AMPLITUDES.items():
        assert f"    {k}: {size:g}" in found.essential
    assert '"""' not in found.essential
    assert "import" not in found.essential
    assert max(map(len, found.essential.splitlines())) <= listing.WIDTH


def number(pattern: str, text: str) -> float:
    """A number with its sign apart."""
    (found,) = re.findall(pattern, text)
    return float(found.replace(" ", ""))


def test_neurons_are_written_with_their_planted_phases() -> None:
    f, g = networks.gromov_phases()
    found = programs.neurons(programs.read(networks.gromov()), ridge=None)
    lines = listing.neuron_lines(found).splitlines()
    formulas = [line for line in " ".join(line.strip() for line in lines[1:]).split("k = ") if line]
    assert len(formulas) == len(AMPLITUDES)
    for text in formulas:
        of_a, of_b = (number(rf"cos\({token} ([+-] [\d.]+)\)", text) for token in "ab")
        out = number(r"\* [\d.e+-]+ cos\(c ([+-] [\d.]+)\)", text)
        distance = np.abs(np.exp(1j * (f - of_a)) - 1) + np.abs(np.exp(1j * (g - of_b)) - 1)
        assert distance.min() < 0.02  # a planted neuron, to two digits
        assert np.abs(np.exp(1j * (out - of_a - of_b)) - 1) < 0.03  # W = cos(w c + f + g)
        assert text.split(":")[1].strip().startswith("quadratic(")


def test_a_network_without_a_program_gives_the_reason(tmp_path: Path) -> None:
    run = planted_run(tmp_path / "run")
    task = ModularTask(23)
    wrong = Trajectory.of(planted.quadratic_clock(23, AMPLITUDES, sign=-1), task)
    run.write_checkpoint(5, {name: tensor[None] for name, tensor in wrong.parameters.items()})
    found = listing.read_listing(run)
    assert found.source == ""
    assert "not explained" in found.reason
    assert "lists pairs" in program.listed(found._replace(reason="", explained=False), True)
    assert program.listed(found, False).startswith("There is no program of the network at step 5: the network is not")


def test_the_page_has_the_section_with_the_program_as_text(tmp_path: Path) -> None:
    run = planted_run(tmp_path / "run")
    run.write_measurement("program", measured(), {})
    page = report.write(run.path).read_text(encoding="utf-8")
    (source,) = re.findall(r"<pre class=\"scroll\">(.*?)</pre>", page, re.DOTALL)
    assert html.unescape(source) == listing.read_listing(run).source
    assert "<h2>Program</h2>" in page
    assert {path.name for path in (run.path / "figures").iterdir()} == {"explained_share.svg", "explained_share.png"}
    drawn = program.figures(measured(), None, llc(), listing.read_listing(run), "addition", tmp_path)
    assert [figure.name for figure in drawn] == ["explained_share", "description_length"]
    run.write_measurement("program", measured().drop_dims("keeps"), {})
    with pytest.raises(SltGrokError, match=r"program.nc: expected the dimension keeps"):
        report.write(run.path)


def test_synthetic_page_without_programs_has_no_section(tmp_path: Path) -> None:
    run = synthetic.write_run(tmp_path / "run", only=("training",))
    assert "<pre" not in report.write(run.path).read_text(encoding="utf-8")
