"""The time that an estimate may take: how many chains and updates fit."""

import math
import time
from collections.abc import Callable
from typing import Any

import xarray as xr

from slt_grok.llc.calibration import PILOTS, POWER_ITERATIONS, SHORTEST_LEG
from slt_grok.llc.chains import run_chains
from slt_grok.llc.problem import Problem
from slt_grok.llc.samplers.underdamped import UnderdampedLangevin
from slt_grok.llc.sampling import Schedule
from slt_grok.progress import ProgressCallback

PILOT_COST = 1.4  # cost of an attempt with its pilots, relative to its updates alone
TRIAL = (2, 6)  # updates that predict the cost
FEWEST_CHAINS, SHORTEST = 8, 200  # chains and updates that an estimate keeps within any budget
TRIAL_SHARE = 0.1  # of the limit that the trial of all chains may take
OVERRUN = 0.25  # fraction of the limit by which a planned attempt may exceed it


class OutOfTime(Exception):
    """An attempt exceeds the limit."""


class Budget:
    """The time that an estimate may take.

    Parameters
    ----------
    seconds : float or None
        The limit, from now on; None for none.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds = math.inf if seconds is None else seconds
        self.end, self.last = time.monotonic() + self.seconds, 0.0

    def timed(self, attempt: Callable[..., xr.Dataset], *arguments: Any, **options: Any) -> xr.Dataset:
        """Make an attempt and remember how long it took."""
        start = time.monotonic()
        result = attempt(*arguments, **options)
        self.last = time.monotonic() - start
        return result

    def improved(
        self, result: xr.Dataset, attempt: Callable[..., xr.Dataset], *arguments: Any, on_progress: ProgressCallback
    ) -> xr.Dataset:
        """Make a longer attempt; if it takes too long, as on a machine with other work, keep the result that exists."""

        def within_the_limit(fraction: float, note: str = "") -> None:
            if time.monotonic() > self.end + OVERRUN * self.seconds:
                raise OutOfTime
            on_progress(fraction, note)

        try:
            return attempt(*arguments, on_progress=within_the_limit)
        except OutOfTime:
            notes = [result.attrs.get("notes"), f"a longer estimate was stopped after {self.seconds:g} s"]
            return result.assign_attrs(notes="; ".join(filter(None, notes)))

    @property
    def attempts_left(self) -> float:
        """Number of attempts as long as the last timed one that the remaining time allows."""
        return self.left / max(self.last, 1e-9)

    @property
    def left(self) -> float:
        """Seconds until the limit."""
        return max(self.end - time.monotonic(), 0.0)

    def fit(
        self,
        problem: Problem,
        schedule: Schedule,
        chains: int,
        temperatures: int,
        share: float,
        on_progress: ProgressCallback,
    ) -> tuple[int, float]:
        """Choose the chains and the fraction of the updates with which an attempt fits, and report the time.

        Parameters
        ----------
        problem, schedule : Problem, Schedule
            The problem and the full length of an estimate.
        chains, temperatures : int
            Number of chains per temperature, which is reduced first, and number of temperatures.
        share : float
            Fraction of the updates in the first attempt; it may take twice this fraction of the time, or all of it.
        on_progress : callable
            See `slt_grok.llc.estimate`.
        """
        per_update, left = self._seconds_per_update(problem, schedule, chains, temperatures), self.left
        needed = PILOT_COST * schedule.updates * per_update
        fits = min(1.0, min(2 * share, 1) * left / (share * needed))
        fewer = max(min(chains, FEWEST_CHAINS), int(fits * chains))
        fraction = min(1.0, max(fits * chains / fewer, SHORTEST / schedule.updates))
        rounds = share * SHORTEST + (PILOTS * (SHORTEST_LEG + 2 * POWER_ITERATIONS) / temperatures if share < 1 else 0)
        least = rounds * per_update * min(chains, FEWEST_CHAINS) / chains
        late = f", the shortest estimate, for a limit of {self.seconds:g} s" if least > left else ""
        on_progress(0.0, f"about {max(1, least, min(needed, left)):.0f} s{late}")
        return fewer, fraction

    def _seconds_per_update(self, problem: Problem, schedule: Schedule, chains: int, temperatures: int) -> float:
        """Measure the time for an update of all chains, on the fewest if all of them would take too long."""

        def seconds(draws: int, chains: int) -> float:
            start = time.monotonic()
            sampling = problem.sampling(UnderdampedLangevin(1e-9), Schedule(0, draws, 1, schedule.batch_size))
            run_chains(sampling, problem.starts([1.0] * temperatures, 1.0, chains, seed=0))
            return time.monotonic() - start

        few = min(chains, FEWEST_CHAINS)
        _, once = seconds(1, few), seconds(1, few)  # the first run is slower
        tried = chains if once * chains / few * sum(TRIAL) <= TRIAL_SHARE * self.left else few
        short, long = (seconds(draws, tried) for draws in TRIAL)
        return max(long - short, 1e-9) / (TRIAL[1] - TRIAL[0]) * chains / tried
