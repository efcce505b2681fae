"""Whether the same function has another geometry by another mechanism: a lookup table and a Fourier circuit.

Question: P3 (the mechanism shows in the local geometry) and P4 (dead neurons leave the LLC unchanged), where nothing
but the mechanism differs: planted networks of one architecture and width whose logits are the same to 1e-6.
Makes: five functions on Z_11, each a pizza of two frequencies (drawn, as are the amplitudes), as a table with a neuron
for each of the 121 pairs and as 28 neurons, bare, with dead neurons that are off or of zero weights up to 121, and
spread over 112 neurons; the table also with as many dead neurons more. Embeddings have 11 dimensions; scales of neurons
and embedding are those of least norm.
Measures: the LLC at one (n_beta, gamma) on cross-entropy, the same with gamma = D / (0.7 |w|)^2 (|w| without dead
neurons, D weights of the common width), and the LLC on the squared distance to the logits, where rank / 2 of the
Jacobian is a lower bound and for the table the value; its Hessian's spectrum; trace of Hessian and Gauss-Newton matrix
on cross-entropy; log-volume of {excess loss < epsilon} in a ball of one radius; fewest bits a weight that keep all
answers.
Rule, paired over the functions: P3 |mean log (table / circuit with dead neurons off)| above log 1.2 for the LLC at the
one (n_beta, gamma) and for the Gauss-Newton trace at unit logit scale times |w|^2, as in claims/p3; P4 |mean log
(padded / bare)| below log 1.05 for table and circuit, off and zero, as in claims/p4. Simultaneous 95% intervals of
claims/rule. Under the scaled gamma draws of the table reach neurons that are off.
Writes analyses/results/same_function_two_mechanisms.json and a figure; some fifteen minutes on one core.

Usage: python analyses/same_function_two_mechanisms.py [--out FOLDER]
"""

import argparse
import sys
import time
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from runs_below import RESULTS, picture, plain
from two_mechanisms import circuit, padded, table

from slt_grok.interventions.weights import evaluate
from slt_grok.landscape.curvature import measure_curvature
from slt_grok.landscape.volume import basin_volume
from slt_grok.llc import estimate, exact
from slt_grok.operators.jacobian import jacobian_rank
from slt_grok.plots.palette import BLUE, VERMILION
from slt_grok.plots.style import WIDTH, panel_letters, styled
from slt_grok.program.compression import critical_bits
from slt_grok.store.files import write_json
from slt_grok.studies.provenance import environment
from slt_grok.trajectories import Trajectory

sys.path.insert(0, str(Path(__file__).parent / "claims"))  # as Python has it when one of its scripts runs
rule = import_module("rule")

MODULUS, DIRECTIONS, COPIES, FUNCTIONS, SEED = 11, 7, 4, 5, 0
TABLE, CIRCUIT = "table", "circuit"
MECHANISMS = {  # name -> the one it is padded from
    TABLE: TABLE,
    f"{TABLE}, off": TABLE,
    f"{TABLE}, zero": TABLE,
    CIRCUIT: CIRCUIT,
    f"{CIRCUIT}, off": CIRCUIT,
    f"{CIRCUIT}, zero": CIRCUIT,
    f"{CIRCUIT}, copies": CIRCUIT,
}
OF_ONE_WIDTH = [TABLE, f"{CIRCUIT}, off", f"{CIRCUIT}, zero", f"{CIRCUIT}, copies"]
N_BETA, GAMMA, UPDATES, UPDATES_SCALED = 30.0, 100.0, 2000, 1000
N_BETA_SQUARED, GAMMA_SQUARED, UPDATES_SQUARED = 1e4, 50.0, 2000
RADIUS, EPSILONS, ROUNDS = 15.0, (0.01, 0.1, 1.0), 64  # of the ball, of the basins, directions
SETTINGS = {
    "modulus": MODULUS, "directions": DIRECTIONS, "copies": COPIES, "n_beta": N_BETA, "gamma": GAMMA,
    "updates": UPDATES, "updates_scaled": UPDATES_SCALED, "n_beta_squared": N_BETA_SQUARED,
    "gamma_squared": GAMMA_SQUARED, "updates_squared": UPDATES_SQUARED, "radius": RADIUS, "epsilons": EPSILONS,
    "volume_directions": ROUNDS,
}  # fmt: skip
DIFFER, SAME = np.log(1.2), np.log(1.05)


def functions() -> list[dict[int, float]]:
    """Frequency -> amplitude of each function."""
    generator = np.random.default_rng(np.random.SeedSequence(SEED))
    half = (MODULUS - 1) // 2
    return [
        {int(k): float(generator.uniform(8, 16)) for k in generator.permutation(half)[:2] + 1} for _ in range(FUNCTIONS)
    ]


def logits(one: Trajectory) -> torch.Tensor:
    """Of all pairs, (p^2, p)."""
    return one.network.outputs(one.parameters, one.task.inputs)


def mechanisms(amplitudes: dict[int, float]) -> dict[str, Trajectory]:
    """All networks of one function."""
    few = circuit(MODULUS, amplitudes, DIRECTIONS)
    bare = padded(few, few.parameters["b_in"].numel(), d_embed=MODULUS)  # so that padding adds neurons alone
    lookup = table(logits(bare).reshape(MODULUS, MODULUS, MODULUS))
    width = MODULUS**2
    more = 2 * width - bare.parameters["b_in"].numel()
    return {
        TABLE: lookup,
        f"{TABLE}, off": padded(lookup, more, "off"),
        f"{TABLE}, zero": padded(lookup, more, "zero"),
        CIRCUIT: bare,
        f"{CIRCUIT}, off": padded(bare, width, "off"),
        f"{CIRCUIT}, zero": padded(bare, width, "zero"),
        f"{CIRCUIT}, copies": padded(circuit(MODULUS, amplitudes, DIRECTIONS, COPIES), width, "off", MODULUS),
    }


def squared_distance(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return |outputs - targets|^2 / 2 of each sample."""
    return (outputs - targets).square().sum(-1) / 2


def squared_spectrum(one: Trajectory) -> tuple[int, np.ndarray]:
    """Rank of the Jacobian, and the Hessian's eigenvalues that are not 0, on the squared distance (loss 0)."""
    module = one.network.module
    module.load_state_dict(one.parameters)
    found = jacobian_rank(module, one.task.inputs)
    return found.rank, found.singular_values[: found.rank] ** 2 / len(one.task.inputs)


def measured(name: str, one: Trajectory, wanted: torch.Tensor, living: float, weights: int) -> dict[str, Any]:
    """One network's row; `living` is |w| without dead neurons, `weights` the number of those of the common width."""
    about = evaluate(one)
    row: dict[str, Any] = {
        "largest_difference": float((logits(one) - wanted).abs().max()),
        "worst_margin": about["worst_margin"],
        "loss": about["loss"][0],
        "weights": about["parameters"],
        "weight_norm": living,
        "critical_bits": critical_bits(one)["answers"],
    }
    row["bits"] = row["critical_bits"] * sum(int((t != 0).sum()) for t in one.parameters.values())
    common: dict[str, Any] = {"chains": 4, "seed": SEED}
    scaled = weights / (0.7 * living) ** 2
    estimates = {
        "llc": estimate(one, n_beta=N_BETA, gamma=GAMMA, updates=UPDATES, **common),
        "llc_scaled": estimate(one, n_beta=N_BETA, gamma=scaled, updates=UPDATES_SCALED, **common),
        "llc_squared": estimate(
            one, (one.task.inputs, wanted), loss=squared_distance, n_beta=N_BETA_SQUARED, gamma=GAMMA_SQUARED,
            updates=UPDATES_SQUARED, **common,
        ),
    }  # fmt: skip
    for key, found in estimates.items():
        row |= {key: float(found.llc), f"{key}_se": float(found.llc_se), f"{key}_status": str(found.llc_status.values)}
    row["gamma_scaled"] = scaled
    if name == MECHANISMS[name]:  # dead neurons have no derivative
        row["rank"], spectrum = squared_spectrum(one)
        row["llc_squared_by_hessian"] = exact.quadratic(spectrum, N_BETA_SQUARED, GAMMA_SQUARED)
        row["spectrum"] = spectrum.tolist()
    curvature = measure_curvature(one, matrices=("hessian", "gauss_newton"), seed=SEED).squeeze()
    for matrix in ("hessian", "gauss_newton"):
        for scale in ("own", "unit"):
            at = curvature.sel(matrix=matrix, logit_scale=scale)
            row[f"{matrix}_trace_{scale}"] = float(at.curvature_trace)
            row[f"{matrix}_trace_{scale}_se"] = float(at.curvature_trace_se)
            row[f"{matrix}_largest_{scale}"] = float(at.curvature_eigenvalue[0])
    if name in OF_ONE_WIDTH:
        volume = basin_volume(one, EPSILONS, directions=ROUNDS, radius=RADIUS, seed=SEED)
        share = volume.radial_log_volume_bound - volume.log_ball_volume
        row["log_volume_share"] = share.values.tolist()
        row["log_volume_share_se"] = volume.radial_log_volume_bound_se.values.tolist()
        row["effective_directions"] = volume.effective_directions.values.tolist()
    return row


def log_ratio(rows: pd.DataFrame, column: str, over: str, under: str) -> np.ndarray:
    """Return the log of a quantity of one mechanism over another's, function by function."""
    by = rows.set_index("mechanism")
    return np.log(by.loc[over, column].to_numpy(dtype=float) / by.loc[under, column].to_numpy(dtype=float))


def decide(rows: pd.DataFrame) -> dict[str, Any]:
    """P3 and P4 by the rule of this file's docstring, and the ratios of everything else."""
    rows = rows.assign(curvature=rows.gauss_newton_trace_unit * rows.weight_norm**2)
    reference = f"{CIRCUIT}, off"

    def effect(column: str, over: str, under: str, conditions: int) -> Any:
        return rule.over_seeds(rule.mean, log_ratio(rows, column, over, under), conditions=conditions)

    p3 = [
        rule.Condition(f"|log {text}, table over circuit|", rule.magnitude(found), "above", float(DIFFER))
        for text, found in {
            "LLC": effect("llc", TABLE, reference, 2),
            "trace": effect("curvature", TABLE, reference, 2),
        }.items()
    ]
    p4 = [
        rule.Condition(
            f"|log LLC, {name} over {MECHANISMS[name]}|",
            rule.magnitude(effect("llc", name, MECHANISMS[name], 4)),
            "below",
            float(SAME),
        )
        for name in MECHANISMS
        if name.endswith(("off", "zero"))
    ]
    columns = dict.fromkeys(["llc", "llc_scaled", "llc_squared", "curvature", "hessian_trace_own"], reference)
    columns |= dict.fromkeys(["critical_bits", "bits", "weight_norm"], CIRCUIT)  # dead neurons have biases too
    others = {column: vars(effect(column, TABLE, under, 1)) for column, under in columns.items()}
    return {
        "P3": {"verdict": rule.Finding(p3, rows).verdict, "reasons": [one.reason for one in p3]},
        "P4": {"verdict": rule.Finding(p4, rows).verdict, "reasons": [one.reason for one in p4]},
        "log_table_over_circuit": others,
        "log_squared_padded_over_bare": {
            name: vars(effect("llc_squared", name, of, 1)) for name, of in MECHANISMS.items() if name != of
        },
    }


@styled
def draw(rows: pd.DataFrame) -> Figure:
    """LLC on cross-entropy, LLC on the squared distance, spectra, volumes."""
    figure = Figure(figsize=(WIDTH, 5.2), layout="constrained")
    panels = figure.subplots(2, 2).ravel()
    _draw_llc(panels[0], rows, {"llc": ("o", f"γ = {GAMMA:g}"), "llc_scaled": ("^", "γ = D / (0.7 |w|)²")})
    panels[0].set(title=f"Cross-entropy, nβ = {N_BETA:g}", ylabel="LLC", yscale="log")
    _draw_llc(panels[1], rows, {"llc_squared": ("o", f"nβ = {N_BETA_SQUARED:g}, γ = {GAMMA_SQUARED:g}")})
    ranks = [rows[rows.mechanism == of]["rank"].mean() / 2 for of in MECHANISMS.values()]
    panels[1].plot(range(len(MECHANISMS)), ranks, "_", color="0.2", ms=14, label="rank of the Jacobian / 2")
    panels[1].set(title="Squared distance to the logits", ylabel="LLC", ylim=(0, None))
    for axes in panels[:2]:
        axes.legend()
    _draw_spectra(panels[2], rows)
    _draw_volumes(panels[3], rows)
    panel_letters(panels, (-34, 9))
    return figure


def _draw_llc(axes: Axes, rows: pd.DataFrame, columns: dict[str, tuple[str, str]]) -> None:
    for shift, (column, (marker, label)) in zip((-0.12, 0.12), columns.items(), strict=False):
        for place, name in enumerate(MECHANISMS):
            mine = rows[rows.mechanism == name]
            x = place + shift + np.linspace(-0.1, 0.1, len(mine))
            color = VERMILION if MECHANISMS[name] == TABLE else BLUE
            axes.errorbar(x, mine[column], 1.96 * mine[f"{column}_se"], fmt=marker, ms=3, lw=0.8, color=color)
        axes.plot([], [], marker, ms=3, color="0.3", label=label)
    axes.set_xticks(range(len(MECHANISMS)), [name.replace(", ", "\n") for name in MECHANISMS])


def _draw_spectra(axes: Axes, rows: pd.DataFrame) -> None:
    for name, color, style in ((TABLE, VERMILION, "-"), (CIRCUIT, BLUE, "--")):
        for first, (_, row) in enumerate(rows[rows.mechanism == name].iterrows()):
            values = np.array(row.spectrum)
            axes.plot(np.arange(1, len(values) + 1), values, style, color=color, lw=0.9, label=None if first else name)
    axes.set(xscale="log", yscale="log", xlabel="Number", ylabel="Eigenvalue", title="Hessian of the squared distance")
    axes.legend()


def _draw_volumes(axes: Axes, rows: pd.DataFrame) -> None:
    looks = {TABLE: (VERMILION, "-", "s"), f"{CIRCUIT}, off": (BLUE, "-", "o"), f"{CIRCUIT}, zero": (BLUE, "--", "v"),
             f"{CIRCUIT}, copies": (BLUE, ":", "D")}  # fmt: skip
    for name, (color, style, marker) in looks.items():
        shares = np.array(rows[rows.mechanism == name].log_volume_share.tolist())
        axes.plot(EPSILONS, shares.mean(0), style, marker=marker, ms=3.5, color=color, label=name)
        axes.fill_between(EPSILONS, shares.min(0), shares.max(0), color=color, alpha=0.15, lw=0)
    axes.set(xscale="log", xlabel="Excess loss ε (nats)", ylabel="Log share of the ball (nats)",
             title=f"Basin volume, bound, R = {RADIUS:g}")  # fmt: skip
    axes.legend()


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS)
    out = parser.parse_args().out
    torch.set_num_threads(1)
    start, console = time.monotonic(), Console(highlight=False, soft_wrap=True)
    rows: list[dict[str, Any]] = []
    for number, amplitudes in enumerate(functions()):
        networks = mechanisms(amplitudes)
        norms = {name: evaluate(networks[of])["weight_norm"] for name, of in MECHANISMS.items()}
        norms[f"{CIRCUIT}, copies"] = evaluate(circuit(MODULUS, amplitudes, DIRECTIONS, COPIES))["weight_norm"]
        weights = evaluate(networks[TABLE])["parameters"]
        one_row = partial(measured, wanted=logits(networks[CIRCUIT]), weights=weights)
        for name, one in networks.items():
            row = {"function": number, "amplitudes": amplitudes, "mechanism": name}
            rows.append(row | one_row(name, one, living=norms[name]))
            console.print(
                f"function {number}, {name}: LLC {rows[-1]['llc']:.3g} +- {rows[-1]['llc_se']:.1g}, scaled "
                f"{rows[-1]['llc_scaled']:.3g}, squared {rows[-1]['llc_squared']:.4g}, "
                f"{rows[-1]['critical_bits']} bits"
            )
    frame = pd.DataFrame(rows)
    verdicts = decide(frame)
    for name in ("P3", "P4"):
        console.print(name, verdicts[name]["verdict"], *verdicts[name]["reasons"], sep="\n  ")
    summary = {
        "command": "python analyses/same_function_two_mechanisms.py",
        "largest_difference_of_logits": frame.largest_difference.max(),
        "settings": SETTINGS,
        **verdicts,
        "wall_seconds": round(time.monotonic() - start, 1),
        "environment": environment(),
    }
    without = [{key: value for key, value in row.items() if key != "spectrum"} for row in rows]
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "same_function_two_mechanisms.json", plain({"summary": summary, "networks": without}))
    picture(draw(frame), out, "same_function_two_mechanisms")


if __name__ == "__main__":
    main()
