"""The benchmark's arithmetic, its floor, and the conversation with workers; no times are asserted."""

import json
import math
import sys

import numpy as np
import pytest
import torch
from speed import chains, peers, timing
from speed.floor import Floor, Product, flops, mlp_products, transformer_products
from speed.material import spread
from speed.workload import Bench

FAKE = """
import sys
sys.path.insert(0, {workers!r})
from protocol import read_job, serve
print("a library that prints")
job = read_job()
print("and again")
def repeat(repetition):
    print("and in a repetition")
    if repetition == job.get("dies_at"):
        raise ValueError("out of memory, say")
    return {{"units": 2, "seconds": 1.0 + repetition, "told": job["number"]}}
serve({{"computed": "nothing"}}, repeat)
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "fake.py"
    path.write_text(FAKE.format(workers=str(peers.WORKERS)))
    return path


# -- operations -----------------------------------------------------------------------------------------------


def test_operations_of_a_product_by_hand():
    # (2, 3) x (3, 5): 2 * 5 sums of 3 products and 3 additions; backward (2, 5) x (5, 3) and (3, 2) x (2, 5)
    forward, left, right = 2 * 5 * 2 * 3, 2 * 3 * 2 * 5, 3 * 5 * 2 * 2
    assert Product(2, 3, 5).flops == forward + left + right == 180


def test_operations_of_the_mlp_by_hand():
    # p 5, embedding 2, hidden 3, 7 samples: two tables of 5 x 2 x 3 and 7 samples of 3 x 5
    assert flops(mlp_products(5, 2, 3, 7)) == 6 * (2 * 5 * 2 * 3 + 7 * 3 * 5)


def test_operations_of_the_transformer_by_hand():
    # p 5, model 4, hidden 6, 10 samples. Keys and values of 5 tokens + 3 positions, one query: (8 + 8 + 1) 4 x 4;
    # each sample: W_O 4 x 4, W_in and W_out 4 x 6, W_U 4 x 5
    assert flops(transformer_products(5, 4, 6, 10)) == 6 * ((8 + 8 + 1) * 16 + 10 * (16 + 2 * 24 + 20))


def test_floor_adds_products_and_noise(monkeypatch):
    floor = Floor(1)
    product = Product(2, 3, 5)
    floor.seconds_of = {(product, True): 1e-6}
    floor.normals = {"torch": 1e6, "numpy SFC64": 2e6}
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)
    found = floor.facts([product, product], gradients=10, numbers=4e6, batched=True)
    assert found["seconds"] == pytest.approx(10 * 2e-6 + 2.0)  # the faster generator counts
    assert found["gflop"] == pytest.approx(10 * 2 * 180e-9)
    assert found["gflop_per_second"] == pytest.approx(10 * 2 * 180 / 20e-6 / 1e9)


def test_measured_rates_are_rates():
    floor = Floor(1)
    assert 0 < floor.gradient_seconds([Product(8, 8, 8)], batched=True) < math.inf
    assert floor.gradient_seconds([Product(8, 8, 8)] * 2, True) == 2 * floor.gradient_seconds([Product(8, 8, 8)], True)
    assert 0 < floor.normal_rate() < math.inf


# -- ratios and agreement -------------------------------------------------------------------------------------


def test_ratio_is_that_of_the_medians_inside_its_interval():
    ours, theirs = np.array([1.0, 1.1, 0.9, 5.0, 1.0]), np.array([10.0, 9.0, 30.0, 11.0, 10.0])
    ratio, (low, high) = timing.ratio_of_medians(theirs, ours)
    assert ratio == 10.0
    assert low <= ratio <= high
    assert timing.ratio_of_medians(3 * ours, ours) == (3.0, pytest.approx((3.0, 3.0)))


def test_compare_divides_by_the_pieces_of_work():
    answers = {
        "slt_grok": [{"seconds": 2.0, "units": 4}, {"seconds": 4.0, "units": 4}, {"seconds": 6.0, "units": 4}],
        "peer": [{"seconds": 5.0, "units": 1}] * 3,
    }
    found = timing.compare(answers)
    assert found["seconds_per_unit"] == {"slt_grok": 1.0, "peer": 5.0}
    assert found["ratio"] == {"peer": 5.0}
    assert found["quartiles"]["slt_grok"] == [0.75, 1.25]


def test_agreement_of_estimates_has_its_level():
    # both draw from the same law: 200 comparisons of three checkpoints, rejected with a probability of 0.01 at most
    # (Bonferroni), so more than 8 rejections have a probability below 1e-3
    random = np.random.default_rng(0)
    rejected = 0
    for _ in range(200):
        theirs, ours = ({str(i): random.normal(10 * i, 1 + i, n).tolist() for i in range(3)} for n in (6, 10))
        rejected += not timing.same_means(theirs, ours)["agree"]
    assert rejected <= 8


def test_estimates_that_differ_do_not_agree():
    random = np.random.default_rng(1)
    ours = {"0": random.normal(10, 1, 10).tolist(), "1": random.normal(20, 1, 10).tolist()}
    theirs = {"0": random.normal(10, 1, 10).tolist(), "1": random.normal(26, 1, 10).tolist(), "7": [1.0]}
    found = timing.same_means(theirs, ours)
    assert not found["agree"]
    assert found["checkpoints"] == 2
    single = timing.same_means({"1": [40.0]}, ours)  # one chain against the spread of ours
    assert not single["agree"]
    assert timing.same_means({"1": [20.0]}, ours)["agree"]


def test_estimates_are_excesses_over_the_baseline(tmp_path):
    class Material:
        path = tmp_path / "m.npz"

    np.savez(Material.path, baselines=np.array([1.0, 2.0]))
    answers = {
        "slt_grok": [{"losses": {"0": [1.5, 1.7], "1": [2.4, 2.6]}}],
        "peer": [{"losses": {"1": [2.5]}}, {"losses": {"1": [2.7]}}],
    }
    found = chains.agreement(answers, Material, n_beta=10.0)  # pyright: ignore[reportArgumentType]
    np.testing.assert_allclose(found["peer"]["llc"]["1"], [6.0, 5.0])
    assert found["peer"]["mean_difference"] == pytest.approx(0.2)


def test_checkpoints_of_a_repetition():
    assert chains.among(list(range(100)), 4, 0.5) == [12, 37, 62, 87]
    parts = [list(range(part, 50, 10)) for part in range(5)]
    # of the 5 checkpoints in a part those in the places 0.5, 0.118, 0.736, 0.354, 0.972
    chosen = [chains.among(rows, 1, chains.place_of(number)) for number, rows in enumerate(parts)]
    assert chosen == [[20], [1], [32], [13], [44]]
    assert spread(3, 5) == [0, 0, 1, 2, 2]
    assert spread(9, 3) == [0, 4, 8]


# -- workers --------------------------------------------------------------------------------------------------


def test_a_worker_answers_each_repetition_and_prints_are_no_answers(script, tmp_path):
    worker = peers.Worker.start("fake", script, {"number": 7}, tmp_path, tmp_path, 1)
    try:
        assert worker.hello["computed"] == "nothing"
        assert worker.repeat(0) == {"units": 2, "seconds": 1.0, "told": 7}
        assert worker.repeat(3)["seconds"] == 4.0
    finally:
        worker.close()
    assert worker.process.returncode == 0


def test_repetitions_interleave_and_a_worker_that_ends_is_left_out(script, tmp_path):
    lines: list[str] = []
    bench = Bench(3, 1, tmp_path, tmp_path, say=lines.append)
    job = {"number": 1}
    record, answers = bench.race(
        [("slt_grok", script, job), ("steady", script, job), ("mortal", script, {**job, "dies_at": 1})]
    )
    assert set(answers) == {"slt_grok", "steady"}
    assert record["ratio"] == {"steady": 1.0}
    assert record["missing"] == ["mortal: left out, since its worker ended (ValueError: out of memory, say)."]
    order = [line.split()[2] for line in lines if line.startswith("repetition")]
    assert order == ["slt_grok", "steady", "mortal", "steady", "slt_grok", "slt_grok", "steady"]


def test_a_worker_that_does_not_start_is_one_sentence(script, tmp_path):
    lines: list[str] = []
    record, _ = Bench(1, 1, tmp_path, tmp_path, say=lines.append).race(
        [("slt_grok", script, {"number": 1}), ("broken", script, {})]
    )
    assert record["missing"] == ["broken: left out, since its worker ended (KeyError: 'number')."]
    with pytest.raises(peers.PeerMissing, match="slt_grok: left out"):
        Bench(1, 1, tmp_path, tmp_path, say=lines.append).race([("slt_grok", script, {})])


# -- environments ---------------------------------------------------------------------------------------------


def test_what_needs_no_environment_runs_in_this_one(tmp_path):
    assert str(peers.interpreter("slt_grok", tmp_path)) == sys.executable
    assert str(peers.interpreter("torch-loop", tmp_path)) == sys.executable


def test_an_environment_that_is_there_is_used(tmp_path):
    home = tmp_path / "jax"
    home.mkdir()
    (home / "installed.json").write_text(json.dumps(peers.PEERS["jax"]))
    assert peers.interpreter("jax", tmp_path) == home / "bin" / "python"


@pytest.mark.parametrize(
    ("planned", "code", "sentence"),
    [
        (["torch", "nvidia-cublas", "nvidia-cudnn-cu13"], 0, "jax: left out, since pip would install 2 CUDA packages"),
        ([], 1, "jax: left out, since it cannot be installed (ERROR: No matching distribution found for jax)."),
    ],
)
def test_a_peer_that_cannot_be_installed_is_one_sentence(monkeypatch, tmp_path, planned, code, sentence):
    commands = []

    def pip(command, **options):
        commands.append(command)
        report = {"install": [{"metadata": {"name": name}} for name in planned]}
        error = "ERROR: No matching distribution found for jax\nhint: ask\n"
        return peers.subprocess.CompletedProcess(command, code, json.dumps(report), error)

    monkeypatch.setattr(peers.venv, "create", lambda *arguments, **options: None)
    monkeypatch.setattr(peers.subprocess, "run", pip)
    with pytest.raises(peers.PeerMissing) as found:
        peers.interpreter("jax", tmp_path)
    assert str(found.value).startswith(sentence)
    assert len(commands) == 1
    assert "--dry-run" in commands[0]
