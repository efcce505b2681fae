"""The top of the page: one sentence and the key numbers, from `summary.json`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from slt_grok import user_code
from slt_grok.config import RunConfig
from slt_grok.format import MISSING, known, listing, percent, plural, plus_minus, step, step_interval
from slt_grok.llc.diagnostics import EXCLUDED, LLCStatus
from slt_grok.llc.tables import doubt_about, low_by
from slt_grok.measurement import Table
from slt_grok.store import RunDirectory
from slt_grok.transitions.summary import llc_dropped, trusts_none

ENDS = {"peak": "peak", "final": "end"}
Summary = Mapping[str, Any]


def read(path: Path) -> Summary:
    """Read the summary of a run directory; empty if there is none."""
    name = "summary.json"
    return RunDirectory(path).read_result(name) if (path / name).is_file() else {}


def by_seed(summary: Summary) -> dict[str, Summary]:
    """Get the summary of each seed; for a run of a single seed, under an empty name."""
    return dict(summary.get("seeds") or ({"": summary} if summary else {}))


def headline(summary: Summary) -> str:
    """Summarize the run in one sentence, which names LLC estimates that are omitted, and an untrusted peak or end."""
    if trusts_none(summary):
        doubts = [f"no LLC of this run is trusted ({statuses(summary)})"]
    else:
        doubts = [untrusted_end(summary, name) for name in ENDS]
    remarks = [omitted_estimates(summary), *doubts]
    return "; ".join([_outcome(summary).removesuffix("."), *filter(None, remarks)]) + "."


def omitted_estimates(summary: Summary) -> str:
    """Count the estimates that no number or event uses, such as `3 of 28 LLC estimates melted and are omitted`."""
    statuses = summary.get("llc_statuses") or {}
    counts = {status: statuses[status] for status in EXCLUDED if status in statuses}
    return ", ".join(
        f"{count} of {sum(statuses.values())} LLC estimates {status} and {'is' if count == 1 else 'are'} omitted"
        for status, count in counts.items()
    )


def untrusted_end(summary: Summary, name: str) -> str:
    """State why the `peak` or `final` LLC is untrusted, or for how many seeds it is; empty if it is trusted."""
    seeds = list(by_seed(summary).values())
    untrusted = [each for each in seeds if doubt_at(each, name)]
    if not untrusted:
        return ""
    if len(seeds) > 1:
        return f"the {name} LLC is untrusted in {len(untrusted)} of {len(seeds)} networks"
    status, descent = (untrusted[0].get(f"llc_{name}_{what}") for what in ("status", "descent"))
    if status != LLCStatus.NOT_A_MINIMUM:
        return f"the {name} LLC is {status}"
    size = f" (its LLC is low by {low_by(descent)})" if known(descent) else ""
    return f"the network at {'the end' if name == 'final' else 'the peak of the LLC'} is not a minimum{size}"


def doubt_at(summary: Summary, name: str) -> str:
    """State the status of the LLC's `peak` or `final` value if it is untrusted; empty otherwise."""
    return doubt_about(summary.get(f"llc_{name}_status"), summary.get(f"llc_{name}_descent"))


def bias_of_peak(summary: Summary) -> str:
    """State in which directions the peak of the LLC is biased."""
    text = "A peak is the largest of several noisy estimates, which biases both the peak and the drop high"
    low = [s for s in by_seed(summary).values() if s.get("llc_peak_status") == LLCStatus.NOT_A_MINIMUM]
    falls = [fall for s in low if known(fall := s.get("llc_peak_descent"))]
    if not low:
        return f"{text}."
    where = "here" if len(by_seed(summary)) == 1 else f"of {plural(len(low), 'seed')}"
    size = f", by {' or '.join(map(low_by, falls))} (one to two times what a short descent gains)" if falls else ""
    return f"{text}; but the network at the peak {where} is not a minimum, which makes the LLC there low{size}."


def caveats(summary: Summary, llc: xr.Dataset | None) -> list[str]:
    """State what limits every LLC of the run; empty without an LLC."""
    if llc is None or "llc" not in llc:
        return []
    effective = (
        "This loss has no finite minimizer on a network that fits its train set, so every LLC here is effective at its "
        "nβ and γ"
        if llc.attrs.get("finite_minimizer") == 0
        else "Every LLC here belongs to its nβ and γ"
    )
    return [
        f"{effective}: compare only across checkpoints at the same setting.",
        *(
            ["Where chains have melted (their mean loss is not well below that of guessing), the value reflects nβ, "
            "not the network."] if "melting_loss" in llc.attrs else []
        ),
        "At fixed γ, part of a drop of the LLC may be due to a change in weight scale; `slt-grok measure RUN --only "
        "confound` separates the two.",
        bias_of_peak(summary),
    ]  # fmt: skip


def _outcome(summary: Summary) -> str:
    seeds = list(by_seed(summary).values())
    drops = [dropped for s in seeds if (dropped := llc_dropped(s)) is not None]
    if not any(known(s.get("train_accuracy_final")) for s in seeds):
        recorded = any(known(s.get("train_loss_final")) for s in seeds)
        what = "There are no accuracies" if recorded else "The training of these networks was not recorded"
        text = f"{what}, so memorization and generalization cannot be assessed"
        if len(seeds) == 1 and drops:
            return f"{text}; the LLC dropped." if drops[0] else f"{text}; no drop of the LLC was seen."
        return f"{text}."
    memorized = sum(known(s.get("memorization_step")) for s in seeds)
    generalized = sum(known(s.get("generalization_step")) for s in seeds)
    if len(seeds) > 1:
        text = f"Of {len(seeds)} networks, {memorized} memorized the train set and {generalized} generalized"
        return text + (f"; the LLC dropped in {sum(drops)} of {len(drops)} where it was measured." if drops else ".")
    if not memorized and not generalized:
        return "The network neither memorized its train set nor generalized."
    text = "The network generalized" if generalized else "The network memorized its train set and did not generalize"
    if not drops:
        measured = summary.get("llc_statuses") or known(summary.get("llc_peak"))
        return f"{text}." if measured else f"{text}; its LLC was not measured."
    if generalized:
        return text + (", and its LLC dropped." if drops[0] else ", and no drop of its LLC was seen.")
    return text + (", yet its LLC dropped." if drops[0] else ", and its LLC shows no drop.")


def key_numbers(summary: Summary) -> dict[str, str]:
    """Collect the most important numbers of one seed."""
    keys = summary.get("key_frequencies")
    peak, final, drop = (
        plus_minus(summary.get(f"llc_{key}"), summary.get(f"llc_{key}_se")) for key in ("peak", "final", "drop")
    )
    peak_step, final_step = summary.get("llc_peak_step"), summary.get("llc_final_step")
    halves = (summary.get(f"llc_half_way_{part}") for part in ("step", "low", "high"))
    doubts = {name: doubt_at(summary, name) for name in ENDS}
    train, test = (known(summary.get(f"{split}_accuracy_final")) for split in ("train", "test"))
    of_ends = "; ".join(f"{ENDS[name]}: {doubt}" for name, doubt in doubts.items() if doubt)
    return {
        "Memorized by step": step(summary.get("memorization_step")) if train else MISSING,
        "Generalized by step": step(summary.get("generalization_step")) if test else MISSING,
        "Final test accuracy": percent(summary.get("test_accuracy_final")),
        "Peak LLC*": _remarked(peak, doubts["peak"]) + (f" at step {step(peak_step)}" if known(peak_step) else ""),
        "Final LLC*": _remarked(final, doubts["final"]) + (f" at step {step(final_step)}" if known(final_step) else ""),
        "LLC drop*": _remarked(drop, of_ends),
        "LLC half way by step": step_interval(*halves) if known(final_step) else MISSING,
        "Key frequencies": MISSING if keys is None else listing(keys) if keys else "none",
    }


def _remarked(text: str, remark: str) -> str:
    return f"{text} ({remark})" if remark else text


def seed_table(caption: str, first: str, seeds: Mapping[str, Summary]) -> Table | None:
    """Tabulate the key numbers of each seed, named in the column `first`; None without a seed."""
    rows = {name: key_numbers(summary) for name, summary in seeds.items()}
    if not rows:
        return None
    header = [first, *next(iter(rows.values()))]
    return Table(caption, header, [[name, *row.values()] for name, row in rows.items()])


def statuses(summary: Summary) -> str:
    """Format the number of LLC estimates with each status, such as `19 effective, 1 not a minimum`."""
    counts = summary.get("llc_statuses") or {}
    return ", ".join(f"{count} {status}" for status, count in counts.items()) or MISSING


def llc_setting(llc: xr.Dataset | None) -> str:
    """State the setting that values of the LLC refer to, as far as the dataset does; empty if it does not."""
    attrs = llc.attrs if llc is not None else {}
    signs = {"n_beta": "nβ", "gamma": "γ"}
    setting = ", ".join(f"{sign} = {attrs[key]:g}" for key, sign in signs.items() if key in attrs)
    return f"Effective LLC ± standard error at {setting}; comparable at the same setting only." if setting else ""


def subtitle(config: RunConfig) -> str:
    """Describe task, network, length of training and seeds in one line."""
    task = [
        user_code.short(value) if isinstance(value, str) else f"{key.replace('_', ' ')} {value}"
        for key, value in config.content["task"].items()
        if isinstance(value, str | int | float) and key not in ("kind", "split_seed")
    ]
    model = config.content["model"].get("build", config.model.kind.name)
    words = [", ".join([f"{config.task.name} task", *task]), user_code.short(model)]
    if config.training is not None:
        words.append(f"{config.training.steps:,} steps")
    words.append(f"{'seed' if len(config.seeds) == 1 else 'seeds'} {', '.join(map(str, config.seeds))}")
    return "; ".join(words)
