"""Environments of the peers, and the processes that do the work in them.

Each peer is installed into a virtual environment of its own under runs/peers, with the interpreter that runs the
benchmark and the same release of torch, so that nothing but the peer differs. A contestant is a worker: a process that
loads its job, warms up, and does one repetition for each line that it is sent, so that repetitions of several
contestants interleave and neither imports nor compilation is counted (`workers/protocol.py` is the other end).
"""

import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch

import slt_grok

WORKERS = Path(__file__).parent / "workers"
TORCH = f"torch=={torch.__version__.split('+')[0]}"
PEERS: dict[str, list[list[str]]] = {  # arguments of each `pip install`
    "devinterp-1.3.2": [["devinterp==1.3.2", TORCH]],
    "devinterp-2.0.1": [["devinterp==2.0.1", TORCH]],
    "canonical-interp": [
        [TORCH, "numpy>=2.2.6", "pandas>=2.3.3", "tqdm>=4.67.3"],
        # of Python 3.12, which it asks for, it needs itertools.batched alone: its worker has that for older ones
        ["--no-deps", "--ignore-requires-python", "canonical-interp==0.2.7"],
    ],
    "jax": [["jax[cpu]==0.10.2", "optax==0.2.8"]],
    "torch-loop": [],  # needs torch alone: this environment has it
}


class PeerMissing(Exception):
    """A peer that cannot take part; the message is one sentence that says why."""


def interpreter(peer: str, folder: Path) -> Path:
    """Return the Python of a peer's environment, which is made where it is missing.

    Parameters
    ----------
    peer : str
        A name in `PEERS`; any other name, such as slt_grok, runs in this environment.
    folder : Path
        Where the environments lie.

    Raises
    ------
    PeerMissing
        Pip finds no set of packages, or one with CUDA libraries of gigabytes.
    """
    steps = PEERS.get(peer, [])
    if not steps:
        return Path(sys.executable)
    home = folder.absolute() / peer
    python, done = home / "bin" / "python", home / "installed.json"
    if done.exists() and done.read_text() == json.dumps(steps):
        return python
    print(f"{peer}: installing it into {folder / peer}", flush=True)
    venv.create(home, with_pip=True, clear=True)
    for arguments in steps:
        pip = [str(python), "-m", "pip", "install", "--quiet", *arguments]
        planned = json.loads(_output([*pip, "--dry-run", "--report", "-"], peer))["install"]
        cuda = [item["metadata"]["name"] for item in planned if item["metadata"]["name"].startswith("nvidia")]
        if cuda:
            raise PeerMissing(
                f"{peer}: left out, since pip would install {len(cuda)} CUDA packages with {TORCH}; name an index of "
                f"CPU wheels by PIP_EXTRA_INDEX_URL."
            )
        _output(pip, peer)
    done.write_text(json.dumps(steps))
    return python


def _output(command: list[str], peer: str) -> str:
    found = subprocess.run(command, capture_output=True, text=True)
    if found.returncode:
        errors = [line for line in found.stderr.splitlines() if "error" in line.lower()] or ["no message"]
        raise PeerMissing(f"{peer}: left out, since it cannot be installed ({errors[0].strip()}).")
    return found.stdout


@dataclass
class Worker:
    """A running contestant.

    name : of the contestant.
    hello : what it said after its warm-up, among it `computed`, a sentence on what it computes.
    """

    name: str
    hello: dict[str, Any]
    process: subprocess.Popen[str]
    answers: IO[str]
    log: IO[str]

    @classmethod
    def start(
        cls, name: str, script: str | Path, job: Mapping[str, Any], folder: Path, scratch: Path, threads: int
    ) -> "Worker":
        """Start a worker and wait until it is warm.

        Parameters
        ----------
        name : str
            Of the contestant; of a peer its environment.
        script : str or Path
            File name in `workers`, or a path.
        job : Mapping[str, Any]
            What it is to do, as JSON.
        folder : Path
            Where the environments lie.
        scratch : Path
            Where its job and its log go.
        threads : int
            That each library may use.

        Raises
        ------
        PeerMissing
            The environment cannot be made, or the worker ended before it was warm.
        """
        python = interpreter(name, folder)
        path = scratch / f"{name}.json"
        reading, writing = os.pipe()
        path.write_text(json.dumps({**job, "threads": threads, "answers": writing}))
        variables = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        if threads == 1:
            variables["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
        if str(python) == sys.executable:
            variables["PYTHONPATH"] = str(Path(slt_grok.__file__).parents[1])
        log = open(scratch / f"{name}.log", "w+")  # noqa: SIM115  closed by `close`
        process = subprocess.Popen(
            [str(python), str(WORKERS / script), str(path)],
            stdin=subprocess.PIPE, stdout=log, stderr=log, text=True, env={**os.environ, **variables},
            pass_fds=[writing],
        )  # fmt: skip
        os.close(writing)
        worker = cls(name, {}, process, os.fdopen(reading), log)
        try:
            worker.hello = worker._answer()
        except PeerMissing:
            worker.close()
            raise
        return worker

    def repeat(self, repetition: int) -> dict[str, Any]:
        """One repetition: at least `seconds` and `units`, the number of pieces of work that took them.

        Raises
        ------
        PeerMissing
            The worker ended.
        """
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{repetition}\n")
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise self._lost() from error
        return self._answer()

    def close(self) -> None:
        """Let the process end."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended already
            self.process.stdin.close()
        self.process.wait()
        self.answers.close()
        self.log.close()

    def _answer(self) -> dict[str, Any]:
        line = self.answers.readline()
        if not line:
            raise self._lost()
        return json.loads(line)

    def _lost(self) -> PeerMissing:
        self.process.wait()
        self.log.seek(0)
        last = ([line for line in self.log.read().splitlines() if line.strip()] or ["no message"])[-1]
        return PeerMissing(f"{self.name}: left out, since its worker ended ({last.strip()}).")


def start_all(
    contestants: Sequence[tuple[str, str, Mapping[str, Any]]],
    folder: Path,
    scratch: Path,
    threads: int,
    say: Callable[[str], None],
) -> tuple[list[Worker], list[str]]:
    """Workers of (name, script, job), and a sentence for each that cannot take part.

    Raises
    ------
    PeerMissing
        slt_grok itself is missing, since there is nothing to compare then.
    """
    workers: list[Worker] = []
    missing: list[str] = []
    for name, script, job in contestants:
        try:
            workers.append(Worker.start(name, script, job, folder, scratch, threads))
        except PeerMissing as sentence:
            if name == "slt_grok":
                for worker in workers:
                    worker.close()
                raise
            missing.append(str(sentence))
            say(str(sentence))
            continue
        say(f"{name}: {workers[-1].hello['computed']} (warm after {workers[-1].hello['warm_up_seconds']} s)")
    return workers, missing
