"""Write imported networks as a run directory."""

from collections.abc import Mapping, Sequence

import pandas as pd
import xarray as xr

from slt_grok.errors import SltGrokError
from slt_grok.store.importers.checkpoints import same_tensors
from slt_grok.store.importers.imported import Imported
from slt_grok.store.importers.splits import compared
from slt_grok.store.run_directory import RunDirectory
from slt_grok.training.result import Training
from slt_grok.units import in_units_of_loss


def write_run(networks: Sequence[Imported], run: RunDirectory, notes: Sequence[str] = ()) -> list[str]:
    """Write checkpoints of one network, one per step, as a run with one seed.

    The manifest's config has `training` None and a `source`: format, files, training settings, `contradictions`, which
    say that a stored loss is not that of the weights, and other notes. The training curves are the files' own at steps
    where they hold all of them; values that they lack at imported checkpoints are computed; accuracies elsewhere are
    NaN.

    Parameters
    ----------
    networks : sequence of Imported
        The network at each step, all of one model and task.
    run : RunDirectory
        An empty one, see `slt_grok.store.new_run.new_run`.
    notes : sequence of str, optional
        Sentences on all of them, added to theirs.

    Returns
    -------
    list of str
        The contradictions and the notes.

    Raises
    ------
    SltGrokError
        Two networks have the same step.
    """
    contradictions, agreements = compared(networks)
    notes = [*_notes_of(networks), *notes, *agreements]
    by_step: dict[int, Imported] = {}
    for network in networks:
        step = network.step or 0
        if step not in by_step:
            by_step[step] = network
        elif same_tensors(network.parameters, by_step[step].parameters):
            notes.append(f"{network.path.name} is the same network as {by_step[step].path.name}, of the same step.")
        else:
            raise SltGrokError(f"{network.path}: expected one file per step, {by_step[step].path} is also step {step}")
    first = networks[0]
    files = [str(by_step[step].path) for step in sorted(by_step)]
    source = {"format": first.format, "files": files, "settings": first.settings}
    source |= {"contradictions": contradictions, "notes": notes}
    training = in_units_of_loss(_training(by_step, notes), first.task.loss_units)
    run.write_manifest({"config": {**first.config, "seeds": [0], "training": None, "source": source}})
    for step, network in sorted(by_step.items()):
        run.write_checkpoint(step, {name: tensor[None] for name, tensor in network.parameters.items()})
    run.write_measurement("training", training, {"source": source["format"], "files": files})
    run.finish_stage("import", files=files, steps=sorted(by_step))
    return [*contradictions, *notes]


def _notes_of(networks: Sequence[Imported]) -> list[str]:
    """List the networks' notes, each once; those of only some networks with the name of the first."""
    having: dict[str, list[Imported]] = {}
    for network in networks:
        for note in network.notes:
            having.setdefault(note, []).append(network)
    return [
        note if len(some) == len(networks) else f"{some[0].path.name}{' and others' if some[1:] else ''}: {note}"
        for note, some in having.items()
    ]


def _training(by_step: Mapping[int, Imported], notes: list[str]) -> xr.Dataset:
    values = {step: network.evaluate() for step, network in by_step.items()}
    recorded = [network.curves for network in by_step.values() if network.curves]
    if recorded:
        lengths = [max(len(curve.steps) for curve in curves.values()) for curves in recorded]
        longest = max(lengths)
        curves = recorded[lengths.index(longest)]
        complete = pd.concat(
            {name: pd.Series(curve.values, curve.steps) for name, curve in curves.items()}, axis=1, join="inner"
        )
        for step, losses in complete.to_dict("index").items():
            values[int(step)] = {**values.get(int(step), {}), **losses}
        if len(complete) < longest:
            notes.append(f"Of {longest} recorded steps, only the {len(complete)} with all losses are kept.")
    table = pd.DataFrame.from_dict(values, orient="index").sort_index().reindex(columns=list(Training.variables))
    variables = {
        name: (("step", "seed"), table[name].to_numpy()[:, None], variable.attrs)
        for name, variable in Training.variables.items()
    }
    return xr.Dataset(variables, coords={"step": table.index.to_numpy(), "seed": [0]})
