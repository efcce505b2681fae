"""Comparison of a run that has an intervention in training with the baseline run named in its configuration."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from slt_grok.errors import SltGrokError
from slt_grok.format import flat
from slt_grok.measurement import Table
from slt_grok.report import summary
from slt_grok.training.settings import TrainingSettings

if TYPE_CHECKING:
    from slt_grok.studies.run import Run

TITLE = "Comparison with the baseline run"
CAPTION = (
    "This run (solid) and {name} (dashed): test accuracy, LLC, excluded loss on the train set for the key frequencies "
    "of each run, and the norm of all weights. Dotted: changes in training. LLCs are only comparable at the same "
    "setting. With label noise, train loss and LLC use the training labels, the circuit's losses the "
    "correct answers."
)
NOISE = {"label_noise", "noise_seed"}  # settings of the task that count as an intervention


def read(run: "Run") -> "Run | None":
    """Open the run that the configuration names as `baseline`, in the same folder; None if there is none.

    Raises
    ------
    SltGrokError
        The other run has a different task or network, or is damaged.
    """
    path = run.path.resolve().parent / str(run.config.baseline)
    if run.config.baseline is None or not (path / "manifest.json").is_file():
        return None
    other = type(run)(path)
    contents = [config.model_dump(mode="json") for config in (run.config, other.config)]
    for key in ("model", "task"):
        first, second = ({k: v for k, v in content[key].items() if k not in NOISE} for content in contents)
        if first != second:
            raise SltGrokError(f"{run.path}: baseline: expected a run with the same {key} as this one, got {path}")
    return other


def changes(training: TrainingSettings | None) -> list[int]:
    """List the steps at which training was changed."""
    if training is None:
        return []
    steps = {change.step for change in training.weight_decay_changes}
    penalty = training.frequency_penalty
    return sorted((steps | ({penalty.from_step} if penalty is not None else set())) - {0})


def names(run: "Run", baseline: "Run") -> tuple[str, str]:
    """Name the baseline and the run by their folders, which differ, unlike the names in their configurations."""
    return baseline.path.name, run.path.resolve().name


def tables(run: "Run", baseline: "Run") -> list[Table]:
    """Tabulate the settings that differ, and the key numbers of both runs, one row per run and seed."""
    first, second = (_settings(each) for each in (baseline, run))
    differ = [key for key in sorted({*first, *second}) if first.get(key) != second.get(key)]
    rows = [[key, first.get(key, "–"), second.get(key, "–")] for key in differ]
    labels = names(run, baseline)
    seeds = {
        f"{name}, seed {seed}" if seed else name: numbers
        for name, each in zip(labels, (baseline, run), strict=True)
        for seed, numbers in summary.by_seed(summary.read(each.path)).items()
    }
    both = summary.seed_table("Both runs", "Run", seeds)
    return [Table("Settings that differ", ["Key", *labels], rows), *([both] if both else [])]


def _settings(run: "Run") -> dict[str, str]:
    content: Mapping[str, Any] = run.config.model_dump(mode="json", include={"task", "training"}, exclude_none=True)
    return flat(content)
