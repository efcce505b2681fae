"""The cost of a probe of the landscape, announced before it is paid."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple


class Cost(NamedTuple):
    """So many equal pieces of work for each of so many networks.

    Parameters
    ----------
    networks : int
        Number of networks.
    pieces : int
        Pieces of work for each network.
    unit : str
        What a piece is, in the plural.
    seconds_each : float
        Time that one piece took.
    """

    networks: int
    pieces: int
    unit: str
    seconds_each: float

    @property
    def seconds(self) -> float:
        """Seconds in all."""
        return self.networks * self.pieces * self.seconds_each

    def __str__(self) -> str:
        """Return one line for an announcement."""
        whole = f"{self.seconds:.0f} s" if self.seconds < 120 else f"{self.seconds / 60:.0f} min"
        return (
            f"{self.networks:,} networks, {self.pieces:,} {self.unit} each of {self.seconds_each:.2g} s: about {whole}"
        )


def timed(work: Callable[[], Any]) -> float:
    """Return the seconds that work takes the second time: the first time is slower."""
    work()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
