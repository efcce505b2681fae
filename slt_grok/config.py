"""What a configuration file says: one YAML file names a task, a network, its training and what to measure.

Keys that nobody knows are refused; every error is one sentence with the file, the key and what was expected.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import Field, ValidationError, model_validator

from slt_grok import models
from slt_grok.errors import SltGrokError
from slt_grok.llc_settings import LLCSettings, RefinedSettings
from slt_grok.model_settings import ModelSettings
from slt_grok.tasks import is_prime
from slt_grok.tasks.modular import Operation
from slt_grok.training.settings import Positive, Settings, TrainingSettings

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"


class TaskSettings(Settings):
    """See `slt_grok.tasks.ModularTask`."""

    modulus: int = Field(ge=3)
    operation: Operation = "addition"
    train_fraction: float = Field(default=0.3, gt=0, le=1)
    split_seed: int = Field(default=0, ge=0)
    split_rule: Literal["uniform", "progress_measures", "listed"] = "uniform"
    table_seed: int = Field(default=0, ge=0)
    train_rows: list[Annotated[int, Field(ge=0)]] = Field(default=[], description="the train set, for listed")
    label_noise: float = Field(default=0.0, ge=0, lt=1, description="share of train pairs taught with a wrong answer")
    noise_seed: int = Field(default=0, ge=0)


class CircuitsSettings(Settings):
    """See `slt_grok.circuits.measure`."""

    gradient_triples: int | None = Field(
        default=6000, ge=2, description="triples that gradient symmetricity is the mean over; null takes all p^3"
    )


class LandscapeSettings(Settings):
    """See `slt_grok.landscape.measure`."""

    probe_checkpoints: int | None = Field(
        default=None, ge=0, description="Hessian, sharpness and volume are taken at this many checkpoints; null: at all"
    )
    eigenvalues: Positive = 5
    radii: list[Annotated[float, Field(gt=0)]] = Field(default=[0.1, 1.0], min_length=1, description="of the sharpness")
    seed: int = Field(default=0, ge=0)


class CurvatureSettings(Settings):
    """See `slt_grok.landscape.curvature`."""

    eigenvalues: Positive = 5
    seed: int = Field(default=0, ge=0)


class ConnectivitySettings(Settings):
    """See `slt_grok.landscape.connectivity` and `slt_grok.landscape.bezier`."""

    positions: int = Field(default=5, ge=3, description="places on each line, both ends among them")
    rows: int = Field(default=1024, ge=16, description="samples of each split")
    updates: Positive = Field(default=400, description="of the control point of each curve")
    seed: int = Field(default=0, ge=0)


class ShapeSettings(Settings):
    """See `slt_grok.landscape.principal_plane` and `slt_grok.landscape.slices`."""

    points: int = Field(default=25, ge=3, description="of the grid along each axis")
    radius: float = Field(default=1.0, gt=0, description="of the random planes, in norms of each filter")
    rows: int = Field(default=1024, ge=16, description="samples of each split")
    seed: int = Field(default=0, ge=0)


class TopologySettings(Settings):
    """See `slt_grok.circuits.topology`."""

    checkpoints: Positive = Field(default=3, description="the topology is measured at this many checkpoints")
    landmarks: int = Field(default=150, ge=20)
    threshold: float = Field(default=0.5, gt=0)


class CausalSettings(Settings):
    """See `slt_grok.circuits.causal`."""

    checkpoints: Positive = Field(default=8, description="the causal tests are made at this many checkpoints")
    draws: int = Field(default=3, ge=2, description="random sets of frequencies, shifts and renamings of the tokens")
    others: Positive = Field(default=10, description="other frequencies that are removed one at a time")
    seed: int = Field(default=0, ge=0)


class ProgramSettings(Settings):
    """See `slt_grok.program.measure`."""

    checkpoints: Positive | None = Field(
        default=None, description="programs are read from the networks of this many checkpoints; null: of all"
    )


class InterventionsSettings(Settings):
    """See `slt_grok.studies.interventions`: the LLC there is measured with the settings of `llc`."""

    checkpoints: int = Field(default=4, ge=2, description="weights are intervened on at this many, from memorization")
    controls: Positive = Field(default=2, description="random sets of planes and of neurons for each intervention")


class TransitionsSettings(Settings):
    """See `slt_grok.transitions.measure`."""

    train_threshold: float = Field(default=0.99, gt=0, le=1)
    test_threshold: float = Field(default=0.95, gt=0, le=1)


class RunConfig(Settings):
    """A whole run. A measurement that is null is not made."""

    name: str = Field(pattern=NAME)
    seeds: list[Annotated[int, Field(ge=0)]] = Field(default=[0], min_length=1)
    task: TaskSettings
    model: ModelSettings
    training: TrainingSettings | None = Field(description="null for imported networks")
    circuits: CircuitsSettings | None = CircuitsSettings()
    landscape: LandscapeSettings | None = LandscapeSettings()
    llc: LLCSettings | None = None
    refined: RefinedSettings | None = Field(default=None, description="what it leaves out is as in llc")
    curvature: CurvatureSettings | None = CurvatureSettings()
    connectivity: ConnectivitySettings | None = ConnectivitySettings()
    shape: ShapeSettings | None = ShapeSettings()
    topology: TopologySettings | None = TopologySettings()
    causal: CausalSettings | None = CausalSettings()
    interventions: InterventionsSettings | None = InterventionsSettings()
    program: ProgramSettings | None = ProgramSettings()
    transitions: TransitionsSettings = TransitionsSettings()
    baseline: str | None = Field(
        default=None, pattern=NAME, description="the plain run, in the same folder, that the page shows beside this one"
    )
    source: dict[str, Any] | None = Field(default=None, description="where imported networks come from")

    @model_validator(mode="before")
    @classmethod
    def _refined_like_llc(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        llc, refined = content.get("llc"), content.get("refined")
        if not isinstance(llc, dict) or not isinstance(refined, dict):
            return content
        shared = {key: value for key, value in llc.items() if key not in ("data", "weights")}
        return {**content, "refined": {**shared, **refined}}

    @model_validator(mode="after")
    def _fits_together(self) -> "RunConfig":
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: expected different seeds, got {self.seeds}")
        p = self.task.modulus
        self._frequencies_within(p)
        if self.circuits is not None and (p == 2 or not is_prime(p)):
            raise ValueError(
                f"task.modulus: expected an odd prime, since the Fourier circuit is measured over its (p-1)/2 "
                f"frequencies, got {p}; choose a prime or set circuits: null"
            )
        return self

    def _frequencies_within(self, p: int) -> None:
        """Those of interventions in training."""
        if self.training is None:
            return
        for key, part in (("frequency_penalty", self.training.frequency_penalty), ("start", self.training.start)):
            if part is None:
                continue
            if p == 2 or not is_prime(p):
                raise ValueError(f"training.{key}: expected task.modulus an odd prime with it, got {p}")
            if len(set(part.frequencies)) < len(part.frequencies) or max(part.frequencies) > (p - 1) // 2:
                raise ValueError(
                    f"training.{key}.frequencies: expected different ones of 1..{(p - 1) // 2}, got {part.frequencies}"
                )


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file.

    Raises
    ------
    SltGrokError
        The file is missing, unreadable or no YAML.
    """
    try:
        return yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise SltGrokError(f"{path}: no such configuration file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise SltGrokError(f"{path}: expected a readable text file ({error})") from error
    except yaml.YAMLError as error:
        raise SltGrokError(f"{path}: expected YAML ({' '.join(str(error).split())})") from error


def load_config(path: Path) -> RunConfig:
    """Return a run's configuration from a YAML file.

    Raises
    ------
    SltGrokError
        The file is missing or no YAML, or a key or value is wrong; the sentence names it.
    """
    return parse_config(read_yaml(path), str(path))


def parse_config(content: Any, origin: str) -> RunConfig:
    """Return a run's configuration from plain data; `origin` is named in errors.

    Raises
    ------
    SltGrokError
        A key or value is wrong; the sentence names the first one.
    """
    return parse_settings(RunConfig, content, origin, "the keys name, task, model and training")


S = TypeVar("S", bound=Settings)


def parse_settings(kind: type[S], content: Any, origin: str, keys: str) -> S:
    """Return the settings of a kind from plain data; `origin` and the `keys` that are expected are named in errors.

    Raises
    ------
    SltGrokError
        No mapping, or a key or value is wrong; the sentence names the first one.
    """
    if not isinstance(content, dict):
        raise SltGrokError(f"{origin}: expected a mapping with {keys}")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise SltGrokError(f"{origin}: {_sentence(error)}") from error


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    kinds = set(models.KINDS)
    key = ".".join(str(part) for part in first["loc"] if part not in kinds)
    match first["type"]:
        case "extra_forbidden":
            return f"{key}: unknown key"
        case "missing":
            return f"{key}: this key is missing"
        case "value_error":
            message = first["msg"].removeprefix("Value error, ")
            return f"{key}.{message}" if key else message
        case "union_tag_invalid" | "union_tag_not_found":
            return f"{key}.kind: expected one of {', '.join(sorted(kinds))}"
        case _:
            message = first["msg"].removeprefix("Input should be ").removeprefix("a ").removeprefix("an ")
            return f"{key}: expected {message}, got {first['input']!r}"
