"""What changes first, and what moves with the LLC beyond the course of training, over the seeds of a study.

Usage: python analyses/order_of_events.py [--arm ARM] [--out FOLDER] STUDY
STUDY is a study's directory, ARM one of its arms (main). Writes order_of_events.json (events of every seed, lag of
every measure behind unmirrored test accuracy, the LLC and the weight norm, association with the LLC given loss and
weight norm, and the LLC predicted in held-out seeds) and a figure of the lags. Unmirrored: on test pairs (a, b) with
(b, a) not in the train set, since the others are answered by symmetry, in a first step of test accuracy.

Lags are of middles (and, in the JSON, of onsets and ends), by the fitted shape and, as a check that assumes none, by
crossing rules. All measures are on one scale, linear; the same events and lags on a logarithmic scale, for the measures
that are positive, are also given. Association and prediction take the seeds that generalized: the others have no
circuit.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr
from rich.console import Console
from rich.table import Table
from runs_below import RESULTS, llc_settings, picture, plain

from slt_grok import load_study, plots, transitions
from slt_grok.errors import SltGrokError
from slt_grok.rules import OTHER_SCALE, SCALE
from slt_grok.store.files import write_json
from slt_grok.studies.provenance import environment
from slt_grok.transitions.measures import measure_name

REFERENCES = ("unmirrored_test_accuracy", "llc", "weight_norm")
ESTIMATORS = ("sigmoid", "crossing")
NUMBERS = ("lag", "lag_low", "lag_high", "p_value_holm", "seeds", "verdict")


def event_rows(events: xr.Dataset) -> dict[str, Any]:
    """Of each measure: how many seeds have the event, and the median, smallest and largest step of half way."""
    rows = {}
    for measure in events.measure.values.tolist():
        steps = events.transition_middle.sel(estimator=ESTIMATORS[0], measure=measure).dropna("seed")
        row: dict[str, Any] = {"seeds": steps.size, "of": events.sizes["seed"]}
        if steps.size:
            row |= {"median": float(steps.median()), "first": float(steps.min()), "last": float(steps.max())}
        rows[measure] = row
    return rows


def lag_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the lags as plain data: reference, event, measure and numbers, and which seeds were omitted and why."""
    return table.filter(["reference", "event", "measure", *NUMBERS, "left_out"]).to_dict("records")


def say(lags: pd.DataFrame, others: pd.DataFrame, console: Console) -> None:
    """Print the lags of middles, a table for each reference, followed by those on the other scale."""
    both = lags.merge(others, on=["reference", "event", "measure"], suffixes=("", "_other"))
    for reference, rows in both.loc[both.event == "middle"].groupby("reference", sort=False):
        header = ("lag in log step", "95%", "Holm's p", "seeds", "order")
        title = f"half way, behind {measure_name(str(reference))}; {SCALE} scale, then {OTHER_SCALE}"
        table = Table("measure", *header, *header, title=title)
        for _, row in rows.sort_values("lag").iterrows():
            cells = [
                (
                    f"{row[f'lag{other}']:+.2f}",
                    f"{row[f'lag_low{other}']:+.2f} to {row[f'lag_high{other}']:+.2f}",
                    f"{row[f'p_value_holm{other}']:.3f}",
                    str(row[f"seeds{other}"]),
                    row[f"verdict{other}"],
                )
                for other in ("", "_other")
            ]
            table.add_row(measure_name(row.measure), *cells[0], *cells[1])
        console.print(table)


def main(path: Path, arm: str, out: Path) -> None:
    """Read, measure, draw, write."""
    study = load_study(path)
    console = Console(width=150, highlight=False)
    rows = study.rows(arm=arm)
    done = rows.loc[rows.status == "available"]
    data: dict[str, Any] = {
        label: study.dataset(label, arm=arm) for label in ("training", "llc", "circuits", "landscape")
    }
    generalized = sorted(done.loc[done.outcome == "generalized", "seed"].tolist())

    events = {scale: transitions.by_estimator(data, scale=scale) for scale in (SCALE, OTHER_SCALE)}
    references = [name for name in REFERENCES if name in events[SCALE].measure]
    lags = {
        scale: {estimator: transitions.lead_lag(found, references, estimator) for estimator in ESTIMATORS}
        for scale, found in events.items()
    }
    tables = {
        scale: {estimator: transitions.lag_table(found) for estimator, found in by.items()}
        for scale, by in lags.items()
    }
    say(tables[SCALE][ESTIMATORS[0]], tables[OTHER_SCALE][ESTIMATORS[0]], console)

    with_circuit: dict[str, Any] = {label: one.sel(seed=generalized) for label, one in data.items()}
    association = transitions.associate(with_circuit)
    prediction = transitions.predict_llc(with_circuit)
    console.print(association[["mean_correlation", "verdict"]].to_dataframe())
    console.print(prediction[["mean_error", "mean_drop_left"]].to_dataframe())

    out.mkdir(parents=True, exist_ok=True)
    picture(plots.lead_lag(lags[SCALE][ESTIMATORS[0]]), out, "order_of_events")
    content = {
        "command": f"python analyses/order_of_events.py --arm {arm} runs/{path.name}",
        "llc_settings": llc_settings([path]),
        "seeds": {outcome: sorted(one.seed.tolist()) for outcome, one in done.groupby("outcome")},
        "not_done": rows.loc[rows.status != "available", ["run", "seed", "status"]].to_dict("records"),
        "scale": SCALE,
        "events": event_rows(events[SCALE]),
        "lags": {estimator: lag_rows(table) for estimator, table in tables[SCALE].items()},
        OTHER_SCALE: {
            "events": event_rows(events[OTHER_SCALE]),
            "lags": {estimator: lag_rows(table) for estimator, table in tables[OTHER_SCALE].items()},
        },
        "association": association.drop_dims("seed").drop_dims("null").to_dataframe().reset_index().to_dict("records"),
        "prediction": prediction.drop_dims(["seed", "step"]).to_dataframe().reset_index().to_dict("records"),
        "environment": environment(),
    }
    write_json(out / "order_of_events.json", plain(content))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("study", type=Path, metavar="STUDY")
    parser.add_argument("--arm", default="main")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FOLDER")
    arguments = parser.parse_args()
    try:
        main(arguments.study, arguments.arm, arguments.out)
    except SltGrokError as error:
        sys.exit(str(error))
