"""Programs along training: how much of every network each level explains, and how long it is."""

import numpy as np
import xarray as xr

from slt_grok.program.extraction import AGREEMENT, EXPLAINED, LEVELS, candidates, code_length, full_table, match
from slt_grok.program.length import program_bits
from slt_grok.program.reading import Reading, read
from slt_grok.trajectories import Trajectory

MIXTURES = (*LEVELS, "table")

VARIABLES: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "explained_variance": (
        ("level",),
        {
            "long_name": "explained variance of the logits",
            "definition": "1 - mean (L - Q)^2 / mean L^2 over all p^3, both centred over the answers of each pair",
        },
    ),
    "agreement": (
        ("level",),
        {
            "long_name": "agreement with the network",
            "definition": "share of all pairs where the program, without a table, gives the network's answer",
        },
    ),
    "true_answers": (
        (),
        {"long_name": "agreement of the true answers", "definition": "share of all pairs that the network has right"},
    ),
    "program_bits": (
        ("mixture",),
        {
            "long_name": "length of the program",
            "units": "bits",
            "definition": "two-part code of the network's p^2 answers: the level's frequencies and numbers, and a "
            "table of the pairs where it is wrong; table: all pairs listed",
        },
    ),
    "chosen": ((), {"long_name": "level of the shortest program", "definition": "argmin of program_bits"}),
    "program_explains": (
        (),
        {
            "long_name": "whether the shortest program explains the network without its table",
            "definition": f"agreement of {AGREEMENT:.1%} and {EXPLAINED:.0%} of the variance",
        },
    ),
    "program_frequency": (
        ("frequency",),
        {
            "long_name": "frequency of the program",
            "definition": "its clock holds more than a thousandth of the variance of the logits",
        },
    ),
    "clock_amplitude": (
        ("frequency",),
        {"long_name": "amplitude of the clock", "definition": "2 mean over a, b, c of L cos w_k(s - c)"},
    ),
}


def measure(trajectory: Trajectory) -> xr.Dataset:
    """Every level of program of every network of a trajectory.

    Parameters
    ----------
    trajectory : networks with a modular task.

    Returns
    -------
    A dataset over the leading dimensions of the trajectory with `VARIABLES`; NaN for levels that a network has not,
    which are all of them where no frequency is in its logits. The variables over `frequency` are left out where the
    operation has no angles.

    Raises
    ------
    SltGrokError : see `slt_grok.program.read`.
    """
    rows = []
    for index in np.ndindex(*trajectory.shape):
        one = trajectory.isel(**{dim: [i] for dim, i in zip(trajectory.dims, index, strict=True)})
        rows.append(_row(read(one)))
    coords: dict[str, object] = {"level": list(LEVELS), "mixture": list(MIXTURES)}
    if "clock_amplitude" in rows[0]:
        coords["frequency"] = np.arange(1, len(rows[0]["clock_amplitude"]) + 1)
    return trajectory.dataset(
        {name: (VARIABLES[name][0], np.array([row[name] for row in rows]), VARIABLES[name][1]) for name in rows[0]},
        **coords,
    )


def _row(reading: Reading) -> dict[str, object]:
    found = candidates(reading)
    bits = {name: code_length(reading, program) for name, program in found.items()}
    bits["table"] = program_bits(full_table(reading), 1)
    fits = {name: match(reading, program) for name, program in found.items()}
    chosen = min(bits, key=lambda name: bits[name])
    row: dict[str, object] = {
        "explained_variance": [1 - fits[name].unexplained if name in fits else np.nan for name in LEVELS],
        "agreement": [fits[name].agreement if name in fits else np.nan for name in LEVELS],
        "true_answers": (reading.answers == reading.labels).mean(),
        "program_bits": [bits.get(name, np.nan) for name in MIXTURES],
        "chosen": chosen,
        "program_explains": chosen != "table" and fits[chosen].explains,
    }
    if reading.tokens is not None:
        row["clock_amplitude"] = reading.clock_amplitudes
        row["program_frequency"] = np.isin(reading.tokens.frequencies, reading.keys)
    return row
