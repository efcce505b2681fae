"""Programs over training: how much of each network every level explains, and its length compared with the network's."""

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from pydantic import Field

from slt_grok.errors import SltGrokError
from slt_grok.format import capital, percent, plural, plus_minus, step
from slt_grok.measurement import Context, Data, Drawing, Measurement, Table, Variable, evenly_spaced, final_numbers
from slt_grok.models import Network
from slt_grok.program.compression import compress
from slt_grok.program.extraction import AGREEMENT, EXPLAINED, LEVELS, candidates, extract, match
from slt_grok.program.length import KEEPS, codes
from slt_grok.program.levels import neurons
from slt_grok.program.listing import essential
from slt_grok.program.reading import read
from slt_grok.program.tokens import unreadable
from slt_grok.program.writing import source
from slt_grok.progress import ProgressCallback, ignore
from slt_grok.settings import Positive, Settings
from slt_grok.trajectories import Trajectory

MIXTURES = (*LEVELS, "table")
COMPRESSIONS = ("quantized", "pruned")
SHARD = 4  # checkpoints per shard
TRIAL = 5  # frequencies of the program used to predict the cost, as many as a typical trained network has
RULE = f"agreement on {percent(AGREEMENT)} of all pairs and {percent(EXPLAINED)} of the variance"
ANGLES = "tasks whose labels are the sum of angles of their tokens"


VARIABLES = {
    "explained_variance": Variable(
        ("level",),
        "explained variance of the logits",
        "1 - mean (L - Q)^2 / mean L^2 over all p^3, both centered over the answers of each pair",
    ),
    "agreement": Variable(
        ("level",), "agreement with the network", "fraction of all pairs with the network's answer, without a table"
    ),
    "true_answers": Variable(
        (), "agreement of the correct answers", "fraction of all pairs that the network answers correctly"
    ),
    "program_bits": Variable(
        ("keeps", "mixture"),
        "length of the program",
        "two-part code: the level's frequencies and numbers, and a table of the pairs it gets wrong; table: no "
        "program; answers: keeps the network's answers to all p^2 pairs; loss: keeps its cross-entropy on the n train "
        "pairs to 1/n nats",
        units="bits",
    ),
    "chosen": Variable(("keeps",), "level of the shortest program", "argmin of program_bits"),
    "table_share": Variable(
        ("keeps",),
        "share of the table in the shortest program",
        "fraction of its bits that list pairs, beyond an empty table; 1 for a table alone",
    ),
    "network_bits": Variable(
        ("keeps", "compression"),
        "length of the network",
        "quantized: bits_per_weight for every weight; pruned: positions of weights_kept, and bits_per_weight_kept for "
        "each; 32 bits for the scale of each tensor",
        units="bits",
    ),
    "bits_per_weight": Variable(
        ("keeps",),
        "critical quantization",
        "fewest bits per weight that suffice, as do all more up to 24; else 32",
        units="bits",
    ),
    "bits_per_weight_kept": Variable(
        ("keeps",), "bits per weight of the pruned network", "in the shortest pruned code", units="bits"
    ),
    "weights_kept": Variable(("keeps",), "weights of the pruned network", "number kept in the shortest pruned code"),
    "program_explains": Variable(
        (), "whether the shortest program for the answers explains the network", f"without its table: {RULE}"
    ),
    "program_frequency": Variable(
        ("frequency",), "frequency of the program", "its clock explains over 0.1% of the logits' variance", where=ANGLES
    ),
    "clock_amplitude": Variable(
        ("frequency",), "amplitude of the clock", "2 mean over a, b, c of L cos w_k(s - c)", where=ANGLES
    ),
}


class ProgramSettings(Settings):
    """Settings of the measurement `program`."""

    checkpoints: Positive | None = Field(default=None, description="number of evenly spaced checkpoints; default: all")


class Programs(Measurement):
    """Every level of program of every network, its length, and the length of the network itself."""

    name, title, position, default = "program", "Program", 60, False
    Settings = ProgramSettings
    variables = VARIABLES

    def unmeasurable(self, network: Network) -> str | None:
        """Explain why networks of this kind have no program; None if they do."""
        return unreadable(network.task)

    def measure(self, trajectory: Trajectory, settings: ProgramSettings, context: Context) -> xr.Dataset:
        """Measure the chosen checkpoints; attributes store the last network's program as text."""
        chosen = trajectory.isel(step=evenly_spaced(trajectory.coords["step"], settings.checkpoints))
        dataset = context.in_shards(chosen, measure, SHARD)
        return dataset.assign_attrs(as_text(trajectory.isel(step=[-1], seed=[0])))

    def seconds(self, trial: Trajectory, settings: ProgramSettings, checkpoints: int, context: Context) -> float:
        """Predict the cost from a trial that adds a typical program, since an untrained network has none."""
        start = time.process_time()
        reading = read(trial)
        measure(trial)
        if reading.tokens is not None and reading.neurons is not None:
            program = neurons(reading, reading.tokens.frequencies[:TRIAL])
            codes(reading, program)
            match(reading, program)
        return (time.process_time() - start) * self.checkpoints_of(settings, checkpoints)

    def figures(self) -> Sequence[Drawing]:
        """List the figures: the program as text, the variance each level explains, and the lengths."""
        from slt_grok import plots

        return (
            Drawing(
                "program_text",
                draw_text,
                "Left: the essential lines of the program's file, and for a network with one hidden layer its "
                "strongest neurons as formulas, omitting waves below a tenth of the largest. Right: each token in the "
                "plane of the embedding that belongs to a clock k of the program, joined and colored in the order of "
                "k t mod p; the weight is that of the ideal clock in the logits.",
                ("program_frequency",),
                ("circuit_maps",),
                by_seed=False,
            ),
            Drawing(
                "explained_share",
                plots.explained_share,
                "Top: the variance of the logits that each level explains. Bottom: the fraction of all pairs on which "
                "it gives the network's answer, without a table; the correct answers for comparison. A line begins "
                "where the logits have a key frequency. From the tick on, the shortest program explains the network. "
                "With several seeds, thin lines are seeds and thick lines their mean with its 95% interval.",
                by_seed=False,
            ),
            Drawing(
                "description_length",
                plots.description_length,
                "Bits over training, and LLC × log₂ n of the n train pairs: the shortest program with its table, "
                "and the compressed network, each preserving its answers to all pairs or its train loss to within one "
                "nat in total. Hollow: more than half of the bits list pairs. Bands are 95% intervals, over several "
                "seeds of the geometric mean.",
                others=("llc",),
                by_seed=False,
            ),
        )

    def notes(self, data: Data) -> Sequence[str]:
        """State the step from which a program explains each seed's network, and how to read agreement and the text."""
        from slt_grok import plots

        onsets = plots.explained_from(data[self.name]).to_series().dropna()
        reached = ", ".join(f"step {step(onset)} (seed {seed})" for seed, onset in onsets.items())
        onset = f"explains the network from {reached} on" if reached else "does not explain the network at the end"
        return [
            f"The shortest program {onset} ({RULE}).",
            "A clock with any few frequencies gives nearly all correct answers, so agreement alone does not show a "
            "circuit; the explained variance does.",
            *filter(None, [data[self.name].attrs.get("program_note")]),
        ]

    def text(self, data: Data) -> str:
        """Get the file that `slt-grok extract` writes for the last network of the first seed."""
        return data[self.name].attrs.get("program_source", "")

    def tables(self, data: Data) -> Sequence[Table]:
        """Tabulate fit and length of every level, at the step with the longest loss-preserving code and at the end."""
        tables, dataset = [], data[self.name]
        header = ["", "Variance of the logits", "Agreement with the network", "Bits (answers)", "Bits (loss)"]
        for seed in dataset.seed.values.tolist():
            networks = dataset.sel(seed=seed)
            longest = int(shortest(networks).sel(keeps="loss").argmax("step"))
            for index in dict.fromkeys((longest, networks.sizes["step"] - 1)):
                network = networks.isel(step=index)
                caption = (
                    f"Programs at step {step(int(network.step))}, seed {seed}. Bits of the shortest code of each kind"
                )
                rows = _rows(network, data.get("llc"))
                tables.append(Table(caption, header, rows, folded=dataset.sizes["seed"] > 1))
        return tables

    def columns(self, dataset: xr.Dataset) -> dict[str, Any]:
        """Report the last checkpoint's numbers, and the shortest program's bits with their drop from the maximum."""
        columns = final_numbers(dataset, f"final.{self.name}", "keeps")
        for bits in shortest(dataset).sortby("step").transpose("keeps", "step"):
            columns[f"final.program.shortest_bits.{bits.keeps.item()}"] = bits[-1].item()
            columns[f"program_bits_drop.{bits.keeps.item()}"] = (bits.max() - bits[-1]).item()
        return columns


def measure(trajectory: Trajectory, on_progress: ProgressCallback = ignore) -> xr.Dataset:
    """Measure every level of program of every network in a trajectory.

    Returns
    -------
    xarray.Dataset
        Over the leading dimensions of the trajectory, with the variables of `Programs`; NaN for levels that a network
        does not have (all of them if its logits have no key frequency).

    Raises
    ------
    SltGrokError
        See `slt_grok.program.read`.
    """
    rows = []
    for index in np.ndindex(*trajectory.shape):
        network = trajectory.isel(**{dim: [i] for dim, i in zip(trajectory.dims, index, strict=True)})
        rows.append(_row(network))
        on_progress(len(rows) / len(trajectory))
    coords = {"level": list(LEVELS), "keeps": list(KEEPS), "mixture": list(MIXTURES), "compression": list(COMPRESSIONS)}
    if "clock_amplitude" in rows[0]:
        coords["frequency"] = np.arange(1, len(rows[0]["clock_amplitude"]) + 1)
    values = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return Programs().dataset(trajectory, values, **coords)


def _row(network: Trajectory) -> dict[str, Any]:
    """Measure a single network: variable -> its value."""
    reading, compressed = read(network), list(compress(network).values())
    programs = candidates(reading)
    lengths = {name: codes(reading, programs.get(name)) for name in (*programs, "table")}
    fits = {name: match(reading, program) for name, program in programs.items()}
    chosen = [min(lengths, key=lambda name: lengths[name][keeps].bits) for keeps in KEEPS]
    shortest_codes = [lengths[name][keeps] for name, keeps in zip(chosen, KEEPS, strict=True)]
    row = {
        "explained_variance": [1 - fits[name].unexplained if name in fits else np.nan for name in LEVELS],
        "agreement": [fits[name].agreement if name in fits else np.nan for name in LEVELS],
        "true_answers": (reading.answers == reading.labels).mean(),
        "program_bits": [[lengths[n][keeps].bits if n in lengths else np.nan for n in MIXTURES] for keeps in KEEPS],
        "chosen": chosen,
        "table_share": [code.listing / code.bits for code in shortest_codes],
        "program_explains": chosen[0] in fits and fits[chosen[0]].explains,
        "network_bits": [[code.quantized, code.pruned] for code in compressed],
        "bits_per_weight": [code.bits_per_weight for code in compressed],
        "bits_per_weight_kept": [code.bits_per_weight_kept for code in compressed],
        "weights_kept": [code.weights_kept for code in compressed],
    }
    if reading.tokens is not None:
        row["clock_amplitude"] = reading.clock_amplitudes
        row["program_frequency"] = np.isin(reading.tokens.frequencies, reading.keys)
    return row


def as_text(network: Trajectory) -> dict[str, str]:
    """Describe a network's program in the attributes `program_source`, `program_lines` and `program_note`.

    `program_lines` are the essential lines for the figure with the token circles; absent if the angles are logarithms.
    """
    label = ", ".join(f"{dim} {step(int(values[0]))}" for dim, values in network.coords.items())
    reading = read(network)
    try:
        extraction = extract(reading)
    except SltGrokError as error:
        reason = str(error).removeprefix("program: ")
        return {"program_note": f"The network at {label} has no program: {reason}."}
    content, strongest = "a list of pairs, since no formula alone explains the network", None
    if extraction.explained:
        content = f"numbers rounded to {plural(extraction.digits, 'digit')}"
        strongest = neurons(reading) if reading.neurons is not None else None
    text = source(extraction)
    attrs = {
        "program_source": text,
        "program_note": f"The file that `slt-grok extract` writes for {label} has {content}.",
    }
    if reading.tokens is not None and reading.tokens.order == reading.p:
        attrs["program_lines"] = essential(text, strongest)
    return attrs


def draw_text(program: xr.Dataset, maps: xr.Dataset | None) -> Any:
    """Draw the last network's program next to its token circles.

    Raises
    ------
    SltGrokError
        There is no program in terms of the tokens themselves, or no circles were measured.
    """
    from slt_grok import plots

    if "program_lines" not in program.attrs or maps is None:
        raise SltGrokError("needs a program's text and the measurement circuit_maps")
    return plots.program_text(program.attrs["program_lines"], program, maps)


def shortest(program: xr.Dataset) -> xr.DataArray:
    """Compute the bits of the shortest program, over `keeps` and the networks."""
    return program.program_bits.min("mixture")


def _rows(network: xr.Dataset, llc: xr.Dataset | None) -> list[list[str]]:
    fits = network[["explained_variance", "agreement"]].reindex(level=MIXTURES).to_array()
    rows = [
        [capital(name), *map(_share, fits.sel(level=name)), *map(_bits, network.program_bits.sel(mixture=name))]
        for name in MIXTURES
    ]
    for name, bits in zip(COMPRESSIONS, network.network_bits.transpose("compression", "keeps"), strict=True):
        rows.append([f"Network, {name}", "–", "–", *map(_bits, bits)])
    if llc is not None and "n" in llc.attrs and all(network[dim].item() in llc[dim].values for dim in ("step", "seed")):
        measured, log_n = llc.sel(step=network.step, seed=network.seed), math.log2(float(llc.attrs["n"]))
        bits = plus_minus(float(measured.llc) * log_n, float(measured.llc_se) * log_n)
        rows.append(["LLC × log₂ n", "–", "–", "–", bits])
    return rows


def _share(value: xr.DataArray) -> str:
    return percent(float(value)) if np.isfinite(value) else "–"


def _bits(value: xr.DataArray) -> str:
    return f"{float(value):,.0f}" if np.isfinite(value) else "–"
