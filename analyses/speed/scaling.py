"""W6: what a chain costs, and what memory it takes, as the work grows.

Langevin chains of the notebook's MLP at initialization (the cost does not depend on the weights), one process for each
point so that its peak memory is its own. The cost of a chain is divided by the operations of its gradients where p
grows. What is to hold: the cost at the large end is at most 1.15 times that in the middle.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from slt_grok.config import load_config

from .chains import products
from .floor import flops
from .material import ROOT, sections, untrained
from .timing import per_unit, ratio_of_medians
from .workload import Bench


@dataclass(frozen=True)
class ScalingWorkload:
    """Points along three axes, each from small over middle to large.

    Parameters
    ----------
    checkpoints, chains, moduli : tuple[int, ...], optional
        The points of the three axes.
    middle : tuple[int, int, int], optional
        Checkpoints, chains and modulus where another one of them varies.
    draws, batch : int, optional
        Of a chain.
    target : dict[str, float], optional
        Ratio of the large end to the middle that is not to be exceeded.
    """

    checkpoints: tuple[int, ...] = (10, 100, 1000)
    chains: tuple[int, ...] = (1, 8, 64)
    moduli: tuple[int, ...] = (31, 83, 211)
    middle: tuple[int, int, int] = (20, 4, 53)
    draws: int = 25
    batch: int = 128
    target: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("checkpoints", "chains", "p"), 1.15))

    def points(self) -> list[tuple[str, int, tuple[int, int, int]]]:
        """(axis, value, (checkpoints, chains, p))."""
        checkpoints, chains, p = self.middle
        return (
            [("checkpoints", value, (value, chains, p)) for value in self.checkpoints]
            + [("chains", value, (checkpoints, value, p)) for value in self.chains]
            + [("p", value, (checkpoints, chains, value)) for value in self.moduli]
        )


W6 = ScalingWorkload()


def run(bench: Bench, workload: ScalingWorkload) -> dict[str, Any]:
    """Return the record of W6; `ratio` holds the cost at the large end over that in the middle, by axis."""
    config = load_config(ROOT / "configs" / "devinterp_notebook.yaml")
    (own_task, model), contestants, gflop = sections(config), [], {}
    for axis, value, (checkpoints, chains, p) in workload.points():
        task = own_task | {"modulus": p}
        material = untrained(task, model, checkpoints, bench.scratch)
        name = f"{axis} {value}"
        gflop[name] = workload.draws * flops(products(material, workload.batch)) / 1e9
        settings = {"step_size": 1e-3, "n_beta": 2.0, "gamma": 5.0, "batch": workload.batch, "draws": workload.draws}
        job = {**material.job("mlp"), **settings, "chains": chains, "checkpoints": [list(range(checkpoints))]}
        contestants.append((name, "llc_slt_grok.py", job))
    record, answers = bench.race(contestants)
    seconds = per_unit(answers)
    points = [
        {
            "axis": axis,
            "value": value,
            "seconds_per_chain": float(np.median(seconds[f"{axis} {value}"])),
            "gflop_per_chain": gflop[f"{axis} {value}"],
            "peak_gib": max(answer["peak_gib"] for answer in answers[f"{axis} {value}"]),
        }
        for axis, value, _ in workload.points()
        if f"{axis} {value}" in answers
    ]
    record |= {
        "unit": f"chain of {workload.draws} draws, batch {workload.batch}",
        "what": (
            "cost of a chain on the notebook's MLP at initialization as checkpoints, chains or p grow, the others held "
            f"at {workload.middle[0]} checkpoints, {workload.middle[1]} chains and p = {workload.middle[2]}"
        ),
        "target": workload.target,
        "points": points,
        "ratio": {},
        "ratio_interval": {},
        "peak_gib_large_end": {},
        "floor_fraction": None,
        "agreement": {},
    }
    for axis in workload.target:
        rows = [point for point in points if point["axis"] == axis]
        if len(rows) > 1:
            middle, large = rows[len(rows) // 2], rows[-1]
            cost = [
                seconds[f"{axis} {row['value']}"] / (row["gflop_per_chain"] if axis == "p" else 1.0)
                for row in (middle, large)
            ]
            record["ratio"][axis], record["ratio_interval"][axis] = ratio_of_medians(cost[1], cost[0])
            record["peak_gib_large_end"][axis] = [middle["peak_gib"], large["peak_gib"]]
    return record
