"""Jobs in processes of their own: results, what they report, errors, kills, and nobody left behind."""

import multiprocessing
import os
import signal
import sys
import time
from contextlib import suppress
from multiprocessing.util import register_after_fork

import pytest
import torch

from slt_grok.errors import SltGrokError
from slt_grok.processes import run_parallel

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux alone")


@pytest.fixture(autouse=True)
def _two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_every_job_is_done_once_elsewhere_and_on_one_thread():
    def job(number):
        return lambda report: (number**2, os.getpid(), torch.get_num_threads())

    found = dict(run_parallel([job(n) for n in range(7)]))
    assert {place: square for place, (square, _, _) in found.items()} == {n: n**2 for n in range(7)}
    workers = {process for _, process, _ in found.values()}
    assert os.getpid() not in workers
    assert len(workers) <= 2
    assert {threads for _, _, threads in found.values()} == {1}


@pytest.mark.parametrize("most", [1, None])
def test_no_more_at_a_time_than_asked_and_one_job_stays_here(most):
    jobs = [lambda report: os.getpid()] * (1 if most is None else 3)
    assert {process for _, process in run_parallel(jobs, most=most)} == {os.getpid()}


def test_a_tensor_comes_back_as_it_was():
    value = torch.linspace(0, 1, 5, dtype=torch.float64)
    found = dict(run_parallel([lambda report: 2 * value, lambda report: 3 * value]))
    assert torch.equal(found[0], 2 * value)
    assert torch.equal(found[1], 3 * value)


def test_what_a_job_says_arrives_with_its_place():
    def job(number):
        def run(report):
            for _ in range(3):
                time.sleep(0.15)
                report(number)

        return run

    said = []
    list(run_parallel([job(10), job(20)], lambda place, value: said.append((place, value))))
    assert set(said) == {(0, 10), (1, 20)}


class OfTwoArguments(Exception):
    """Python cannot unpickle it from its message alone."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


@pytest.mark.parametrize(
    ("error", "kind"), [(SltGrokError("so and it is"), SltGrokError), (OfTwoArguments("so", "it is"), RuntimeError)]
)
def test_an_error_arrives_and_ends_the_others(error, kind, tmp_path):
    def fails(report):
        raise error

    def goes_on(report):
        time.sleep(2)
        (tmp_path / "done").touch()

    with pytest.raises(kind, match="so and it is"):
        list(run_parallel([fails, goes_on]))
    time.sleep(2.5)
    assert not (tmp_path / "done").exists()


def test_a_killed_process_is_a_sentence():
    def dies(report):
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(SltGrokError, match="killed, perhaps because memory ran out") as error:
        list(run_parallel([dies, lambda report: time.sleep(5)]))
    assert isinstance(error.value.__cause__, OSError)  # a study tries again after one of these


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_children_end_with_their_parent_without_a_word(how, tmp_path, capfd):
    def silent(report):
        (tmp_path / str(os.getpid())).touch()
        time.sleep(600)

    def parent():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored under nohup
        with suppress(KeyboardInterrupt):
            list(run_parallel([silent, silent]))

    process = multiprocessing.get_context("fork").Process(target=parent)
    process.start()
    deadline = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    children = [int(path.name) for path in tmp_path.iterdir()]
    assert len(children) == 2
    assert process.pid
    os.kill(process.pid, how)
    process.join()
    while any(map(alive, children)) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(map(alive, children))
    assert capfd.readouterr().err == ""


class Started:
    """Something that multiprocessing remembers while it exists."""


def test_ctrl_c_reaches_no_child_that_starts(capfd):
    """It goes to the whole group of processes of a terminal, and may find them at their first line."""
    started = Started()
    register_after_fork(started, lambda _: os.kill(os.getpid(), signal.SIGINT))
    assert dict(run_parallel([lambda report: 3] * 2)) == {0: 3, 1: 3}
    assert capfd.readouterr().err == ""


def alive(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
