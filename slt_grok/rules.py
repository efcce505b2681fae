"""What counts as a change of a variable over training, as part of its declaration.

A variable declared with a `Change` takes part in the order of events and appears in the linking figures; see
`slt_grok.transitions.change` for how a change is detected.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np

MEMORIZED, GENERALIZED = 0.99, 0.95
"""Train and test accuracies at which a network counts as having memorized or generalized."""


class Rule(NamedTuple):
    """How a change of one measure is detected.

    Parameters
    ----------
    rises : bool
        Direction of the change; changes in the other direction do not count.
    scale : {"linear", "log"}
        `linear`, or `log` for natural logarithms.
    start : {"first", "extreme"}
        The `first` checkpoint, or the `extreme` from which the curve changes.
    minimum : float
        Smallest change from start to end level: on the scale, or as a fraction of the start level if `relative`.
    """

    rises: bool
    scale: Literal["linear", "log"]
    start: Literal["first", "extreme"]
    minimum: float
    relative: bool = False


ACCURACY = Rule(rises=True, scale="linear", start="first", minimum=0.2)
GINI = Rule(rises=True, scale="linear", start="extreme", minimum=0.1)
LOSS = Rule(rises=False, scale="log", start="extreme", minimum=float(np.log(2)))
SHRINKING = Rule(rises=False, scale="linear", start="extreme", minimum=0.1, relative=True)


class Change(NamedTuple):
    """The change of a variable as an event, and its appearance in figures.

    Parameters
    ----------
    rule : Rule
        What counts as a change.
    name : str, optional
        Short name in tables and figures; by default the variable's `long_name`.
    color, marker : str, optional
        A color of `slt_grok.plots.palette` in lower case or of matplotlib, and a marker of matplotlib.
    select : tuple of dict, optional
        Coordinates to select in the variable's own dimensions; the first selection with any values is used.
    error : str, optional
        Name of the variable with its standard errors.
    counts : callable, optional
        `(dataset of one seed) -> bool`, overall or for each checkpoint; values where it is False become NaN.
    place : int, optional
        Position among all measures and key of the random stream, fixed for those that have one; by default from a
        hash of the variable's name, after them.
    """

    rule: Rule
    name: str = ""
    color: str = "gray"
    marker: str = "o"
    select: tuple[dict[str, str], ...] = ({},)
    error: str = ""
    counts: Callable[[Any], Any] = lambda dataset: True
    place: int | None = None
