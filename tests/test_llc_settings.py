"""What a configuration may say about the LLC, and the sentence where it may not."""

import math
from typing import Any

import pytest

from slt_grok.config import parse_config
from slt_grok.errors import SltGrokError
from slt_grok.llc import HMC, MALA, SGLD, LeimkuhlerMatthews, RMSpropSGLD, UnderdampedLangevin
from slt_grok.llc_settings import LLCSettings
from slt_grok.studies.llc import sampler_of
from tests.conftest import CONFIG

BASE = {"step_size": 0.01, "n_beta": 5, "gamma": 10}


def settings(**content: Any) -> LLCSettings:
    found = parse_config({**CONFIG, "llc": content}, "file.yaml").llc
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("content", "sampler"),
    [
        ({}, UnderdampedLangevin(0.01, 4 * math.sqrt(10), None)),
        ({"friction": 3, "longest_flight": 7}, UnderdampedLangevin(0.01, 3, 7)),
        ({"sampler": "sgld"}, SGLD(0.01)),
        ({"sampler": "rmsprop_sgld"}, RMSpropSGLD(0.01)),
        ({"sampler": "rmsprop_sgld", "alpha": 0.9, "floor": 0.2, "adaptation": 50}, RMSpropSGLD(0.01, 0.9, 0.2, 50)),
        ({"sampler": "leimkuhler_matthews"}, LeimkuhlerMatthews(0.01)),
        ({"sampler": "hmc"}, HMC(0.01)),
        ({"sampler": "hmc", "leapfrog": 5}, HMC(0.01, 5)),
        ({"sampler": "mala"}, MALA(0.01)),
    ],
)
def test_every_sampler_can_be_asked_for(content: dict[str, Any], sampler: Any) -> None:
    assert sampler_of(settings(**BASE, **content)) == sampler


def test_presets_are_one_line() -> None:
    theirs = settings(preset="devinterp")
    assert (theirs.sampler, theirs.step_size, theirs.gamma, theirs.batch_size) == ("sgld", 1e-3, 0, 32)
    assert theirs.n_beta_of(1000) == pytest.approx(32 / math.log(32))
    lau = settings(preset="lau")
    assert (lau.sampler, lau.step_size, lau.gamma, lau.batch_size) == ("sgld", 1e-5, 100, None)
    assert lau.n_beta_of(1000) == pytest.approx(1000 / math.log(1000))


def test_what_is_said_beside_a_preset_changes_it_alone() -> None:
    changed = settings(preset="devinterp", n_beta=30, batch_size=64)
    assert changed == settings(preset="devinterp").model_copy(update={"n_beta": 30.0, "batch_size": 64})
    assert changed.n_beta_of(1000) == 30


@pytest.mark.parametrize("preset", ["devinterp", "lau"])
def test_a_preset_is_kept_as_what_it_stood_for(preset: str) -> None:
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
        ({**BASE, "gamma": -1}, "llc.gamma: expected greater than or equal to 0, got -1"),
        ({**BASE, "gamma": 0}, "llc.gamma: expected a number above 0, since the friction follows from it, got 0"),
        ({**BASE, "draws": 100, "burn_in": 101}, "llc.burn_in: expected at most as many updates as the 100"),
        ({**BASE, "n_beta": -2}, "llc.n_beta: expected number above 0, n/log(n) or batch/log(batch), got -2"),
        ({**BASE, "n_beta": "n"}, "llc.n_beta: expected number above 0, n/log(n) or batch/log(batch), got 'n'"),
        ({**BASE, "n_beta": "batch/log(batch)"}, "llc.n_beta: expected a batch_size of at least 2"),
        ({**BASE, "leapfrog": 3}, "llc.leapfrog: expected only with sampler: hmc, the sampler is underdamped"),
        ({**BASE, "sampler": "sgld", "friction": 3}, "llc.friction: expected only with sampler: underdamped"),
        ({**BASE, "sampler": "sgld", "longest_flight": 3}, "llc.longest_flight: expected only with"),
        ({**BASE, "alpha": 0.5}, "llc.alpha: expected only with sampler: rmsprop_sgld"),
        ({**BASE, "method": "sgld"}, "llc.method: expected only with sampler: devinterp"),
        ({**BASE, "sampler": "mala", "batch_size": 4}, "llc.batch_size: expected none, since mala accepts by the loss"),
        ({**BASE, "sampler": "nuts"}, "llc.sampler: expected 'sgld', 'rmsprop_sgld'"),
        ({**BASE, "box": 0}, "llc.box: expected greater than 0, got 0"),
        ({**BASE, "data": "validation"}, "llc.data: expected 'train', 'test' or 'all', got 'validation'"),
        ({"preset": "watanabe"}, "llc.preset: expected 'devinterp' or 'lau', got 'watanabe'"),
        ({"n_beta": 5, "gamma": 10}, "llc.step_size: this key is missing"),
    ],
)
def test_bad_settings_are_one_sentence(content: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SltGrokError) as error:
        settings(**content)
    assert sentence in str(error.value)
