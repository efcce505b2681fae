"""Rules that several measurements share: what counts as a change over training, and how large a neighborhood is.

A variable declared with a `Change` takes part in the order of events and appears in the linking figures; see
`slt_grok.change` for how a change is detected.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np

RHO = 0.7
"""Size of a network's neighborhood: |w - w*|^2 is rho |w*|^2, so that gamma = d / (rho |w*|^2) for the LLC."""
Scale = Literal["linear", "log"]
SCALE: Scale = "linear"
"""Scale on which the events of all measures are found, so that their order does not depend on a choice for each.

Linear, since it is defined for every measure, and since the half of a fall that continues on a logarithmic scale, as
that of a loss, moves with the length of training.
"""
OTHER_SCALE: Scale = "log"
"""Second scale, on which the events of positive measures are also given."""
MEMORIZED, GENERALIZED = 0.99, 0.95
"""Train and test accuracies at which a network counts as having memorized or generalized."""


class Rule(NamedTuple):
    """How a change of one measure is detected.

    Parameters
    ----------
    rises : bool
        Direction of the change; changes in the other direction do not count.
    start : {"first", "extreme"}
        The `first` checkpoint, or the `extreme` from which the curve changes.
    minimum : float
        Smallest change from start to end level: absolute, or as a fraction of the larger of the two if `relative`.
    relative : bool, optional
        See `minimum`.
    decades : bool, optional
        Whether values span decades; increments and predictions (not events) are then of their logarithms.
    """

    rises: bool
    start: Literal["first", "extreme"]
    minimum: float
    relative: bool = False
    decades: bool = False

    def is_met(self, start: Any, end: Any) -> Any:
        """Check whether changes from one level to another are in the rule's direction and large enough.

        Parameters
        ----------
        start, end : float or ndarray
            Levels in the measure's own units, on any scale.
        """
        size = end - start if self.rises else start - end
        unit = np.maximum(abs(start), abs(end)) if self.relative else 1.0
        return (size > 0) & (size >= self.minimum * unit)


ACCURACY = Rule(rises=True, start="first", minimum=0.2)
GINI = Rule(rises=True, start="extreme", minimum=0.1)
LOSS = Rule(rises=False, start="extreme", minimum=0.5, relative=True, decades=True)
SHRINKING = Rule(rises=False, start="extreme", minimum=0.1, relative=True)


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
