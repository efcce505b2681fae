"""What was found, in sentences made from the numbers with their errors.

Pure functions of the summary of a run (the content of `summary.json`), its datasets and its configuration. Two events
are said to be ordered where their intervals do not overlap.
"""

import math
from collections.abc import Mapping
from statistics import median
from typing import Any, NamedTuple

import xarray as xr

from slt_grok.plots.style import measure_name
from slt_grok.report.llc import Summary, llc, llc_dropped, llc_over_seeds
from slt_grok.report.words import capital, known, listing, number, percent, plural, step

OVER_SEEDS = "Over the seeds: the median step with the widest interval, of the changes that every seed has."
Datasets = Mapping[str, xr.Dataset]
Config = Mapping[str, Any]


class Section(NamedTuple):
    """A heading and the sentences under it."""

    title: str
    sentences: list[str]


def sections(summary: Summary, datasets: Datasets, config: Config) -> list[Section]:
    """Everything that is to be said, section by section; of several seeds what they share and where they differ."""
    several = by_seed(summary)
    if len(several) > 1:
        found = [
            Section("Generalization", generalization_over_seeds(several, config)),
            Section("Local learning coefficient", llc_over_seeds(several, datasets.get("llc"))),
            Section("Order of events", [*order(summary), OVER_SEEDS]),
            Section("Fourier circuit", circuit_over_seeds(several, datasets)),
        ]
    else:
        found = [
            Section("Generalization", generalization(summary, config)),
            Section("Local learning coefficient", llc(summary, datasets.get("llc"))),
            Section("Order of events", order(summary)),
            Section("Fourier circuit", circuit(summary, datasets, config)),
        ]
    return [section for section in found if section.sentences]


def by_seed(summary: Summary) -> dict[str, Summary]:
    """Return the summaries of the seeds by name; of a single run an empty one."""
    return dict(summary.get("seeds") or {})


def headline(summary: Summary, config: Config) -> str:
    """Return the run in one sentence."""
    several = by_seed(summary)
    seeds = list(several.values()) or [summary]
    if not any(known(s.get("train_accuracy_final")) for s in seeds):
        return "The training of these networks was not recorded."
    memorized = sum(known(s.get("memorization_step")) for s in seeds)
    generalized = sum(known(s.get("generalization_step")) for s in seeds)
    dropped = sum(llc_dropped(s) is True for s in seeds)
    measured = sum(llc_dropped(s) is not None for s in seeds)
    if len(seeds) > 1:
        text = f"Of {len(seeds)} networks {memorized} memorized the train set and {generalized} generalized"
        return text + (f"; the LLC dropped in {dropped} of {measured} where it was measured." if measured else ".")
    if generalized:
        text = "The network generalized"
    elif memorized:
        text = "The network memorized its train set and did not generalize"
    else:
        return "The network neither memorized its train set nor generalized."
    if not measured:
        return text + "; its LLC was not measured."
    if generalized:
        return text + (", and its LLC dropped." if dropped else ", and no drop of its LLC was seen.")
    return text + (", yet its LLC dropped." if dropped else ", and its LLC shows no drop.")


# -- generalization -------------------------------------------------------------------------------------------


def generalization(summary: Summary, config: Config) -> list[str]:
    """When the train set was memorized, when the test set was solved, and how both end."""
    memorized, generalized = summary.get("memorization_step"), summary.get("generalization_step")
    train, test = summary.get("train_accuracy_final"), summary.get("test_accuracy_final")
    if not known(train):
        return []
    sentences = []
    if known(memorized) and known(generalized):
        text = (
            f"The network memorized the train set by step {step(memorized)}{_threshold(config, 'train')} "
            f"and generalized by step {step(generalized)}{_threshold(config, 'test')}"
        )
        delay = generalized - memorized
        sentences.append(text + (f", {step(delay)} steps later." if delay > 0 else ": without a delay."))
    elif known(generalized):
        sentences.append(f"The network generalized by step {step(generalized)}{_threshold(config, 'test')}.")
    elif known(memorized):
        until = f"by step {step(memorized)}{_threshold(config, 'train')}"
        sentences.append(f"The network memorized the train set {until}.")
    else:
        sentences.append(f"The network did not memorize the train set: train accuracy ends at {percent(train)}.")
    if not known(test):
        sentences.append("There is no test set, so generalization cannot be seen.")
    elif not known(generalized):
        sentences.append(f"No generalization was seen: test accuracy ends at {percent(test)}{_chance(config)}.")
    ends = [f"train loss ends at {number(summary.get('train_loss_final'))} nats (accuracy {percent(train)})"]
    if known(test):
        ends.append(f"test loss at {number(summary.get('test_loss_final'))} nats (accuracy {percent(test)})")
    sentences.append(capital(", ".join(ends)) + ".")
    if _task(config).get("operation") == "random_table":
        sentences.append(
            "The table is random, so there is no rule to find: this run is the control that can only memorize."
        )
    return sentences


def generalization_over_seeds(several: Mapping[str, Summary], config: Config) -> list[str]:
    """How many seeds memorized and generalized, and when."""
    sentences = []
    for key, verb in (("memorization_step", "memorized the train set"), ("generalization_step", "generalized")):
        steps = {seed: s[key] for seed, s in several.items() if known(s.get(key))}
        text = f"{len(steps)} of {plural(len(several), 'seed')} {verb}"
        if steps:
            low, high = min(steps.values()), max(steps.values())
            between = f"between steps {step(low)} and {step(high)} (median {step(median(steps.values()))})"
            text += f", {between}" if low < high else f", by step {step(low)}"
        sentences.append(text + ".")
        absent = [seed for seed in several if seed not in steps]
        if steps and absent:
            sentences.append(f"Not seed {listing(absent)}.")
    tests = [s["test_accuracy_final"] for s in several.values() if known(s.get("test_accuracy_final"))]
    if tests:
        text = f"Test accuracy ends at {percent(min(tests))} to {percent(max(tests))}{_chance(config)}."
        sentences.append(text)
    if _task(config).get("operation") == "random_table":
        sentences.append("The table is random, so there is no rule to find: these runs are the control.")
    return sentences


# -- circuit --------------------------------------------------------------------------------------------------


def circuit(summary: Summary, datasets: Datasets, config: Config) -> list[str]:
    """Key frequencies, how many neurons they hold, and what the loss is with and without them."""
    if "circuits" not in datasets or summary.get("key_frequencies") is None:
        return ["The Fourier circuit was not measured."]
    keys, share = summary["key_frequencies"], summary.get("neuron_share_final")
    if not keys:
        return [
            "No Fourier circuit: no neuron of the last checkpoint has more than 85% of its variance over the inputs at "
            "one frequency, so there is no key frequency, and restricted and excluded loss are not defined."
        ]
    few = known(share) and share < 0.5
    frequencies = f"{'frequency' if len(keys) == 1 else 'frequencies'} {listing(keys)}"
    sentences = [
        f"{'Only ' if few else ''}{percent(share)} of the neurons of the last checkpoint have more than 85% of their "
        f"variance over the inputs at one frequency; together they hold the key {frequencies}."
    ]
    agreement = _last(datasets["circuits"], "key_frequency_agreement")
    if agreement is not None:
        sentences.append(
            f"The three rules for key frequencies (neurons, embedding, neuron-logit map) agree to {number(agreement)} "
            "(mean pairwise Jaccard index; 1 is the same set)."
        )
    restricted, excluded = summary.get("restricted_loss_final"), summary.get("excluded_loss_final")
    train, guess = summary.get("train_loss_final"), guess_loss(config)
    if known(restricted) and known(excluded):
        text = (
            f"At the end the loss is {number(restricted)} nats with these frequencies alone (restricted, test set) "
            f"and {number(excluded)} without them (excluded, train set)"
        )
        text += f"; guessing costs {number(guess)}" if guess else ""
        if known(train) and guess:
            needed, enough = excluded > max(10 * train, 0.1 * guess), restricted < 0.1 * guess
            text += {
                (True, True): ": they are enough for the answer, and without them it is lost",
                (True, False): ": without them the answer is lost, but alone they are not enough",
                (False, True): ": they are enough for the answer, but not needed for it on the train set",
                (False, False): ": the answer does not rest on them",
            }[needed, enough]
        sentences.append(text + ".")
        if guess and restricted >= 0.1 * guess and few:
            sentences.append("This is no Fourier circuit that solves the task.")
    return sentences


def circuit_over_seeds(several: Mapping[str, Summary], datasets: Datasets) -> list[str]:
    """Key frequencies of each seed and what the seeds share."""
    if "circuits" not in datasets:
        return ["The Fourier circuit was not measured."]
    found = {seed: s["key_frequencies"] for seed, s in several.items() if s.get("key_frequencies")}
    text = f"{len(found)} of {plural(len(several), 'seed')} have key frequencies at the last checkpoint"
    if not found:
        return [
            f"No Fourier circuit: no seed has a neuron with more than 85% of its variance at one frequency ({text})."
        ]
    sentences = [f"{text}: " + "; ".join(f"seed {seed} has {listing(keys)}" for seed, keys in found.items()) + "."]
    shared = set.intersection(*map(set, found.values()))
    if len(found) > 1:
        sentences.append(
            f"All of these share {listing(sorted(shared))}." if shared else "No frequency is common to all of these."
        )
    return sentences


# -- order of events ------------------------------------------------------------------------------------------


def relation(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """`before`, `after`, or `not resolved` where the intervals overlap or are not known."""
    if all(known(event.get(end)) for event in (first, second) for end in ("low", "high")):
        if first["high"] < second["low"]:
            return "before"
        if first["low"] > second["high"]:
            return "after"
    return "not resolved"


def order(summary: Summary) -> list[str]:
    """Where the change of the LLC stands among the others."""
    events = summary.get("order_of_events") or []
    changes = {event["measure"]: event for event in events}
    own = next((changes[name] for name in changes if name.startswith("llc")), None)
    others = [event for name, event in changes.items() if not name.startswith("llc")]
    if not events:
        return ["No transition was seen."]
    if own is None:
        return ["No fall of the LLC was seen."] if known(summary.get("llc_peak")) else []
    sentences = [f"Half of the LLC's fall is done at step {step(own['step'])}{_interval(own)}."]
    for word, others_are in (("after", "before"), ("before", "after")):
        names = [measure_name(event["measure"]) for event in others if relation(own, event) == word]
        if names:
            sentences.append(f"Half done {others_are} that: {listing(names)}.")
    unresolved = [measure_name(event["measure"]) for event in others if relation(own, event) == "not resolved"]
    if unresolved:
        sentences.append(
            f"Not resolved, since the intervals overlap, is the order of the LLC and {listing(unresolved)}."
        )
    return sentences


def _last(dataset: xr.Dataset, name: str) -> float | None:
    if name not in dataset:
        return None
    value = float(dataset[name].isel({dim: -1 if dim == "step" else 0 for dim in dataset[name].dims}))
    return value if math.isfinite(value) else None


def _interval(event: Mapping[str, Any]) -> str:
    ends = event.get("low"), event.get("high")
    return f" (interval {step(ends[0])} to {step(ends[1])})" if all(map(known, ends)) else ""


def _task(config: Config) -> Mapping[str, Any]:
    return config.get("task") or {}


def _threshold(config: Config, split: str) -> str:
    threshold = (config.get("transitions") or {}).get(f"{split}_threshold")
    return f" ({split} accuracy at least {percent(threshold)})" if threshold else ""


def _chance(config: Config) -> str:
    modulus = _task(config).get("modulus")
    return f" (guessing gives {percent(1 / modulus)})" if modulus else ""


def guess_loss(config: Config) -> float | None:
    """Cross-entropy of a uniform guess, log p, in nats."""
    modulus = _task(config).get("modulus")
    return math.log(modulus) if modulus else None
