"""Sizes that this machine cannot hold are refused with an estimate before anything is allocated."""

from typing import Any

import pytest

from slt_grok import memory
from slt_grok.config import parse_config
from slt_grok.errors import SltGrokError
from tests.conftest import CONFIG


@pytest.mark.parametrize(
    ("section", "key", "value", "named"),
    [
        ("task", "modulus", 1000003, "task.modulus"),
        ("task", "modulus", 2**62, "task.modulus"),
        ("model", "d_mlp", 10**11, "model"),
        ("model", "d_mlp", 2**62, "model: expected smaller sizes"),
        ("llc", "chains", 10**12, "llc.chains"),
        ("llc", "draws", 10**12, "llc.draws"),
        ("training", "steps", 1e30, "training.steps: expected an integer below 2^63, got 1e+30"),
        ("training", "checkpoints", {"linear": 10**12}, "training.checkpoints.linear"),
        ("training", "warmup_steps", 2**80, "training.warmup_steps: expected an integer between"),
    ],
)
def test_a_size_that_cannot_fit(section: str, key: str, value: Any, named: str) -> None:
    with pytest.raises(SltGrokError) as error:
        parse_config({**CONFIG, section: {**CONFIG[section], key: value}}, "c.yaml")
    assert named in str(error.value)


def test_the_seeds_of_a_run_share_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    parse_config({**CONFIG, "seeds": list(range(1000))}, "c.yaml")
    monkeypatch.setattr(memory.os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096}.get(name, 256))  # 1 MiB
    parse_config(CONFIG, "c.yaml")
    with pytest.raises(SltGrokError, match=r"model: .* 0\.000977 GiB .* the optimizer of 1000 seeds need about"):
        parse_config({**CONFIG, "seeds": list(range(1000))}, "c.yaml")
