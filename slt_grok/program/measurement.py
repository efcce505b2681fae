"""Programs along training: how much of every network each level explains, and how long it is beside the network."""

from collections.abc import Callable

import numpy as np
import xarray as xr

from slt_grok.program.codes import KEEPS, codes
from slt_grok.program.compression import compress
from slt_grok.program.extraction import LEVELS, candidates, match
from slt_grok.program.reading import Reading, read
from slt_grok.program.variables import COMPRESSIONS, MIXTURES, VARIABLES
from slt_grok.trajectories import Trajectory

OnProgress = Callable[[int, int], None]


def measure(trajectory: Trajectory, on_progress: OnProgress | None = None) -> xr.Dataset:
    """Every level of program of every network of a trajectory.

    Parameters
    ----------
    trajectory : Trajectory
        Networks with a modular task.
    on_progress : OnProgress or None, optional
        Called with (networks done, networks in all) after each network.

    Returns
    -------
    xarray.Dataset
        A dataset over the leading dimensions of the trajectory with `VARIABLES`; NaN for levels that a network has not,
        which are all of them where no frequency is in its logits. The variables over `frequency` are left out where the
        operation has no angles.

    Raises
    ------
    SltGrokError
        See `slt_grok.program.read`.
    """
    rows = []
    for index in np.ndindex(*trajectory.shape):
        one = trajectory.isel(**{dim: [i] for dim, i in zip(trajectory.dims, index, strict=True)})
        rows.append(_row(read(one), one))
        if on_progress is not None:
            on_progress(len(rows), len(trajectory))
    coords: dict[str, object] = {
        "level": list(LEVELS),
        "keeps": list(KEEPS),
        "mixture": list(MIXTURES),
        "compression": list(COMPRESSIONS),
    }
    if "clock_amplitude" in rows[0]:
        coords["frequency"] = np.arange(1, len(rows[0]["clock_amplitude"]) + 1)
    return trajectory.dataset(
        {name: (VARIABLES[name][0], np.array([row[name] for row in rows]), VARIABLES[name][1]) for name in rows[0]},
        **coords,
    )


def _row(reading: Reading, one: Trajectory) -> dict[str, object]:
    found = candidates(reading)
    of_mixture = {name: codes(reading, program) for name, program in found.items()} | {"table": codes(reading, None)}
    fits = {name: match(reading, program) for name, program in found.items()}
    chosen = {keeps: min(of_mixture, key=lambda name: of_mixture[name][keeps].bits) for keeps in KEEPS}
    best = [of_mixture[chosen[keeps]][keeps] for keeps in KEEPS]
    compressed = list(compress(one).values())
    row: dict[str, object] = {
        "explained_variance": [1 - fits[name].unexplained if name in fits else np.nan for name in LEVELS],
        "agreement": [fits[name].agreement if name in fits else np.nan for name in LEVELS],
        "true_answers": (reading.answers == reading.labels).mean(),
        "program_bits": [
            [of_mixture[name][keeps].bits if name in of_mixture else np.nan for name in MIXTURES] for keeps in KEEPS
        ],
        "chosen": [chosen[keeps] for keeps in KEEPS],
        "table_share": [code.listing / code.bits for code in best],
        "program_explains": chosen["answers"] != "table" and fits[chosen["answers"]].explains,
        "network_bits": [[getattr(own, name) for name in COMPRESSIONS] for own in compressed],
        "bits_per_weight": [own.bits_per_weight for own in compressed],
        "bits_per_weight_kept": [own.bits_per_weight_kept for own in compressed],
        "weights_kept": [own.weights_kept for own in compressed],
    }
    if reading.tokens is not None:
        row["clock_amplitude"] = reading.clock_amplitudes
        row["program_frequency"] = np.isin(reading.tokens.frequencies, reading.keys)
    return row
