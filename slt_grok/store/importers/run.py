"""Write imported networks as a run directory."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import xarray as xr

from slt_grok.errors import SltGrokError
from slt_grok.store.importers.imported import Imported
from slt_grok.store.run_directory import RunDirectory
from slt_grok.training.result import Training


def write_run(networks: Sequence[Imported], out: Path) -> list[str]:
    """Write files of one network, one per step, as a run directory with one seed.

    The manifest's config has `training` None and a `source`: format, files, training settings and notes. The training
    curves are the files' own at steps where they hold all of them; values that they lack at imported checkpoints are
    computed; accuracies elsewhere are NaN.

    Returns
    -------
    list of str
        The notes.

    Raises
    ------
    SltGrokError
        `out` is already a run directory, the files are not of one network, or two have the same step.
    """
    run = RunDirectory(out)
    if run.exists:
        raise SltGrokError(f"{out}: expected a new folder, but it already holds a run")
    first = next((n for n in networks if n.task_known), networks[0])
    notes = []
    for network in networks:
        if network.config["model"] != first.config["model"] or (
            network.task_known and network.config["task"] != first.config["task"]
        ):
            raise SltGrokError(f"{network.path}: expected the model and task of {first.path}: files of one network")
        prefix = f"{network.path.name}: " if len(networks) > 1 else ""
        notes += [prefix + note for note in network.notes]
    by_step: dict[int, Imported] = {}
    for network in networks:
        step = 0 if network.step is None and len(networks) == 1 else network.step
        if step is None:
            raise SltGrokError(f"{network.path}: expected its step in the file or as a number in its name")
        if step in by_step:
            raise SltGrokError(f"{network.path}: expected one file per step, {by_step[step].path} is also step {step}")
        by_step[step] = network
    if first.step is None and len(networks) == 1:
        notes.append("Neither the file nor its name states the training step: it is stored as step 0.")
    for step, network in sorted(by_step.items()):
        run.write_checkpoint(step, {name: tensor[None] for name, tensor in network.parameters.items()})
    files = [str(by_step[step].path) for step in sorted(by_step)]
    source = {"format": first.format, "files": files, "settings": first.settings, "notes": notes}
    run.write_measurement("training", _training(by_step, first, notes), {"source": source["format"], "files": files})
    config = {**first.config, "seeds": [0], "training": None, "source": source}
    run.write_manifest({"config": config, "stages": {"import": {"files": files, "steps": sorted(by_step)}}})
    return notes


def _training(by_step: Mapping[int, Imported], first: Imported, notes: list[str]) -> xr.Dataset:
    values = {step: replace(network, config=first.config).evaluate() for step, network in by_step.items()}
    recorded = [network.curves for network in by_step.values() if network.curves]
    if recorded:
        curves = max(recorded, key=lambda curves: max(len(steps) for steps, _ in curves.values()))
        longest = max(len(steps) for steps, _ in curves.values())
        complete = pd.concat(
            {name: pd.Series(losses, steps) for name, (steps, losses) in curves.items()}, axis=1, join="inner"
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
