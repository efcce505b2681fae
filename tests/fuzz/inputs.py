"""Configurations, study files and checkpoints with something wrong: read rightly, or refused in one sentence."""

import random
from pathlib import Path
from typing import Any

import torch
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import slt_grok
from slt_grok.config import load_config, parse_config
from slt_grok.studies.grid import load_study_file
from tests.conftest import CONFIG
from tests.fuzz.configurations import configurations
from tests.fuzz.outcomes import Part, judge_call, judge_command
from tests.store.test_fuzz import LAYOUTS, computes_the_logits_of, saved

STUDY: dict[str, Any] = {
    "name": "some",
    "base": "base.yaml",
    "seeds": 2,
    "batch": 2,
    "measurements": ["llc"],
    "set": {"training.steps": 10},
    "arms": {"one": {"grid": {"model.d_mlp": [8, 16]}}, "two": {"points": [{"task.modulus": 7, "llc.draws": 10}]}},
}
TOKENS = [
    ":",
    "-",
    "{",
    "}",
    "[",
    "]",
    "&a",
    "*a",
    "!!int",
    "!!python/object:os.system",
    "<<",
    "\t",
    "|",
    ">",
    "'",
    '"',
]
TOKENS += ["2024-13-45", "050", "1:30", "yes", "null", "~", "?", "%", "\0", "\x85", "9" * 5000, "[" * 1000, "#", ""]


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Draw the text of a configuration with some characters replaced."""
    text = yaml.safe_dump(CONFIG)
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        text = text[:start] + draw(st.sampled_from(TOKENS)) + text[start + draw(st.integers(0, 12)) :]
    return text


def try_configurations(cases: int, folder: Path) -> Part:
    """Try mutated content, mutated text and mutated study files, in shares of 3 : 1 : 1."""
    part = Part()
    (folder / "base.yaml").write_text(yaml.safe_dump(CONFIG))
    file = folder / "c.yaml"

    def parsed(content: Any) -> None:
        kind, words = judge_call(lambda: parse_config(content, "c.yaml"), "c.yaml")
        part.add(kind, f"{content!r}: {words}"[-3000:])

    def written(text: str) -> None:
        file.write_bytes(text.encode(errors="surrogatepass"))
        kind, words = judge_call(lambda: load_config(file), "c.yaml")
        part.add(kind, f"{text}: {words}"[-3000:])

    def planned(content: Any) -> None:
        try:
            file.write_text(yaml.safe_dump(content))
        except (UnicodeEncodeError, ValueError):  # cannot be in a file
            return
        kind, words = judge_call(lambda: load_study_file(file), str(folder))
        part.add(kind, f"{content!r}: {words}"[-3000:])

    for share, strategy, attempt in (
        (3 * cases // 5, configurations(), parsed),
        (cases // 5, texts(), written),
        (cases // 5, configurations(STUDY), planned),
    ):
        _draw(share, strategy, attempt)
    return part


def _draw(cases: int, strategy: st.SearchStrategy[Any], attempt: Any) -> None:
    checks = (HealthCheck.too_slow, HealthCheck.large_base_example, HealthCheck.data_too_large)
    options: dict[str, Any] = {"deadline": None, "derandomize": True, "database": None, "suppress_health_check": checks}
    settings(max_examples=cases, phases=[Phase.generate], **options)(given(strategy)(attempt))()


def try_imports(cases: range, folder: Path) -> Part:
    """Import folders of one or two damaged checkpoints."""
    part = Part()
    for case in cases:
        rng, place = random.Random(f"import {case}"), folder / f"import{case}"
        place.mkdir()
        layout = rng.choice([*LAYOUTS])
        same = [saved(rng, place, layout) for _ in range(rng.choice([1, 1, 2]))]
        kind, words = judge_command(["import", place, "--out", place / "run"], str(place))
        if kind == "right" and not _is_right(layout, place / "run", all(same)):
            kind = "silent"
        elif kind == "sentence" and (place / "run").exists():
            kind = "lost"
        part.add(kind, f"case {case}, {layout}: {words[-1000:]}")
    return part


def _is_right(layout: str, run: Path, same: bool) -> bool:
    trajectory = slt_grok.trajectory(run)
    if not all(torch.isfinite(tensor).all() for tensor in trajectory.parameters.values()):
        return False
    try:
        if same:
            computes_the_logits_of(layout, trajectory)
    except AssertionError:
        return False
    return True
