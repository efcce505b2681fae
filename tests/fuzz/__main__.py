"""The whole harness: `python -m tests.fuzz` takes under an hour on two cores and writes one table.

Numbers of cases can be divided by an argument: `python -m tests.fuzz 10`.
"""

import shlex
import sys
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import patch

import yaml

from slt_grok.config import load_config
from slt_grok.progress import announce
from slt_grok.store.files import write_json
from slt_grok.studies import execute_run
from slt_grok.studies.provenance import environment
from tests.conftest import CONFIG
from tests.fuzz.damage import damage_runs
from tests.fuzz.inputs import try_configurations, try_imports
from tests.fuzz.kills import kill_commands
from tests.fuzz.outcomes import KINDS, Part

RESULT = Path(__file__).parents[2] / "analyses" / "results" / "fuzz.json"
CONFIGURATIONS, DAMAGED, IMPORTS, KILLS, DOUBLES = 10_000, 1_000, 300, 100, 20


def main() -> None:
    """Try everything, and write the table."""
    share, start = int(sys.argv[1]) if sys.argv[1:] else 1, time.monotonic()
    parts: dict[str, Part] = {}
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(1) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(name)
        killing = pool.submit(kill_commands, KILLS // share, DOUBLES // share, folder / "kills")
        with patch("slt_grok.report.write", lambda run: run.path):  # drawn by other tests
            parts["configurations and studies"] = try_configurations(CONFIGURATIONS // share, folder)
            announce("fuzz", f"configurations: {dict(parts['configurations and studies'].counts)}")
            parts["damaged runs"] = damage_runs(range(DAMAGED // share), *_runs(folder), folder)
            announce("fuzz", f"damaged runs: {dict(parts['damaged runs'].counts)}")
            parts["imports"] = try_imports(range(IMPORTS // share), folder)
            announce("fuzz", f"imports: {dict(parts['imports'].counts)}")
        parts["kills"], parts["two at once"] = killing.result()
    content = {
        "command": shlex.join(["python", "-m", "tests.fuzz", *sys.argv[1:]]),
        "environment": environment(),
        "wall_seconds": round(time.monotonic() - start),
        "parts": {
            name: {"tried": part.counts.total(), **{kind: part.counts[kind] for kind in KINDS if kind not in unseen}}
            for (name, part), unseen in zip(parts.items(), (("silent", "lost"), (), (), (), ()), strict=True)
        },
    }
    for part in parts.values():
        print(*part.examples, sep="\n\n")
    print(yaml.safe_dump(content["parts"], sort_keys=False))
    if share == 1:
        write_json(RESULT, content)


def _runs(folder: Path) -> tuple[Path, Path]:
    """Make a run to damage, and another one with files of the same names."""
    for name, modulus in (("one", 5), ("other", 7)):
        config = folder / f"{name}.yaml"
        config.write_text(yaml.safe_dump({**CONFIG, "task": {**CONFIG["task"], "modulus": modulus}}))
        execute_run(load_config(config), folder / name)
    return folder / "one", folder / "other"


if __name__ == "__main__":
    main()
