"""Which of P1-P9, and which published claims, the studies that are there support or refute.

Usage: python analyses/all.py [--out FOLDER] RUNS
RUNS is the folder of the studies' directories. Runs every script of claims/ whose study is there, each of which writes
its own JSON and figure, and writes all.json with all of them: verdicts with their reasons and effects, and
by name the claims whose study is missing or lacks what the rule reads. A claim whose study is not there keeps the
verdict that an earlier run wrote into FOLDER, if the rule is still the one by which it was decided.
"""

import argparse
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from slt_grok import load_study
from slt_grok.errors import SltGrokError
from slt_grok.store.files import read_json, write_json
from slt_grok.studies.results import StudyResults

CLAIMS = Path(__file__).parent / "claims"
sys.path.insert(0, str(CLAIMS))  # as Python has it when one of its scripts runs

rule, verdict = import_module("rule"), import_module("verdict")

MISSING = "not tested"


def studies(folder: Path) -> dict[str, StudyResults]:
    """Return the studies of a folder by name.

    Raises
    ------
    SltGrokError
        No such folder, a damaged study, or one name twice.
    """
    if not folder.is_dir():
        raise SltGrokError(f"{folder}: expected a folder of studies")
    found: dict[str, StudyResults] = {}
    for index in sorted(folder.glob("*/study.json")):
        name = read_json(index)["name"]
        if name in found:
            raise SltGrokError(f"{index.parent}: expected one study {name}, {found[name].path} is another")
        found[name] = load_study(index.parent)
    return found


def tested(name: str, known: dict[str, StudyResults], out: Path) -> dict[str, Any]:
    """What a script of claims/ found, or why it found nothing."""
    script = import_module(name)
    text, study = script.__doc__ or "", script.STUDY
    if study not in known:
        earlier, drawn = (out / f"{name}.{kind}" for kind in ("json", "png"))
        if earlier.is_file() and drawn.is_file() and (found := read_json(earlier)).get("rule") == text.strip():
            return found
        reason = f"the study {study} is not there (slt-grok study configs/studies/{study}.yaml)"
    else:
        try:
            return verdict.judge(name, text, known[study], script.decide, script.panel, out)
        except SltGrokError as error:
            reason = str(error).replace(f"{known[study].path.parent}/", "")
    return {"claim": text.partition("\n")[0], "rule": text.strip(), "verdict": MISSING, "reasons": [reason]}


def main(folder: Path, out: Path) -> None:
    """Test, write, say."""
    known = studies(folder)
    out.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, Any]] = {}
    for script in [*sorted(CLAIMS.glob("p[0-9]_*.py")), *sorted(CLAIMS.glob("published_*.py"))]:
        one = found[script.stem] = tested(script.stem, known, out)
        print(f"{script.stem}: {one['verdict']}")
        for sentence in one["reasons"]:
            print(f"  {sentence}")
    write_json(out / "all.json", {"command": f"python analyses/all.py {folder.name}", "claims": found})
    print(out / "all.json")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", type=Path, metavar="RUNS")
    parser.add_argument("--out", type=Path, default=verdict.RESULTS, metavar="FOLDER")
    arguments = parser.parse_args()
    try:
        main(arguments.runs, arguments.out)
    except SltGrokError as error:
        sys.exit(str(error))
