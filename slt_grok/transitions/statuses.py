"""Status strings stored in datasets."""

from enum import StrEnum


class ChangeStatus(StrEnum):
    """Outcome of an estimator on one curve."""

    FOUND = "found"
    UNFINISHED = "found, not finished at the last checkpoint"
    NO_CHANGE = "no change"
    NO_FIT = "changes, but not as one sigmoid"
    TOO_FEW = "too few checkpoints"
    NOT_MEASURED = "not measured"


class Verdict(StrEnum):
    """Outcome of a test or comparison."""

    BEFORE = "before"
    AFTER = "after"
    NOT_RESOLVED = "not resolved"
    BEYOND_TREND = "beyond the trend"
    TOO_FEW_SEEDS = "too few seeds"
    TOO_FEW_INCREMENTS = "too few increments"
    NOT_MEASURED = "not measured"
    SUPPORTED = "supported"
    REFUTED = "refuted"
    UNDECIDED = "undecided"
    SHARP = "sharp"
    SMOOTH = "smooth"


class Phase(StrEnum):
    """Phase of a network that can memorize or generalize."""

    MEMORIZING = "memorizing"
    GENERALIZING = "generalizing"
