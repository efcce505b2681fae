"""Which training pairs influence each other, and which frequencies serve which pairs, while a network groks.

Usage: python analyses/influence.py runs/quickstart [STEP ...]

At a few checkpoints the posterior at beta = 1 (n_beta = n) is sampled, by steps that the calibration rule chooses:
Bayesian influence functions between training pairs and WAIC come from draws of all weights, susceptibilities from draws
in the planes of single frequencies, where gamma is smaller: at 100 a generalized network does not feel them at all.
Writes results/influence_NAME.json and its figure.
"""

import sys
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from figures.influence import influence_figure
from fluctuation import fluctuation
from loss_moments import LossMoments
from pair_relations import influence_by_relation
from runs_below import RESULTS, config_of, picture
from susceptibilities import susceptibilities

import slt_grok
from slt_grok.llc import estimate, restrictions
from slt_grok.memory import keep_freed_memory
from slt_grok.progress import progress
from slt_grok.store import RunDirectory
from slt_grok.store.files import write_json
from slt_grok.studies.provenance import environment

GAMMA, PLANE_GAMMA = 100.0, 10.0
LENGTH = {"chains": 4, "draws": 480, "burn_in": 240, "batch_size": 256}
EVERY = 4
STEPS = (260, 650, 910, 1300, 2600)


def measure(run: Path, steps: list[int]) -> tuple[xr.Dataset, xr.Dataset, xr.Dataset]:
    """Influence by relation; WAIC; susceptibilities of key frequencies and of as many others (of one seed)."""
    networks = slt_grok.trajectory(run)
    networks = networks.isel(step=[int(np.argmin(np.abs(networks.coords["step"] - s))) for s in steps], seed=[0])
    task = networks.task
    every_pair, answers = task.data("all")
    n = len(task.indices("train"))
    settings = {"n_beta": float(n), **LENGTH}
    keys = slt_grok.load(run)["circuits"].key_frequency.isel(step=-1, seed=0)
    key = keys.frequency.values[keys.values.astype(bool)].tolist()
    others = [k for k in keys.frequency.values.tolist() if k not in key]
    frequencies = key + sorted(np.random.default_rng(0).permutation(others)[: len(key)].tolist())
    planes = {str(k): restrictions.frequencies(networks.network, [k]) for k in frequencies}
    by_relation, waic, chi = [], [], []
    with progress("influence", len(networks), "networks") as on_progress:
        for i in range(len(networks)):
            one = networks.isel(step=[i])
            couples = LossMoments(one.network, *task.data("train"), every=EVERY, covariance=True)
            pairs = LossMoments(one.network, every_pair, answers, trained=task.indices("train"), every=EVERY)
            result = estimate(one, observers=[couples, pairs], gamma=GAMMA, **settings)
            by_relation.append(influence_by_relation(result, couples))
            waic.append(fluctuation(result, pairs).merge(result[["llc", "llc_se", "llc_status", "rhat"]]))
            found = susceptibilities(one, planes, every=EVERY, gamma=PLANE_GAMMA, **settings)
            chi.append(found.assign_coords(key=("component", [k in key for k in frequencies])))
            on_progress((i + 1) / len(networks))
    return _joined(by_relation), _joined(waic), _joined(chi)


def _joined(parts: list[xr.Dataset]) -> xr.Dataset:
    joined = xr.concat(parts, "step", data_vars="minimal")
    assert isinstance(joined, xr.Dataset)
    return joined.isel(seed=0)


def main(run: Path, steps: list[int]) -> None:
    """Measure, draw, write."""
    torch.set_num_threads(1)
    keep_freed_memory()
    by_relation, waic, chi = measure(run, steps)
    name = config_of(RunDirectory(run))["name"]
    unseen = chi.isel(sample=~chi.trained.values).mean("sample")
    print(picture(influence_figure(by_relation, waic, chi), RESULTS, f"influence_{name}"))
    content = {
        "command": f"python analyses/influence.py {run} {' '.join(map(str, steps))}",
        "settings": {"n_beta": chi.attrs["n_beta"], "gamma": GAMMA, "gamma_of_planes": PLANE_GAMMA, **LENGTH},
        "by_relation": by_relation.to_dict(),
        "fluctuation": waic.to_dict(),
        "mean_over_test_pairs": unseen[["susceptibility", "susceptibility_covariance", "loss_slope"]].to_dict(),
        "frequencies": chi[["llc", "llc_se", "llc_status", "whole_status"]].to_dict(),
        "environment": environment(),
    }
    write_json(RESULTS / f"influence_{name}.json", content)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(step) for step in sys.argv[2:]] or list(STEPS))
