"""How fast is it: every workload with this package and with its peers, interleaved, in one run.

W1  LLC of the MLP of devinterp's grokking notebook     W2  LLC of the p = 113 transformer
W3  training the p = 113 transformer                    W4  all Fourier measures of its checkpoints
W5  64 seeds at once                                    W6  cost as checkpoints, chains and p grow
W7  the quickstart from command to report

Usage: python analyses/benchmark_speed.py [--only W1 --only W3] [--repetitions 5] [--json FILE]

Peers get environments of their own under runs/peers on first use; one that cannot be installed is left out with a
sentence. Ratios are medians over medians, with the 95% bootstrap interval over the repetitions. FILE keeps the
workloads that were not run again, each with the provenance of its own run; the figure is written next to it.
"""

import argparse
import os
import platform
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runs_below import RESULTS, picture
from speed import chains, figure, measures, quickstart, scaling, training
from speed.material import ROOT
from speed.peers import PeerMissing
from speed.workload import Bench

from slt_grok.errors import SltGrokError
from slt_grok.memory import keep_freed_memory
from slt_grok.store.files import read_json, write_json
from slt_grok.studies.provenance import environment

RESULT = RESULTS / "benchmark_speed.json"
WORKLOADS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "W1": lambda bench: chains.run(bench, chains.W1),
    "W2": lambda bench: chains.run(bench, chains.W2),
    "W3": lambda bench: training.run(bench, training.W3),
    "W4": lambda bench: measures.run(bench, measures.W4),
    "W5": lambda bench: training.run_seeds(bench, training.W5),
    "W6": lambda bench: scaling.run(bench, scaling.W6),
    "W7": quickstart.run,
}


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", action="append", choices=list(WORKLOADS), help="a workload; may be given again")
    parser.add_argument("--repetitions", type=int, default=5, help="of every contestant (W7: at most 3)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="that each may use")
    parser.add_argument("--peer-path", type=Path, help="a file with a function measure(weights, train, circuit) for W4")
    parser.add_argument("--json", type=Path, default=RESULT, help="results; workloads not run are kept")
    arguments = parser.parse_args()
    if arguments.repetitions < 1 or arguments.threads < 1:
        parser.error("--repetitions and --threads: expected at least 1")
    keep_freed_memory()
    records: dict[str, Any] = read_json(arguments.json) if arguments.json.exists() else {}
    for name in arguments.only or WORKLOADS:
        load, start = os.getloadavg()[0], time.perf_counter()
        with tempfile.TemporaryDirectory() as scratch:
            bench = Bench(
                arguments.repetitions, arguments.threads, ROOT / "runs" / "peers", Path(scratch), arguments.peer_path
            )
            print(f"\n{name}", flush=True)
            try:
                record = WORKLOADS[name](bench)
            except (PeerMissing, SltGrokError) as sentence:
                sys.exit(f"benchmark_speed: {name}: {sentence}")
        record["provenance"] = provenance(arguments.repetitions, arguments.threads, load, start)
        records[name] = record
        write_json(arguments.json, dict(sorted(records.items())))
        show(name, record)
    print(picture(figure.draw(records), arguments.json.parent, arguments.json.stem))


def provenance(repetitions: int, threads: int, load: float, start: float) -> dict[str, Any]:
    """Command, environment, and what else the machine was doing when the workload began."""
    return {
        "command": shlex.join(["python", "analyses/benchmark_speed.py", *sys.argv[1:]]),
        "repetitions": repetitions,
        "environment": environment() | {"threads": threads, "processor": processor()},
        "load_before": round(load, 2),
        "wall_seconds": round(time.perf_counter() - start, 1),
        "date": time.strftime("%Y-%m-%d"),
    }


def processor() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor()


def show(name: str, record: dict[str, Any]) -> None:
    """Print a workload as text."""
    print(f"{name}: {record['what']}")
    for contestant, seconds in record["seconds_per_unit"].items():
        low, high = record["quartiles"][contestant]
        line = f"  {contestant:18} {seconds:10.4g} s a {record['unit']} ({low:.4g} to {high:.4g})"
        if contestant in record["ratio"]:
            bounds = record["ratio_interval"][contestant]
            line += f"   {record['ratio'][contestant]:6.2f}x ({bounds[0]:.2f} to {bounds[1]:.2f})"
            if target := record["target"].get(contestant):
                line += f", target {target:g}x"
        print(line)
    for axis, found in record["ratio"].items():
        if axis not in record["seconds_per_unit"]:
            memory = " to ".join(f"{gib:.2f}" for gib in record["peak_gib_large_end"][axis])
            print(f"  {axis}: large end over middle {found:.3f}, target {record['target'][axis]}; peak {memory} GiB")
    if record.get("floor_fraction"):
        floor = record["floor"]
        print(
            f"  {100 * record['floor_fraction']:.0f}% of the floor: {floor['gflop']:.3g} GFLOP at "
            f"{floor['gflop_per_second']:.0f} GFLOP/s"
            + (f", {floor['normals']:.3g} normals at {floor['normals_per_second']:.3g}/s" if floor["normals"] else "")
            + f" = {floor['seconds']:.3g} s"
        )
    for peer, found in record["agreement"].items():
        facts = ", ".join(
            f"{key.replace('_', ' ')} {value:.3g}" for key, value in found.items() if isinstance(value, int | float)
            and not isinstance(value, bool) and value is not None
        )  # fmt: skip
        print(f"  {peer} and slt_grok {'agree' if found['agree'] else 'DO NOT AGREE'} ({facts})")
    for sentence in record["missing"]:
        print(f"  {sentence}")


if __name__ == "__main__":
    main()
