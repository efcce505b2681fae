"""The sentences say the right thing for each kind of run."""

import math

import pytest
import xarray as xr

from slt_grok.report.caveats import caveats
from slt_grok.report.findings import headline, relation, sections
from tests import synthetic

STATEMENT = "there is no finite minimizer"


def said(summary, datasets, config=None, title=None) -> str:
    config = synthetic.manifest()["config"] if config is None else config
    found = [s for s in sections(summary, datasets, config) if title in (None, s.title)]
    return " ".join(text for section in found for text in section.sentences).replace("\u00a0", " ")


@pytest.fixture(scope="module")
def grokking():
    return said(synthetic.summary(), synthetic.datasets())


@pytest.fixture(scope="module")
def control():
    config = synthetic.manifest(grok=False)["config"]
    return said(synthetic.summary(grok=False), synthetic.datasets(grok=False), config)


def test_grokking_run_memorized_and_generalized(grokking):
    assert (
        "memorized the train set by step 250 (train accuracy at least 99%) and generalized by step 2,000 "
        "(test accuracy at least 95%), 1,750 steps later." in grokking
    )
    assert "No generalization" not in grokking
    assert headline(synthetic.summary(), {}) == "The network generalized, and its LLC dropped."


def test_grokking_run_has_an_llc_drop_with_its_error_and_setting(grokking):
    assert (
        "The effective LLC (nβ = 30, γ = 100) peaks at 158.2 ± 3.1 at step 400 and ends at 38.4 ± 1.2: "
        "a drop of 119.8 ± 3.3" in grokking
    )
    assert STATEMENT in grokking
    assert "comparable across checkpoints at the same setting only" in grokking


def test_grokking_run_names_its_circuit(grokking):
    assert "94% of the neurons" in grokking
    assert "frequencies 5, 12 and 23" in grokking
    assert "1.3 × 10⁻⁶ nats with these frequencies alone" in grokking
    assert "5.2 without them" in grokking
    assert "guessing costs 3.97" in grokking
    assert "enough for the answer, and without them it is lost" in grokking


def test_random_table_says_that_nothing_generalized_and_no_circuit_formed(control):
    assert "No generalization was seen: test accuracy ends at 1.7% (guessing gives 1.9%)." in control
    assert "No Fourier circuit: no neuron" in control
    assert "control that can only memorize" in control
    assert "no drop (difference 0.3 ± 4.3" in control
    assert "a drop of" not in control
    text = headline(synthetic.summary(grok=False), {})
    assert text == "The network memorized its train set and did not generalize, and its LLC shows no drop."


@pytest.mark.parametrize(
    ("drop", "error", "word"),
    [
        (60.0, 3.0, "a drop of"),
        (60.0, 25.0, "no drop"),  # 2.4 standard errors: what the largest of many estimates reaches by chance
        (10.0, 0.1, "no drop"),  # significant, but 6% of the peak
        (-4.0, 1.0, "no drop"),
    ],
)
def test_drop_needs_three_errors_and_a_tenth_of_the_peak(drop, error, word):
    summary = synthetic.summary() | {"llc_drop": drop, "llc_drop_se": error}
    text = said(summary, synthetic.datasets(), title="Local learning coefficient")
    assert word in text
    assert ("a drop of" in text) == (word == "a drop of")


def test_diverged_chains_are_said():
    data = synthetic.datasets() | {"llc": synthetic.llc(diverged=(11, 14))}
    flags = ["2 of 19 LLC estimates diverged: left out"]
    text = " ".join(caveats(synthetic.summary() | {"flags": flags}, data, {}))
    assert "9 of 76 chains were left out" in text
    assert "2 of 19 LLC estimates diverged: left out." in text


def test_every_chain_diverged():
    summary = synthetic.summary() | dict.fromkeys(["llc_peak", "llc_final", "llc_drop", "llc_drop_se", "llc_peak_step"])
    text = said(summary, synthetic.datasets(), title="Local learning coefficient")
    assert "no checkpoint has a value that can be used" in text
    assert headline(summary, {}) == "The network generalized; its LLC was not measured."


def test_llc_not_measured():
    data = {k: v for k, v in synthetic.datasets().items() if k != "llc"}
    summary = synthetic.summary() | dict.fromkeys(["llc_peak", "llc_final", "llc_drop", "llc_drop_se", "llc_peak_step"])
    summary["order_of_events"] = [e for e in summary["order_of_events"] if e["measure"] != "llc"]
    text = said(summary, data)
    assert "The LLC was not measured." in text
    assert "fall of the LLC" not in text
    assert "±" not in text


def test_no_test_set():
    summary = synthetic.summary() | dict.fromkeys(["generalization_step", "test_accuracy_final", "test_loss_final"])
    text = said(summary, synthetic.datasets(), title="Generalization")
    assert "There is no test set" in text
    assert "No generalization was seen" not in text


def test_not_memorized():
    summary = synthetic.summary() | {
        "memorization_step": None,
        "generalization_step": None,
        "train_accuracy_final": 0.4,
    }
    text = said(summary, synthetic.datasets(), title="Generalization")
    assert "did not memorize the train set: train accuracy ends at 40%" in text
    assert "neither memorized" in headline(summary, {})


def test_generalized_without_delay():
    summary = synthetic.summary() | {"generalization_step": 250}
    assert "without a delay" in said(summary, synthetic.datasets(), title="Generalization")


def test_a_few_stray_neurons_are_no_circuit():
    summary = synthetic.summary() | {
        "neuron_share_final": 0.01,
        "key_frequencies": [7],
        "restricted_loss_final": 3.9,
        "excluded_loss_final": 7e-7,
    }
    text = said(summary, synthetic.datasets(), title="Fourier circuit")
    assert "Only 1% of the neurons" in text
    assert "key frequency 7." in text
    assert "the answer does not rest on them" in text
    assert "no Fourier circuit that solves the task" in text


def test_several_seeds_are_counted():
    summary = synthetic.summary(seeds=3)
    summary["seeds"]["2"] |= {
        "generalization_step": None,
        "key_frequencies": [5, 9],
        "llc_drop": 2.0,
        "llc_drop_se": 3.0,
    }
    summary["seeds"]["1"] |= {"generalization_step": 3000, "llc_drop": 100.0}
    text = said(summary, synthetic.datasets(seeds=3))
    assert "3 of 3 seeds memorized the train set, by step 250." in text
    assert "2 of 3 seeds generalized, between steps 2,000 and 3,000 (median 2,500)." in text
    assert "Not seed 2." in text
    assert "in 2 of 3 seeds" in text
    # drops 119.8, 100, 2: mean 73.9, standard deviation 63.1, over sqrt 3: 36.4
    assert "mean drop is 74 ± 36" in text
    assert STATEMENT in text
    assert "seed 2 has 5 and 9" in text
    assert "All of these share 5." in text
    assert headline(summary, {}).startswith("Of 3 networks 3 memorized the train set and 2 generalized")


def test_order_of_events_follows_the_intervals(grokking):
    assert "Half of the LLC's fall is done at step 1,250 (interval 1,162 to 1,350)." in grokking
    assert "Half done before that: train accuracy." in grokking
    assert "Half done after that: test accuracy." in grokking
    assert "is the order of the LLC and restricted loss and excluded loss." in grokking


@pytest.mark.parametrize(
    ("first", "second", "word"),
    [((1, 2), (3, 4), "before"), ((3, 4), (1, 2), "after"), ((1, 3), (2, 4), "not resolved")],
)
def test_relation(first, second, word):
    assert relation(*({"low": low, "high": high} for low, high in (first, second))) == word
    assert relation({"low": None, "high": None}, {"low": 1, "high": 2}) == "not resolved"


def test_weight_scale_is_a_caveat_of_a_drop():
    text = " ".join(caveats(synthetic.summary(), synthetic.datasets(), {}))
    assert "norm of the weights goes from" in text
    assert "at fixed γ = 100" in text
    assert "which slt-grok measure RUN --only confound separates" in text
    treated = " ".join(caveats(synthetic.summary(), synthetic.datasets() | {"confound": synthetic.confound()}, {}))
    assert "see “LLC and weight scale”" in treated
    control = " ".join(caveats(synthetic.summary(grok=False), synthetic.datasets(grok=False), {}))
    assert "norm of the weights" not in control


def test_absent_parts_are_said():
    text = " ".join(caveats(synthetic.summary(), {"training": synthetic.training()}, {}))
    assert "The Fourier circuit was not measured" in text
    assert "The landscape was not measured" in text


def test_empty_summary_claims_nothing():
    assert sections({}, {}, {})
    assert headline({}, {}) == "The training of these networks was not recorded."
    assert "generalized" not in said({}, {}, {})


def test_chains_that_lose_more_than_a_guess_are_said():
    """n_beta 10, p = e^3: a chain's mean loss is baseline + llc / 10, and guessing costs 3 nats."""
    steps = [0, 10, 20, 30]
    llc = xr.Dataset(
        {
            "llc": ("step", [5.0, 40.0, 31.0, 20.0]),
            "baseline_loss": ("step", [2.9, 0.1, 0.0, 0.0]),
            "chain_health": (("step", "chain"), [["healthy"]] * 4),
        },
        coords={"step": steps},
        attrs={"n_beta": 10.0},
    )
    config = {"task": {"modulus": math.exp(3)}}
    (text,) = [s for s in caveats({}, {"llc": llc}, config) if "guessing" in s]
    assert "2 checkpoints (first at step 10, last at step 20)" in text  # step 0 has not learned anything to leave
    below = llc.assign(llc=llc.llc / 2)
    assert not [s for s in caveats({}, {"llc": below}, config) if "guessing" in s]
