"""Commands killed at random moments, and two at once, end in the values of one that ran undisturbed."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from slt_grok.studies.run import Run
from tests.fuzz.outcomes import LONGEST_SECONDS, Part, judge_message, same_data

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
KILLS_IN_A_ROW = 5  # before the command may end
CONFIG: dict[str, Any] = {
    "name": "killed",
    "seeds": [0, 1],
    "task": {"modulus": 13, "train_fraction": 0.6},
    "model": {"kind": "transformer", "d_model": 16, "n_heads": 2, "d_mlp": 32},
    "training": {"steps": 400, "batch_size": 50, "evaluate_every": 100, "checkpoints": {"logarithmic": 4, "linear": 6}},
    "llc": {
        "sampler": {"step_size": 0.01},
        "n_beta": 20,
        "gamma": 50,
        "chains": 4,
        "draws": 60,
        "burn_in": 20,
        "batch_size": 40,
    },
    "landscape": {"probe_checkpoints": 4, "eigenvalues": 2},
}
STUDY = {"name": "killed", "base": "killed.yaml", "seeds": 2, "batch": 1, "measurements": ["llc"], "arms": {"one": {}}}
PROGRAM = (
    "import signal, slt_grok.__main__ as command; signal.signal(signal.SIGINT, command._leave)\n"  # as at any start
    "import slt_grok.training.loop as loop; loop.SAVE_SECONDS = 0.2\n"  # any moment of training is one to resume from
    "import slt_grok.llc.measurement as llc; llc.SHARD_CHAINS = 16\n"
    "import slt_grok.report as report; report.write = lambda run: run.path\n"  # drawn again in any case
    "command.main()"
)


def start(*arguments: object) -> "subprocess.Popen[str]":
    """Start a command in a process group of its own."""
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def ended(process: "subprocess.Popen[str]", seconds: float = LONGEST_SECONDS) -> tuple[int | None, str]:
    """Wait for a command; no exit code if it hangs."""
    try:
        _, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return None, process.communicate()[1]
    return process.returncode, errors


def files(out: Path) -> set[Path]:
    """List checkpoints, shards and measurements."""
    walk = (Path(folder) / name for folder, _, names in os.walk(out) for name in names)  # folders may vanish meanwhile
    return {path for path in walk if path.suffix in (".safetensors", ".nc")}


def wait_for_files(process: "subprocess.Popen[str]", out: Path, count: int) -> None:
    """Wait until there are so many new files, or the process has ended."""
    before = files(out)
    while process.poll() is None and len(files(out) - before) < count:
        time.sleep(0.01)


class Case:
    """A command, its output folder, and the result of an undisturbed one.

    Parameters
    ----------
    command : str
        Name of the command: run, study or measure.
    folder : Path
        Where to work.
    """

    def __init__(self, command: str, folder: Path) -> None:
        self.command, self.folder = command, folder
        folder.mkdir(parents=True)
        self.config = folder / "killed.yaml"
        self.config.write_text(yaml.safe_dump(CONFIG))
        (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
        if command == "measure":
            code, errors = ended(start("run", self._without_measurements(), "--out", folder / "trained"), 600)
            assert code == 0, errors
        code, errors = ended(start(*self.arguments(folder / "through")), 600)
        assert code == 0, errors
        self.expected = result(folder / "through")

    def _without_measurements(self) -> Path:
        path = self.folder / "bare.yaml"
        path.write_text(yaml.safe_dump({**CONFIG, "llc": None, "landscape": None}))
        return path

    def arguments(self, out: Path) -> list[object]:
        """Build the command for an output folder."""
        if self.command == "measure":
            if not out.exists():
                shutil.copytree(self.folder / "trained", out)
            return ["measure", out, "--config", self.config]
        file = self.config if self.command == "run" else self.folder / "study.yaml"
        return [self.command, file, "--out", out]

    def differs(self, out: Path) -> bool:
        """Return whether the result is not that of the undisturbed command."""
        found = result(out)
        return found.keys() != self.expected.keys() or not all(
            same_data(found[run], datasets) for run, datasets in self.expected.items()
        )


def result(out: Path) -> dict[str, Any]:
    """Read all datasets of a run, or of the runs of a study."""
    manifests = sorted(out.rglob("manifest.json"))
    return {str(path.parent.relative_to(out)): Run(path.parent).data for path in manifests}


def killed(case: Case, moments: random.Random, out: Path) -> list[tuple[str, str]]:
    """Kill a command several times, then let it end; one outcome for each kill that was in time."""
    outcomes: list[tuple[str, str]] = []
    for _ in range(KILLS_IN_A_ROW):
        process, sent = start(*case.arguments(out)), moments.choice(SIGNALS)
        wait_for_files(process, out, moments.randint(0, 4))
        time.sleep(moments.uniform(0, 0.3))
        if process.poll() is not None:
            ended(process)
            break
        os.killpg(process.pid, sent)
        code, errors = ended(process)
        if code is None:
            outcomes.append(("hang", f"{case.command} after {sent.name}"))
        elif "Traceback" in errors:
            outcomes.append(("traceback", errors[-2000:]))
        elif code not in ((130, 0) if sent == signal.SIGINT else (-sent, 0)):  # 0: it ended meanwhile
            outcomes.append(("malformed", f"{case.command}: exit code {code} after {sent.name}: {errors[-2000:]}"))
        elif code == 130 and errors.count("interrupted; re-run the same command") != 1:
            outcomes.append(("malformed", errors[-2000:]))
        else:
            outcomes.append(("right", ""))
    code, errors = ended(start(*case.arguments(out)), 600)
    if code == 0 and not case.differs(out) and not list(out.rglob("*.part")):
        return outcomes
    return [("lost", f"{case.command}: exit code {code} in the end, or other values: {errors[-2000:]}")] * len(outcomes)


def doubled(case: Case, moments: random.Random, out: Path) -> tuple[str, str]:
    """Start a command twice at once: one ends, the other says who is working."""
    first = start(*case.arguments(out))
    time.sleep(moments.uniform(0, 3))
    second = start(*case.arguments(out))
    ends = [ended(first, 600), ended(second, 600)]
    codes = sorted(-1 if code is None else code for code, _ in ends)
    if -1 in codes:
        return "hang", f"{case.command} twice"
    if codes not in ([0, 0], [0, 2]):
        return "traceback", f"{case.command} twice: {json.dumps(ends)}"
    if case.differs(out):
        return "lost", f"{case.command} twice: other values"
    refused = next((errors for code, errors in ends if code == 2), None)
    if refused is None:
        return "right", ""  # one after the other
    kind, words = judge_message(refused, str(out))
    return (kind, words) if "is working here" in words else ("malformed", words)


def kill_commands(kills: int, doubles: int, folder: Path) -> tuple[Part, Part]:
    """Kill, and double, run, measure and study in turn."""
    after_kills, after_doubles = Part(), Part()
    cases = [Case(command, folder / command) for command in ("run", "measure", "study")]
    for number in count():
        if after_kills.counts.total() >= kills:
            break
        case = cases[number % len(cases)]
        for kind, words in killed(case, random.Random(f"kills {number}"), case.folder / f"killed{number}"):
            after_kills.add(kind, f"series {number}: {words}")
    for number in range(doubles):
        case = cases[number % len(cases)]
        kind, words = doubled(case, random.Random(f"twice {number}"), case.folder / f"twice{number}")
        after_doubles.add(kind, f"pair {number}: {words}")
    return after_kills, after_doubles
