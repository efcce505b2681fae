"""What a probe of the landscape costs, said before it is paid."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Cost:
    """So many equal pieces of work for each of so many networks.

    Parameters
    ----------
    networks : int
        How many are measured.
    pieces : int
        For each of them.
    unit : str
        What a piece is, in the plural.
    seconds_each : float
        As timed on one of them.
    """

    networks: int
    pieces: int
    unit: str
    seconds_each: float

    @property
    def seconds(self) -> float:
        """For everything."""
        return self.networks * self.pieces * self.seconds_each

    def __str__(self) -> str:
        """One line for a person."""
        whole = f"{self.seconds:.0f} s" if self.seconds < 120 else f"{self.seconds / 60:.0f} min"
        return (
            f"{self.networks:,} networks, {self.pieces:,} {self.unit} each of {self.seconds_each:.2g} s: about {whole}"
        )


def timed(work: Callable[[], Any]) -> float:
    """Seconds that a piece of work takes, the second time that it is done: the first time is slower."""
    work()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
