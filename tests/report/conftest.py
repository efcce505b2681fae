"""Two tiny runs: one seed with every measurement, and its baseline with the seeds that the order of events needs."""

from functools import partial
from typing import Any

import pytest

from slt_grok.config import parse_config
from slt_grok.report import page
from slt_grok.studies.calibrate import calibrate_run
from slt_grok.studies.run import Run, derive, run_measurements, train_run

EVIL = "<script>alert('x')</script>"
BASELINE: dict[str, Any] = {
    "name": "baseline",
    "seeds": [0, 1, 2, 3],
    "task": {"modulus": 7, "train_fraction": 0.8},
    "model": {"kind": "mlp", "d_embed": 8, "d_mlp": 24, "activation": "relu"},  # whose neurons can be rescaled
    "training": {
        "steps": 400, "learning_rate": 0.01, "weight_decay": 2.0, "evaluate_every": 20,
        "checkpoints": {"linear": 3, "logarithmic": 3},
    },
    "llc": {
        "sampler": {"name": "underdamped", "step_size": 0.01}, "n_beta": 20, "gamma": 50, "chains": 2, "draws": 8,
        "burn_in": 2,
    },
    "circuits": {"gradient_triples": 50},
    "circuit_null": None,
    "circuit_maps": None,
    "landscape": None,
    "seed_barriers": {"positions": 3, "rows": 32},
}  # fmt: skip
EVERYTHING: dict[str, Any] = BASELINE | {
    "name": "everything",
    "baseline": "baseline",
    "seeds": [0],
    "training": BASELINE["training"] | {"weight_decay_changes": [{"step": 300, "weight_decay": 1.0}]},
    "circuit_null": {},
    "circuit_maps": {},
    "confound": {"checkpoints": 2},
    "window": {"checkpoints": 2, "draws": 20, "burn_in": 20},
    "gauge": {"checkpoints": 2},
    "temperature": {"checkpoints": 2, "rungs": 12, "draws": 130, "burn_in": 130},
    "refined": {"checkpoints": 2},
    "interventions": {"checkpoints": 2, "controls": 2},
    "topology": {"checkpoints": 1, "landmarks": 20},
    "causal": {"checkpoints": 2, "draws": 2, "others": 2},
    "landscape": {"probe_checkpoints": 2, "eigenvalues": 1},
    "curvature": {"eigenvalues": 1},
    "connectivity": {"positions": 3, "rows": 32, "updates": 4},
    "seed_barriers": None,
    "shape": {"points": 5, "rows": 32},
    "random_planes": {},
    "program": {"checkpoints": 2},
}


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """Both runs, with their pages; text that a page must escape is in the summary and the manifest of the second."""
    folder = tmp_path_factory.mktemp("runs")
    for content in (BASELINE, EVERYTHING):
        run = train_run(parse_config(content, "a test"), folder / content["name"])
        run_measurements(run)
        derive(run)
        if content is BASELINE:
            run.directory.write_measurement("llc@again", run.data["llc"], {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("slt_grok.report.write", lambda run: run.path)  # it is written below
        patch.setattr("slt_grok.llc.choice.LENGTHS", {1: (0.0, 0.6)})  # do not measure again for longer
        calibrate_run(run)
    run.directory.write_result("summary.json", run.directory.read_result("summary.json") | {"flags": [EVIL]})
    run.directory.write_manifest(run.manifest | {"environment": {"device": EVIL}})
    complete, every = [Run(folder / "baseline"), Run(folder / "everything")], page.planned
    with pytest.MonkeyPatch.context() as patch:
        # the figures of further seeds show nothing new, and take most of the time
        patch.setattr(
            page, "planned", lambda *given: [figure for figure in every(*given) if not figure.name.endswith(("2", "3"))]
        )
        patch.setattr(page.plots, "save", partial(page.plots.save, kinds=("svg",)))  # tests/plots has the PNG
        for run in complete:
            page.write(run)
    return complete
