"""Settings of training, including interventions."""

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from slt_grok.errors import SltGrokError
from slt_grok.models import Model, Network
from slt_grok.settings import Positive, Settings


class CheckpointSchedule(Settings):
    """Steps at which a checkpoint is stored: the union of the three, with the first and the last step."""

    linear: int = Field(default=0, ge=0, le=100_000, description="number of checkpoints equally spaced in step")
    logarithmic: int = Field(
        default=0, ge=0, le=100_000, description="number of checkpoints equally spaced in log step from 1"
    )
    steps: list[Annotated[int, Field(ge=0)]] = Field(default=[], description="explicit steps")

    def at(self, last: int) -> list[int]:
        """List the steps, ascending, for a training run of `last` steps."""
        chosen = {0, last, *(step for step in self.steps if step <= last)}
        if self.linear:
            chosen |= {round(step) for step in np.linspace(0, last, self.linear)}
        if self.logarithmic:
            chosen |= {round(step) for step in np.geomspace(1, last, self.logarithmic)}
        return sorted(chosen)


class StopCriterion(Settings):
    """Stop training early once every seed is below this test loss (train loss without a test set) at an evaluation."""

    loss: float = Field(gt=0)


class FrequencyPenalty(Settings):
    """A penalty on the embedding in the planes of some frequencies; see `slt_grok.training.interventions`."""

    frequencies: list[Positive] = Field(min_length=1, description="frequencies of the group, 1 to floor(p/2) for Z_p")
    strength: float = Field(gt=0, description="c of c/2 |P_K E|^2, added to the loss; adamw scales its gradient too")
    from_step: int = Field(default=0, ge=0, description="first update to which it applies")


class WeightDecayChange(Settings):
    """Another weight decay from a step on; the checkpoint of that step is not yet affected."""

    step: int = Field(ge=0)
    weight_decay: float = Field(ge=0)


class PlantedStart(Settings):
    """A circuit in the initial weights; see `slt_grok.models.planting`."""

    circuit: Literal["clock", "pizza"]
    frequencies: list[Positive] = Field(min_length=1, description="frequencies of the group, 1 to floor(p/2) for Z_p")
    amplitude: float = Field(default=10.0, gt=0, description="amplitude of each frequency in the logits")
    noise: float = Field(default=0.0, ge=0, description="multiple of the usual initial weights, added to the circuit")


class TrainingSettings(Settings):
    """Optimizer, length, data order, evaluation and checkpoints."""

    steps: Positive
    optimizer: Literal["adamw", "adam", "sgd", "muon"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0)
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.98)
    momentum: float = Field(default=0.0, ge=0, lt=1, description="momentum of SGD and Muon, whose paper uses 0.95")
    weight_decay: float = Field(
        default=1.0, ge=0, description="decoupled for adamw and muon, an L2 penalty for adam and sgd"
    )
    warmup_steps: int = Field(default=10, ge=0, description="steps over which the learning rate rises linearly")
    batch_size: Positive | None = Field(default=None, description="minibatch size; the full batch by default")
    checkpoints: CheckpointSchedule = CheckpointSchedule(logarithmic=20, linear=20)
    evaluate_every: Positive = Field(default=50, description="steps between evaluations of train and test loss")
    stop: StopCriterion | None = None
    device: Literal["cuda"] | None = Field(default=None, description="device; the CPU by default")
    frequency_penalty: FrequencyPenalty | None = None
    weight_decay_changes: list[WeightDecayChange] = Field(default=[], description="changes by ascending step")
    start: PlantedStart | None = Field(default=None, description="circuit to plant; fresh initial weights by default")

    @model_validator(mode="after")
    def _fits_together(self) -> "TrainingSettings":
        late = [step for step in self.checkpoints.steps if step > self.steps]
        if late:
            raise ValueError(f"checkpoints.steps: expected steps up to training.steps = {self.steps}, got {late[0]}")
        changes = [change.step for change in self.weight_decay_changes]
        if sorted(set(changes)) != changes or any(step >= self.steps for step in changes):
            raise ValueError(
                f"weight_decay_changes: expected ascending steps before training.steps = {self.steps}, got {changes}"
            )
        if self.optimizer == "muon" and self.momentum == 0:
            raise ValueError("momentum: expected a number above 0 with muon, such as 0.95, got 0")
        return self

    def check_network(self, network: Network, key: str) -> None:
        """Check the batch size against the train set and the frequencies of interventions against the task's group.

        Raises
        ------
        SltGrokError
            The network is not a built-in one, the batch is larger than the train set, the task has no group, or
            frequencies are unknown or duplicated.
        """
        assert network.task is not None
        if not isinstance(network.module, Model):
            raise SltGrokError(f"{key}: expected null for a module of your own, whose checkpoints are imported")
        group, size = network.task.group, network.task.train_size
        if self.batch_size is not None and self.batch_size > size:
            raise SltGrokError(f"{key}.batch_size: expected at most the {size} train samples, got {self.batch_size}")
        for name, part in (("frequency_penalty", self.frequency_penalty), ("start", self.start)):
            if part is None:
                continue
            if group is None:
                raise SltGrokError(f"{key}.{name}: expected a task on a group, which defines the frequencies")
            if len(set(part.frequencies)) < len(part.frequencies) or max(part.frequencies) > len(group.frequencies):
                raise SltGrokError(
                    f"{key}.{name}.frequencies: expected distinct numbers of 1..{len(group.frequencies)}, "
                    f"got {part.frequencies}"
                )
