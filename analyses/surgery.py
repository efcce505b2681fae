"""What remains of a run's last network after each surgery on it: answers, margin and LLC, before and after.

One by one: every key frequency moved to a free one, all moved by one factor (a relabeling: the same function, though
its train pairs are others); the circuit kept alone and removed, here and in the checkpoint that had memorized; the
circuit transplanted into that checkpoint, with its attention and without, and into the first one; another run's
circuit, of another seed, in place of this one's, as it is and with its units matched; the program's frequencies written
as weights for the run's own and for other primes, without training. A frequency moves to the free one that gives the
clock of the program's amplitudes the largest worst margin. All LLCs are at the run's settings; random streams differ by
variant.
Writes analyses/results/surgery_NAME.json.

Usage: python analyses/surgery.py RUN PROGRAM [--donor RUN] [--moduli 31 59 211] [--out FOLDER]
PROGRAM is what `slt-grok extract RUN` wrote; only its constants are read.
"""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from circuit_surgery import move_frequencies, transplant_circuit
from rich.console import Console
from runs_below import below_runs, plain

import slt_grok
from slt_grok import circuits
from slt_grok.errors import SltGrokError
from slt_grok.groups import cyclic
from slt_grok.interventions.weights import (
    VARIANT,
    evaluate,
    frequency_directions,
    keep_directions,
    keep_neurons,
    remove_directions,
    remove_neurons,
)
from slt_grok.landscape.alignment import align
from slt_grok.llc.measurement import estimate_by
from slt_grok.program import constants
from slt_grok.program.other_primes import rewrite, worst_margin
from slt_grok.store.files import write_json
from slt_grok.studies.context import milestones
from slt_grok.studies.provenance import environment
from slt_grok.studies.run import Run
from slt_grok.tasks import SPLITS, ModularTask
from slt_grok.trajectories import Trajectory

RESULTS = Path(__file__).parent / "results"
FACTOR = 2  # of the relabeling
OF_LLC = ("llc", "llc_se", "llc_low", "llc_high", "llc_status", "llc_status_reason")


def best_move(program: constants.Constants, frequency: int) -> int:
    """Return the free frequency in whose place the program's clock has the largest worst margin."""
    others = {k: a for k, a in program.amplitudes.items() if k != frequency}
    free = [k for k in range(1, (program.p + 1) // 2) if k not in program.amplitudes]
    return max(free, key=lambda k: worst_margin(program.p, {**others, k: program.amplitudes.get(frequency, 0.0)}))


def moved(last: Trajectory, program: constants.Constants, keys: list[int]) -> dict[str, Trajectory]:
    """Each key frequency alone, and all of Z_p by one factor."""
    p = program.p
    targets = {k: best_move(program, k) for k in keys}
    found = {f"{k} moved to {to}": move_frequencies(last, {k: to}) for k, to in targets.items()}
    all_of_them = {k: FACTOR * k % p for k in range(1, (p + 1) // 2)}
    return found | {f"all frequencies moved by {FACTOR}": move_frequencies(last, all_of_them)}


def parted(one: Trajectory, keys: list[int], neurons: np.ndarray, name: str) -> dict[str, Trajectory]:
    """Return the circuit alone, and the network without it."""
    planes = frequency_directions(cyclic(one.task.classes), keys)
    return {
        f"{name}, circuit alone": keep_neurons(keep_directions(one, planes), neurons),
        f"{name}, circuit removed": remove_neurons(remove_directions(one, planes), neurons),
    }


def transplanted(
    last: Trajectory,
    first: Trajectory,
    early: Trajectory,
    donor: Trajectory | None,
    keys: list[int],
    neurons: np.ndarray,
) -> dict[str, Trajectory]:
    """Return the circuit in the memorizing and the first checkpoint, and another run's in this network's place."""
    graft = partial(transplant_circuit, frequencies=keys, neurons=neurons)
    found = {
        "memorizer": early,
        **parted(early, keys, neurons, "memorizer"),
        "circuit into memorizer": graft(early, last),
        "circuit and attention into memorizer": graft(early, last, attention=True),
        "untrained": first,
        "circuit and attention into untrained": graft(first, last, attention=True),
    }
    if donor is None:
        return found
    foreign = replace(donor, network=last.network, coords=last.coords)
    own, theirs = key_circuit(foreign)
    of_donor = partial(transplant_circuit, last, frequencies=own, neurons=theirs, removed=keys)
    matched = align(foreign, last)
    of_matched = partial(transplant_circuit, last, frequencies=own, neurons=key_circuit(matched)[1], removed=keys)
    return found | {
        "the other seed": foreign,
        "circuit of the other seed": of_donor(foreign),
        "circuit and attention of the other seed": of_donor(foreign, attention=True),
        "circuit and attention of the other seed, units matched": of_matched(matched, attention=True),
    }


def key_circuit(one: Trajectory) -> tuple[list[int], np.ndarray]:
    """Key frequencies and circuit neurons of a single network.

    Raises
    ------
    SltGrokError
        It has no circuit.
    """
    mask = circuits.key_frequencies(one).squeeze()
    keys = mask.frequency.values[mask.values].tolist()
    if not keys:
        raise SltGrokError("circuit: expected a network with neurons of a key frequency")
    return keys, circuits.circuit_neurons(one).squeeze().values


def written(
    program: constants.Constants, last: Trajectory, model: dict[str, Any], moduli: list[int]
) -> tuple[dict[str, Trajectory], dict[str, Any]]:
    """Return the program's frequencies as weights for each modulus, in float32 as the run's."""
    found, frequencies = {}, {}
    dtype = next(iter(last.parameters.values())).dtype
    split = {"train_fraction": last.task.train_fraction, "split_seed": last.task.split_seed}
    for p in moduli:
        task = ModularTask(p, program.operation, **split)  # pyright: ignore[reportArgumentType]
        network, served = rewrite(program, model, task)
        name = f"written for p = {p}"
        found[name] = replace(network, parameters={k: t.to(dtype) for k, t in network.parameters.items()})
        frequencies[name] = asdict(served) | {"added": served.added}
    return found, frequencies


def measured(variants: dict[str, Trajectory], llc: Callable[[Trajectory], xr.Dataset] | None = None) -> xr.Dataset:
    """Return the answers of single networks on every pair and their LLC, over `variant`.

    Random streams of the LLC differ by a variant's name. At a finite (n_beta, gamma) LLCs of networks that differ in
    size or weight scale compare only under the same localization.
    """
    rows = []
    for name, one in variants.items():
        single = {key: tensor[0] for key, tensor in one.stacked().items()}
        values = evaluate(one) | {"modulus": one.task.classes}
        row = xr.Dataset(
            {key: (("split",), v) if np.ndim(v) else v for key, v in values.items()}, {"split": list(SPLITS)}
        )
        if llc is not None:
            named = {key: tensor[None] for key, tensor in single.items()}
            found = llc(replace(one, parameters=named, dims=(VARIANT,), coords={VARIANT: np.array([name])}))
            row = row.merge(found[list(OF_LLC)].isel({VARIANT: 0}, drop=True))
        rows.append(row)
    return xr.concat(rows, VARIANT).assign_coords({VARIANT: list(variants)})


def last_of(path: Path) -> Trajectory:
    """Return the last checkpoint of a run, its first seed."""
    return slt_grok.trajectory(path).isel(step=[-1], seed=[0])


def main(given: argparse.Namespace) -> None:
    """Measure, print, write."""
    torch.set_num_threads(1)
    start, console = time.monotonic(), Console(highlight=False, soft_wrap=True)
    run, program = Run(given.run), constants.read(given.program)
    config, llc = run.config, run.calibrated.llc  # pyright: ignore[reportAttributeAccessIssue]
    if llc is None:
        raise SltGrokError(f"{given.run}: expected a run with LLC settings")
    every = run.trajectory.isel(seed=[0])
    last, steps = every.isel(step=[-1]), every.coords["step"]
    reached = np.flatnonzero(
        steps >= milestones(run.data.get("training"), config.transitions, int(every.coords["seed"][0]))[0]
    )  # NaN: never
    if not len(reached):
        raise SltGrokError(f"{given.run}: expected a checkpoint that has memorized the train set")
    memorized = int(reached[0])
    keys, neurons = key_circuit(last)
    new, frequencies = written(program, last, config.content["model"], [program.p, *given.moduli])
    for name, network in new.items():
        count = len(network.task.indices("train"))
        if count < (llc.batch_size or 1):
            raise SltGrokError(
                f"--moduli: expected train pairs enough for the LLC's batch of {llc.batch_size}, the network "
                f"{name} has {count}"
            )
    variants = {
        "as trained": last,
        **moved(last, program, keys),
        **parted(last, keys, neurons, "as trained"),
        **transplanted(
            last,
            every.isel(step=[0]),
            every.isel(step=[memorized]),
            last_of(given.donor) if given.donor else None,
            keys,
            neurons,
        ),
        **new,
    }
    found = measured(variants, partial(estimate_by, llc))
    rows = []
    for name in variants:
        one = found.sel(variant=name)
        accuracy, loss = ({s: float(one[v].sel(split=s)) for s in SPLITS} for v in ("accuracy", "loss"))
        words = {key: str(one[key].values) for key in ("llc_status", "llc_status_reason")}
        numbers = {key: float(one[key]) for key in ("worst_margin", "llc", "llc_se", "weight_norm", "modulus")}
        rows.append({"variant": name, "accuracy": accuracy, "loss": loss, **numbers, **words})
        console.print(
            f"{name}: right {accuracy['all']:.4f}, worst margin {numbers['worst_margin']:.3g}, train loss "
            f"{loss['train']:.3g}, LLC {numbers['llc']:.4g} +- {numbers['llc_se']:.2g} ({words['llc_status']})"
        )
    content = {
        "command": f"python analyses/surgery.py {below_runs(given.run)} {given.program.name}"
        + (f" --donor {below_runs(given.donor)}" if given.donor else "")
        + f" --moduli {' '.join(map(str, given.moduli))}",
        "llc": llc.model_dump(mode="json", exclude_none=True),
        "steps": {"last": int(steps[-1]), "memorized": int(steps[memorized])},
        "key_frequencies": keys,
        "frequencies": frequencies,
        "variants": rows,
        "wall_seconds": round(time.monotonic() - start, 1),
        "environment": environment(),
    }
    write_json(given.out / f"surgery_{config.name}.json", plain(content))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("program", type=Path)
    parser.add_argument("--donor", type=Path)
    parser.add_argument("--moduli", type=int, nargs="+", default=[31, 59, 211])
    parser.add_argument("--out", type=Path, default=RESULTS)
    try:
        main(parser.parse_args())
    except SltGrokError as error:
        sys.exit(str(error))
