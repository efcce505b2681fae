"""Configurations: one YAML file specifies a task, a network, its training and the measurements.

Every measurement in the registry has a section with its name. Unknown keys are rejected; every error is one sentence
with the file, the key and what was expected.
"""

from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import Field, PrivateAttr, ValidationError, create_model, model_validator

from slt_grok.errors import SltGrokError, one_line, shown
from slt_grok.format import first_line
from slt_grok.measurement import Measurement
from slt_grok.memory import require_memory
from slt_grok.models import Model, Network
from slt_grok.models.network import cross_entropy
from slt_grok.registry import load_plugins
from slt_grok.rules import GENERALIZED, MEMORIZED
from slt_grok.settings import Deferred, NonNegative, Settings, parse_settings, section
from slt_grok.tasks import Task
from slt_grok.training.settings import TrainingSettings
from slt_grok.user_code import CodeError
from slt_grok.yaml_files import read_yaml

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"
LOGIT, WEIGHT = 12, 16  # bytes: a logit in float32 and float64; a weight, its gradient and two moments


class TransitionsSettings(Settings):
    """Accuracies at which a network counts as having memorized or generalized, see `slt_grok.transitions.measure`."""

    train_threshold: float = Field(default=MEMORIZED, gt=0, le=1)
    test_threshold: float = Field(default=GENERALIZED, gt=0, le=1)


class RunConfig(Settings):
    """A run, without the measurements' sections, which `run_config` adds. A null section is not measured."""

    name: str = Field(pattern=NAME)
    plugins: list[str] = Field(default=[], description="importable modules that add measurements, samplers, ...")
    seeds: list[NonNegative] = Field(default=[0], min_length=1)
    task: section(Task, "kind", "modular")  # pyright: ignore[reportInvalidTypeForm]
    model: section(Model, "kind", deferred=True)  # pyright: ignore[reportInvalidTypeForm]
    training: TrainingSettings | None = Field(description="null for imported networks")
    transitions: TransitionsSettings = TransitionsSettings()
    baseline: str | None = Field(default=None, pattern=NAME, description="plain run in the same folder to compare with")
    source: dict[str, Any] | None = Field(default=None, description="where imported networks come from")
    _content: dict[str, Any] = PrivateAttr(default={})

    @model_validator(mode="before")
    @classmethod
    def _inherit(cls, content: Any) -> Any:
        """Fill keys that a measurement's section omits from the section it inherits from.

        A section that is not written, and whose settings would be wrong with the inherited keys, is null.
        """
        if not isinstance(content, Mapping):
            return content
        filled = dict(content)
        for kind in Measurement.all():
            written, parent = content.get(kind.name, {}), content.get(kind.inherits)
            if kind.inherits and isinstance(parent, Mapping) and isinstance(written, Mapping):
                inherited = {key: value for key, value in parent.items() if key in kind.Settings.model_fields}
                unwritten = kind.name not in content
                filled[kind.name] = None if unwritten and not _allows(kind, inherited) else {**inherited, **written}
        return filled

    @model_validator(mode="after")
    def _fits_together(self) -> "RunConfig":
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: expected distinct seeds, got {shown(self.seeds)}")
        try:
            network = self.network  # report what does not fit it now rather than after training
        except CodeError:  # its results can still be shown
            return self
        for key in type(self).model_fields:
            if key in self.model_fields_set and isinstance(part := getattr(self, key), Settings):
                part.check_network(network, key)
        return self

    @cached_property
    def network(self) -> Network:
        """The network with its task, without parameters."""
        model: Deferred = self.model
        sizes = {"tokens": self.task.tokens, "classes": self.task.classes}
        if self.training is not None:
            largest = max(self.task.train_size, len(self.task.inputs) - self.task.train_size)
            require_memory(LOGIT * largest * self.task.classes, "task", "the logits of a split")
            weights = _weights(model, sizes) * len(self.seeds)
            require_memory(WEIGHT * weights, "model", f"the weights and the optimizer of {len(self.seeds)} seeds")
        try:
            module = model.construct(**sizes)
        except (MemoryError, OverflowError, RuntimeError) as error:
            raise SltGrokError(f"model: expected smaller sizes; it cannot be built ({first_line(error)})") from error
        return Network(module, self.task, self.task.loss or cross_entropy)

    def with_seeds(self, seeds: Sequence[int]) -> Self:
        """Copy the configuration with other seeds, which must be valid; the network is shared."""
        config = self.model_copy(update={"seeds": list(seeds)})
        config._content = {**self._content, "seeds": list(seeds)}
        return config

    @property
    def content(self) -> dict[str, Any]:
        """The content as written, from which `parse_config` recreates the configuration."""
        return self._content

    def settings(self, measurement: type[Measurement] | Measurement) -> Any:
        """Get the settings of a measurement, None if it is disabled."""
        return getattr(self, measurement.name)

    def asks_for(self, measurement: type[Measurement] | Measurement) -> bool:
        """Return whether a run makes the measurement without `--only`."""
        wanted = measurement.default or self._content.get(measurement.name) is not None
        return wanted and self.settings(measurement) is not None


def run_config() -> type[RunConfig]:
    """Build the class of a run's configuration, with a section for each registered measurement."""
    return _with_sections(*Measurement.all())


@cache
def _with_sections(*kinds: type[Measurement]) -> type[RunConfig]:
    sections: dict[str, Any] = {}
    for kind in sorted(kinds, key=lambda kind: kind.inherits):  # report a wrong value at its origin
        if kind.name in RunConfig.model_fields or hasattr(RunConfig, kind.name):
            raise SltGrokError(f"measurement {kind.name}: this name is reserved in a configuration; choose another")
        complete = not any(field.is_required() for field in kind.Settings.model_fields.values())
        default = parse_settings(kind.Settings, {}, f"measurement {kind.name}: defaults") if complete else None
        sections[kind.name] = (kind.Settings | None, default)
    return create_model("RunConfig", __base__=RunConfig, **sections)


def _weights(model: Deferred, sizes: Mapping[str, int]) -> int:
    """Count the weights of a model without allocating them; 0 if that is not possible."""
    try:
        with torch.device("meta"):
            return sum(parameter.numel() for parameter in model.construct(**sizes).parameters())
    except Exception:  # whatever is wrong is reported when the model is built
        return 0


def _allows(measurement: type[Measurement], content: Mapping[str, Any]) -> bool:
    try:
        measurement.Settings.model_validate(content)
    except (ValidationError, SltGrokError):
        return False
    return True


def load_config(path: Path) -> RunConfig:
    """Read a run's configuration from a YAML file.

    Raises
    ------
    SltGrokError
        The file is missing or not YAML, or a key or value is wrong; the message names it.
    """
    return parse_config(read_yaml(path), str(path), named=True)


def parse_config(content: Any, origin: str, named: bool = False) -> RunConfig:
    """Parse a run's configuration from plain data.

    Parameters
    ----------
    content : object
        Content of the file.
    origin : str
        Name of the source in error messages.
    named : bool, optional
        Whether the user named the source just now, and thus its plugins; see `slt_grok.registry.load_plugins`.

    Raises
    ------
    SltGrokError
        A key or value is wrong; the message names the first one.
    """
    plugins = content.get("plugins") or [] if isinstance(content, Mapping) else []
    if not isinstance(plugins, list) or not all(isinstance(name, str) for name in plugins):
        raise SltGrokError(f"{origin}: plugins: expected a list of module names, got {shown(plugins)}")
    try:
        load_plugins(plugins, origin, named)
    except SltGrokError as error:
        raise type(error)(one_line(error)) from error
    config = parse_settings(run_config(), content, origin, "the keys name, task, model and training")
    config._content = dict(content)
    return config
