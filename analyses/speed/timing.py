"""Interleaved repetitions, and what is said of them: medians, ratios of medians and how sure these are."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from .peers import PeerMissing, Worker

RESAMPLES = 10_000
COVERAGE = 0.95
LEVEL = 0.01  # of the test of agreement, over all checkpoints together

Answers = dict[str, list[dict[str, Any]]]


def interleaved(
    workers: Sequence[Worker], repetitions: int, say: Callable[[str], None], after_round: Callable[[], None]
) -> tuple[Answers, list[str]]:
    """One repetition of each contestant after the other, and again; each round begins with the next one.

    After each round `after_round` is called, while the contestants rest.

    Returns
    -------
    tuple[Answers, list[str]]
        The answers of each contestant, and a sentence for each that ended on the way, whose answers are omitted.
    """
    answers: Answers = {worker.name: [] for worker in workers}
    lost: list[str] = []
    for repetition in range(repetitions):
        first = repetition % len(workers)
        for worker in [*workers[first:], *workers[:first]]:
            if worker.name not in answers:
                continue
            try:
                found = worker.repeat(repetition)
            except PeerMissing as sentence:
                del answers[worker.name]
                lost.append(str(sentence))
                continue
            answers[worker.name].append(found)
            say(
                f"repetition {repetition + 1}/{repetitions}  {worker.name:18}"
                f" {found['seconds']:8.2f} s  {found['seconds'] / found['units']:.4g} s each"
            )
        after_round()
    return answers, lost


def per_unit(answers: Answers) -> dict[str, np.ndarray]:
    """Seconds of one piece of work in each repetition."""
    return {name: np.array([answer["seconds"] / answer["units"] for answer in rows]) for name, rows in answers.items()}


def ratio_of_medians(theirs: np.ndarray, ours: np.ndarray) -> tuple[float, tuple[float, float]]:
    """Median of theirs over median of ours, and its 95% percentile interval by bootstrap.

    Repetitions are drawn anew in pairs, since the two were run one after the other.
    """
    draws = np.random.default_rng(0).integers(len(ours), size=(RESAMPLES, len(ours)))
    ratios = np.median(theirs[draws], 1) / np.median(ours[draws], 1)
    low, high = np.quantile(ratios, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return float(np.median(theirs) / np.median(ours)), (float(low), float(high))


def compare(answers: Answers) -> dict[str, Any]:
    """Medians, quartiles and ratios to slt_grok of a workload: the part of its record that says how fast."""
    seconds = per_unit(answers)
    record: dict[str, Any] = {
        "seconds_per_unit": {name: float(np.median(values)) for name, values in seconds.items()},
        "quartiles": {name: np.quantile(values, [0.25, 0.75]).tolist() for name, values in seconds.items()},
        "repetitions": {name: values.tolist() for name, values in seconds.items()},
        "ratio": {},
        "ratio_interval": {},
    }
    for name, values in seconds.items():
        if name != "slt_grok" and "slt_grok" in seconds:
            record["ratio"][name], record["ratio_interval"][name] = ratio_of_medians(values, seconds["slt_grok"])
    return record


def same_means(theirs: Mapping[str, Sequence[float]], ours: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Whether two estimators agree at every checkpoint that both have, from the values of their chains.

    Welch's test where both have two chains or more; one chain of theirs is held against the spread of ours. The level
    0.01 is shared among the checkpoints (Bonferroni).

    Parameters
    ----------
    theirs, ours : Mapping[str, Sequence[float]]
        Checkpoint -> one value a chain.

    Returns
    -------
    dict[str, Any]
        `checkpoints` compared, the smallest p-value times their number as `p_value` (at most 1), the `mean_difference`
        of the estimates relative to the mean of ours, `agree`.
    """
    values, differences, sizes = [], [], []
    for checkpoint in theirs.keys() & ours.keys():
        x, y = np.asarray(theirs[checkpoint]), np.asarray(ours[checkpoint])
        found = stats.ttest_ind(x, y, equal_var=len(x) < 2)
        values.append(float(found.pvalue))  # pyright: ignore[reportAttributeAccessIssue]
        differences.append(x.mean() - y.mean())
        sizes.append(y.mean())
    p_value = min(1.0, len(values) * min(values, default=1.0))
    return {
        "checkpoints": len(values),
        "p_value": p_value,
        "mean_difference": float(np.mean(differences) / np.mean(sizes)) if sizes else None,
        "agree": p_value > LEVEL if values else None,
    }
