"""The predicted cost of a landscape probe, announced in advance."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple


class Cost(NamedTuple):
    """A number of equal pieces of work for each of a number of networks.

    Parameters
    ----------
    networks : int
        Number of networks.
    pieces : int
        Pieces of work for each network.
    unit : str
        Name of a piece, in the plural.
    seconds_each : float
        Seconds that one piece took.
    """

    networks: int
    pieces: int
    unit: str
    seconds_each: float

    @property
    def seconds(self) -> float:
        """Total seconds."""
        return self.networks * self.pieces * self.seconds_each

    def __str__(self) -> str:
        """Format the cost as one line."""
        whole = f"{self.seconds:.0f} s" if self.seconds < 120 else f"{self.seconds / 60:.0f} min"
        return (
            f"{self.networks:,} networks, {self.pieces:,} {self.unit} each of {self.seconds_each:.2g} s: about {whole}"
        )


def timed(work: Callable[[], Any]) -> float:
    """Time the second call of a function, since the first call is slower."""
    work()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
