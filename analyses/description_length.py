"""Whether description length drops where the LLC drops.

Usage: python analyses/description_length.py [--out FOLDER] RUN ...
A RUN is a directory with the measurements `program` and `llc`; runs of one name count as one, with the seeds of all.
Writes description_length.json and a figure for each name into results/.

Of each seed: bits of the shortest program (with a table of what it does not do) that keeps the network's answers to
all pairs, and of the one that keeps its loss on the train pairs; how much of it is table; bits of the network itself;
llc log2(n); all at the LLC's largest value, half way down and at the end. The middle of each drop from there on, and
the rank correlation of its changes with the LLC's. From four seeds on, the lag of each middle behind the LLC's. The
rules are those of `length_and_llc`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from length_and_llc import description_length
from rich.console import Console
from rich.table import Table
from runs_below import below_runs, command_line, llc_settings, picture, plain

from slt_grok import plots
from slt_grok.errors import SltGrokError
from slt_grok.store.files import write_json
from slt_grok.studies.provenance import environment
from slt_grok.studies.run import Run
from slt_grok.transitions.measures import with_seed

CORRELATION = {"rank_correlation": "+.2f", "p_value_correlation": ".1g"}
EACH = ("bits", "middle", "middle_low", "middle_high", "rank_correlation", "p_value_correlation")
LAGS = ("lag", "lag_low", "lag_high", "p_value")


def read(path: Path) -> tuple[str, xr.Dataset, xr.Dataset, int]:
    """Name, both measurements and the number of train pairs of a run."""
    run = Run(path)
    for label in ("program", "llc"):
        if label not in run.data:
            raise SltGrokError(f"{path}: expected {label} measured (slt-grok measure {path.name} --only {label})")
    program, llc = (with_seed(run.data[label]) for label in ("program", "llc"))
    return run.config.name, program, llc, len(run.config.task.indices("train"))


def numbers(lengths: xr.Dataset, program: xr.Dataset) -> dict[str, Any]:
    """Return the results of a run as plain data."""
    seeds = {}
    for seed in lengths.seed.values.tolist():
        own = lengths.sel(seed=seed)
        steps = own.checkpoint.values.tolist()
        shown = program.sel(seed=seed, step=steps)
        level, table_share, bits_per_weight = (
            {keeps: shown[name].sel(keeps=keeps).values.tolist() for keeps in shown.keeps.values.tolist()}
            for name in ("chosen", "table_share", "bits_per_weight")
        )
        seeds[str(seed)] = {
            "checkpoints": dict(zip(lengths["at"].values.tolist(), steps, strict=True)),
            "level": level,
            "table_share": table_share,
            "bits_per_weight": bits_per_weight,
            "measures": {
                name: {key: own[key].sel(measure=name).values.tolist() for key in EACH}
                for name in lengths.measure.values.tolist()
            },
        }
    lags = lengths[[*LAGS, "seeds"]].to_dataframe().iloc[1:].astype(float).to_dict("index")
    return {"train_pairs": lengths.attrs["samples"], "seeds": seeds, "lags_behind_the_llc": lags}


def table(name: str, lengths: xr.Dataset, seed: int) -> Table:
    """Tabulate a seed."""
    own = lengths.sel(seed=seed)
    steps = [f"step {step:,}" for step in own.checkpoint.values]
    shown = Table(title=f"{name}, seed {seed}, {lengths.attrs['samples']:,} train pairs")
    for column in ("bits", *steps, "middle", "interval", "rank correlation", "p"):
        shown.add_column(column, justify="left" if column == "bits" else "right")
    for measure in lengths.measure.values.tolist():
        row = own.sel(measure=measure)
        shown.add_row(
            "llc log2 n" if measure == "llc" else measure.replace("_", ", keeps "),
            *(f"{value:,.0f}" for value in row.bits.values),
            f"{float(row.middle):,.0f}",
            f"{float(row.middle_low):,.0f} to {float(row.middle_high):,.0f}",
            *("" if measure == "llc" else f"{float(row[key]):{how}}" for key, how in CORRELATION.items()),
        )
    return shown


def joined(paths: list[Path]) -> dict[str, tuple[xr.Dataset, xr.Dataset, int]]:
    """By name what `read` gives, over the seeds of all runs of that name."""
    runs: dict[str, tuple[xr.Dataset, xr.Dataset, int]] = {}
    for path in paths:
        name, program, llc, samples = read(path)
        if name in runs:
            old_program, old_llc, _ = runs[name]
            if repeated := set(old_program.seed.values.tolist()) & set(program.seed.values.tolist()):
                raise SltGrokError(f"{path}: expected every seed once, {name} has seed {min(repeated)} twice")
            program, llc = (
                xr.concat(pair, "seed", join="outer", combine_attrs="drop_conflicts")
                for pair in ((old_program, program), (old_llc, llc))
            )
        runs[name] = program, llc, samples
    return runs


def main(paths: list[Path], out: Path) -> None:
    """Read, compare, draw, write."""
    console = Console(width=150)
    runs: dict[str, Any] = {}
    figures = {}
    for name, (program, llc, samples) in joined(paths).items():
        lengths = description_length(program, llc, samples)
        for seed in lengths.seed.values.tolist():
            console.print(table(name, lengths, seed))
        runs[name] = numbers(lengths, program)
        for measure, lag in runs[name]["lags_behind_the_llc"].items():
            if np.isfinite(lag["lag"]):
                ends = f"{lag['lag_low']:+.2f} to {lag['lag_high']:+.2f}"
                console.print(f"{name}, {measure}: {lag['lag']:+.2f} ({ends}) in log step after the LLC")
        figures[name] = plots.description_length(program, llc, samples)
    out.mkdir(parents=True, exist_ok=True)
    content = {
        "command": " ".join(["python analyses/description_length.py", *map(below_runs, paths)]),
        "llc_settings": llc_settings(paths),
        "runs": runs,
        "environment": environment(),
    }
    write_json(out / "description_length.json", plain(content))
    for name, figure in figures.items():
        print(picture(figure, out, f"description_length_{name}"))


if __name__ == "__main__":
    command_line(main, __doc__)
