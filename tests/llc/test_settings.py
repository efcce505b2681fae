"""What a configuration may say about the LLC, and the sentence where it may not."""

import math
from typing import Any

import pytest

from slt_grok.config import parse_config
from slt_grok.errors import SltGrokError
from slt_grok.llc import HMC, MALA, SGLD, LeimkuhlerMatthews, RMSpropSGLD, UnderdampedLangevin
from slt_grok.llc.samplers.devinterp import Devinterp
from slt_grok.llc.settings import LLCSettings
from tests.conftest import CONFIG

BASE = {"sampler": {"step_size": 0.01}, "n_beta": 5, "gamma": 10}


def settings(**content: Any) -> LLCSettings:
    task = {"modulus": 13, "train_fraction": 0.8}  # more samples than any batch here
    found = parse_config({**CONFIG, "task": task, "llc": content}, "file.yaml").llc
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("content", "sampler"),
    [
        ({}, UnderdampedLangevin(0.01)),
        ({"friction": 3, "longest_flight": 7}, UnderdampedLangevin(0.01, 3, 7)),
        ({"name": "sgld"}, SGLD(0.01)),
        ({"name": "rmsprop_sgld"}, RMSpropSGLD(0.01)),
        ({"name": "rmsprop_sgld", "alpha": 0.9, "floor": 0.2, "adaptation": 50}, RMSpropSGLD(0.01, 0.9, 0.2, 50)),
        ({"name": "leimkuhler_matthews"}, LeimkuhlerMatthews(0.01)),
        ({"name": "hmc"}, HMC(0.01)),
        ({"name": "hmc", "leapfrog": 5}, HMC(0.01, 5)),
        ({"name": "mala"}, MALA(0.01)),
        ({"name": "devinterp", "method": "rmsprop_sgld"}, Devinterp(0.01, "rmsprop_sgld")),
    ],
)
def test_every_sampler_can_be_asked_for(content: dict[str, Any], sampler: Any) -> None:
    found = settings(**{**BASE, "sampler": {"step_size": 0.01, **content}})
    assert found.sampler == sampler
    assert settings(**found.model_dump(mode="json")) == found


def test_presets_are_one_line() -> None:
    theirs = settings(preset="devinterp")
    assert (theirs.sampler, theirs.gamma, theirs.batch_size) == (SGLD(1e-3), 0, 32)
    assert theirs.n_beta_of(1000) == pytest.approx(32 / math.log(32))
    lau = settings(preset="lau")
    assert (lau.sampler, lau.gamma, lau.batch_size) == (SGLD(1e-5), 100, None)
    assert lau.n_beta_of(1000) == pytest.approx(1000 / math.log(1000))


def test_other_keys_override_a_preset() -> None:
    changed = settings(preset="devinterp", n_beta=30, batch_size=64)
    assert changed == settings(preset="devinterp").model_copy(update={"n_beta": 30.0, "batch_size": 64})
    assert changed.n_beta_of(1000) == 30
    assert settings(preset="devinterp", sampler={"step_size": 0.1}).sampler == SGLD(0.1)
    assert settings(preset="devinterp", sampler={"name": "mala"}, batch_size=None, n_beta=9).sampler == MALA(1e-3)


@pytest.mark.parametrize("preset", ["devinterp", "lau"])
def test_a_preset_round_trips(preset: str) -> None:
    first = settings(preset=preset, chains=2)
    assert settings(**first.model_dump(mode="json")) == first


def test_devinterp_preset_is_what_the_installed_devinterp_has() -> None:
    config = pytest.importorskip("devinterp.slt.config").SamplerConfig(lr=1e-3, n_beta=1)
    utils = pytest.importorskip("devinterp.utils")
    ours = settings(preset="devinterp")
    assert (config.num_chains, config.num_draws, config.num_burnin_steps, config.batch_size, config.localization) == (
        ours.chains, ours.draws, ours.burn_in, ours.batch_size, ours.gamma,
    )  # fmt: skip
    assert ours.n_beta_of(1000) == pytest.approx(utils.default_nbeta(config.batch_size))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"gamma": -1}, "llc.gamma: expected greater than or equal to 0, got -1"),
        ({"gamma": 0}, "llc.gamma (0) must be above 0, since the friction of underdamped follows from it"),
        ({"draws": 8, "burn_in": 9}, "llc.burn_in (9) must not exceed draws x thinning (8)"),
        (
            {"sampler": {"name": "adaptive"}, "draws": 100, "burn_in": 40},
            "must be at least 128, during which adaptive is tuned, and must not exceed draws x thinning (100)",
        ),
        ({"n_beta": -2}, "llc.n_beta: expected positive number, n, n/log(n) or batch/log(batch), got -2"),
        ({"n_beta": "m"}, "llc.n_beta: expected positive number, n, n/log(n) or batch/log(batch), got 'm'"),
        ({"n_beta": "batch/log(batch)"}, "llc.batch_size must be at least 2 for n_beta: batch/log(batch)"),
        ({"sampler": {"step_size": 0.01, "leapfrog": 3}}, "llc.sampler.leapfrog: unknown key"),
        ({"sampler": {"name": "sgld", "step_size": 0.01, "friction": 3}}, "llc.sampler.friction: unknown key"),
        ({"sampler": {"step_size": 0}}, "llc.sampler.step_size: expected greater than 0, got 0"),
        ({"sampler": {}}, "llc.sampler.step_size: this key is missing"),
        ({"sampler": {"name": "nuts", "step_size": 1}}, "llc.sampler.name: expected one of adaptive, devinterp,"),
        ({"sampler": "sgld"}, "llc.sampler: expected a mapping, got 'sgld'"),
        (
            {"sampler": {"name": "mala", "step_size": 0.01}, "batch_size": 4},
            "llc.batch_size must be omitted, since mala accepts by the loss of the full batch",
        ),
        ({"box": 0}, "llc.box: expected greater than 0, got 0"),
        ({"data": "validation"}, "llc.data: expected 'train', 'test' or 'all', got 'validation'"),
        ({"preset": "watanabe"}, "llc.preset: expected 'hot', 'devinterp' or 'lau', got 'watanabe'"),
        ({"step_size": 0.01}, "llc.step_size: unknown key"),
    ],
)
def test_bad_settings_are_one_sentence(content: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SltGrokError) as error:
        settings(**{**BASE, **content})
    assert sentence in str(error.value)


def test_n_beta_is_the_number_of_samples_unless_said_otherwise() -> None:
    assert settings(gamma=3).n_beta_of(1123) == 1123
    assert settings(gamma=3, n_beta=20).n_beta_of(1123) == 20


def test_tuning_must_end_within_burn_in() -> None:
    with pytest.raises(SltGrokError, match=r"burn_in \(100\) must be at least 128"):
        settings(gamma=3, burn_in=100)
    with pytest.raises(SltGrokError, match="batch_size must be omitted"):
        settings(gamma=3, batch_size=20)


def test_the_hot_preset_keeps_its_own_sampler() -> None:
    hot = settings(preset="hot", batch_size=50)
    assert hot.sampler.name == "underdamped"
    assert hot.n_beta == 27.2
    assert hot.burn_in == 90
