"""W4: every Fourier measure of a trajectory, against one checkpoint and one frequency at a time.

The two must agree within 1e-6 of a variable's largest value, and 1e-4 for the accuracies and fits of single circles,
whose logits the package takes in single precision. Values by neuron are compared for the neurons that are counted in a
cluster; of the others, frequency and phase are those of rounding or of no wave. A neuron that is active at one pair
alone has the same power at all frequencies: checkpoints where the two break such a tie differently are left out for
what follows from it, the polynomials in place of the neurons. What has no peer is the package's
excess: gradient symmetricity (with two triples) and the shapes of clusters.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from slt_grok.circuits import key_frequencies
from slt_grok.circuits.measurement import Circuits

from .chains import among, place_of
from .material import of_run
from .workload import Bench

PLAIN = Path(__file__).parent / "plain_measures.py"
VARIABLES = Circuits().variables


@dataclass(frozen=True)
class MeasuresWorkload:
    """All circuit measures of a run's checkpoints.

    Parameters
    ----------
    run : str
        Name of a configuration.
    checkpoints : int
        The whole work.
    parts : int
        A repetition does every so many-th checkpoint, the next one those after.
    peer_checkpoints : int
        Of a peer in a repetition.
    target : dict[str, float], optional
        The ratio to be reached.
    """

    run: str
    checkpoints: int
    parts: int
    peer_checkpoints: int
    target: dict[str, float] = field(default_factory=dict)


W4 = MeasuresWorkload("mod113", checkpoints=100, parts=5, peer_checkpoints=1, target={"torch-loop": 10})


def run(bench: Bench, workload: MeasuresWorkload) -> dict[str, Any]:
    """Return the record of W4."""
    w = workload
    material = of_run(w.run, w.checkpoints, bench.scratch)
    own = [list(range(part, w.checkpoints, w.parts)) for part in range(w.parts)]
    chosen = [among(part, w.peer_checkpoints, place_of(number)) for number, part in enumerate(own)]
    used = key_frequencies(material.trajectory).values.tolist()
    plain = bench.scratch / "plain.npz"
    arrays = {name: tensor.numpy() for name, tensor in material.trajectory.parameters.items()}
    np.savez(plain, **arrays, train_rows=material.trajectory.task.indices("train").numpy())  # pyright: ignore
    values = {name: str(bench.scratch / f"values_{name}") for name in ("slt_grok", "torch-loop")}
    code = bench.peer_path or PLAIN
    what = "the papers' formulas in plain PyTorch, one checkpoint and one frequency at a time"
    peer = {
        "material": str(plain),
        "frequencies": used,
        "checkpoints": chosen,
        "values": values["torch-loop"],
        "code": str(code),
        "what": f"{what} ({code.name})",
    }
    ours = {**material.job("transformer"), "frequencies": used, "checkpoints": own, "values": values["slt_grok"]}
    record, answers = bench.race(
        [("slt_grok", "measures_slt_grok.py", ours), ("torch-loop", "measures_plain.py", peer)]
    )
    record |= {
        "unit": "checkpoint",
        "what": (
            f"all Fourier measures of {material.source}; a repetition of slt_grok has {len(own[0])} checkpoints and "
            f"{answers['slt_grok'][0]['measures']} variables, of the peer {w.peer_checkpoints} checkpoint(s)"
        ),
        "target": w.target,
        "agreement": {},
        "floor_fraction": None,
    }
    if "torch-loop" in answers:
        record["what"] += f" and {answers['torch-loop'][0]['measures']} variables"
        repetitions = min(len(answers["torch-loop"]), w.parts)
        record["agreement"]["torch-loop"] = agreement(
            [
                (np.load(f"{values['torch-loop']}_{r}.npz"), np.load(f"{values['slt_grok']}_{r}.npz"), rows)
                for r in range(repetitions)
                for rows in [[own[r].index(index) for index in chosen[r]]]
            ]
        )
    return record


def agreement(pairs: list[tuple[Any, Any, list[int]]]) -> dict[str, Any]:
    """Largest difference of each variable, relative to its largest value, over all repetitions.

    Parameters
    ----------
    pairs : list[tuple[Any, Any, list[int]]]
        Values of the peer, ours, and the rows of ours that are the peer's checkpoints.
    """
    worst: dict[str, float] = {}
    for theirs, ours, rows in pairs:
        counted = ours["neuron_fve"][rows] > 0.85
        same = (theirs["neuron_frequency"] == ours["neuron_frequency"][rows]).all(-1)
        for name in theirs.keys() & ours.keys():
            x, y = theirs[name].astype(float), ours[name][rows].astype(float)
            if "neuron" in VARIABLES[name].dims:
                x, y = x[counted], y[counted]
            if name.startswith("polynomial"):
                x, y = x[same], y[same]
            worst[name] = max(worst.get(name, 0.0), difference(name, x, y))
    apart = {name: value for name, value in worst.items() if not value < tolerance(name)}
    return {
        "variables": len(worst),
        "largest_relative_difference": max(worst.values()),
        "apart": apart,
        "agree": not apart,
    }


def tolerance(name: str) -> float:
    """Relative difference up to which two values are the same."""
    return 1e-4 if name.startswith(("circle_", "accuracy_principal")) else 1e-6


def difference(name: str, x: np.ndarray, y: np.ndarray) -> float:
    """Largest |x - y| over the largest |y|; NaN in one alone is infinitely far, phases are compared on the circle."""
    if not x.size:
        return 0.0
    if (np.isnan(x) != np.isnan(y)).any():
        return float("inf")
    apart = np.abs(x - y)
    if name.startswith("neuron_phase"):
        apart = np.minimum(apart, 2 * np.pi - apart)
    largest = float(np.nan_to_num(apart).max())
    return largest and largest / float(np.nan_to_num(np.abs(y)).max() or 1.0)
