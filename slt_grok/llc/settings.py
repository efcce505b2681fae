"""Settings of LLC measurements: sampler, temperature, localization, length, data, weights.

A quick setting at a high temperature, `preset: hot`, and two conventions from the literature, `preset: devinterp` and
`preset: lau`, take one line each; other keys override them.
`n_beta` may be a rule instead of a number: `n` (the default) or `n/log(n)` for the n samples, or `batch/log(batch)`.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from slt_grok.errors import SltGrokError
from slt_grok.llc import restrictions
from slt_grok.llc.samplers.adaptive import AdaptiveLangevin
from slt_grok.llc.samplers.sampler import Sampler
from slt_grok.llc.sampling import Schedule
from slt_grok.memory import require_memory
from slt_grok.models import Network
from slt_grok.settings import AboveZero, NonNegative, Positive, Settings, section

PRESETS: dict[str, dict[str, Any]] = {
    # a few seconds a checkpoint, at a temperature so high that the chains of a memorizing network melt
    "hot": {
        "sampler": {"name": "underdamped", "step_size": 0.0124, "longest_flight": 23},
        "n_beta": 27.2,
        "gamma": 129.0,
        "chains": 4,
        "draws": 210,
        "burn_in": 90,
        "batch_size": 280,
    },
    # devinterp 2.0.1: lr from its README; chains, draws, burn-in, batch size and localization are the defaults of its
    # SamplerConfig; n_beta is from its utils.default_nbeta
    "devinterp": {
        "sampler": {"name": "sgld", "step_size": 1e-3},
        "n_beta": "batch/log(batch)",
        "gamma": 0.0,
        "chains": 4,
        "draws": 200,
        "burn_in": 0,
        "batch_size": 32,
    },
    # Lau et al. 2308.12108: SGLD at Watanabe's temperature 1/log n, localized by gamma; step and gamma vary between its
    # experiments, and these are the usual starting values in implementations of the estimator
    "lau": {
        "sampler": {"name": "sgld", "step_size": 1e-5},
        "n_beta": "n/log(n)",
        "gamma": 100.0,
        "chains": 4,
        "draws": 300,
        "burn_in": 150,
    },
}
RULES = ("n", "n/log(n)", "batch/log(batch)")


class SamplingSettings(Settings):
    """How to sample, see `slt_grok.llc.estimate` and `slt_grok.llc.samplers`."""

    preset: Literal["hot", "devinterp", "lau"] | None = Field(default=None, description="defaults for the omitted keys")
    sampler: section(Sampler, "name", "underdamped") = AdaptiveLangevin()  # pyright: ignore[reportInvalidTypeForm]
    n_beta: float | str = "n"
    gamma: float = Field(ge=0)
    chains: int = Field(default=2, ge=2)
    draws: int = Field(default=480, ge=4)
    burn_in: NonNegative = 160
    thinning: Positive = 1
    batch_size: Positive | None = None
    melting_loss: AboveZero | None = Field(
        default=None, description="mean loss above which chains count as melted; half the loss of guessing by default"
    )
    box: AboveZero | None = Field(default=None, description="half-width of a hard box around the checkpoint")
    precision: Literal["float32", "float64"] = "float32"
    device: Literal["cuda"] | None = Field(default=None, description="the CPU by default")
    seed: NonNegative = 0

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, content: Any) -> Any:
        if not isinstance(content, Mapping) or content.get("preset") not in list(PRESETS):
            return content
        preset = PRESETS[content["preset"]]
        sampler = content.get("sampler", {})
        if isinstance(sampler, Mapping):
            sampler = {**preset["sampler"], **sampler}
        return {**preset, **content, "sampler": sampler}

    @field_validator("n_beta", mode="plain")
    @classmethod
    def _number_or_rule(cls, value: Any) -> float | str:
        if value in RULES:
            return value
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf:
            return float(value)
        raise PydanticCustomError("n_beta", "positive number, n, n/log(n) or batch/log(batch)")

    @model_validator(mode="after")
    def _fit_together(self) -> "SamplingSettings":
        tuned, shortest = f"during which {self.sampler.name} is tuned", self.sampler.shortest_burn_in
        sampled = self.draws * self.thinning
        limits = (
            (min(self.burn_in, sampled) < shortest, f"be at least {shortest}, {tuned}"),
            (max(self.burn_in, shortest) > sampled, f"not exceed draws x thinning ({sampled})"),
        )
        if wrong := [limit for broken, limit in limits if broken]:
            raise ValueError(f"burn_in ({self.burn_in}) must {', and must '.join(wrong)}")
        try:
            self.sampler.require(self.schedule, self.gamma)
        except SltGrokError as error:
            raise ValueError(str(error)) from error
        if self.n_beta == "batch/log(batch)" and (self.batch_size or 0) < 2:
            raise ValueError("batch_size must be at least 2 for n_beta: batch/log(batch)")
        return self

    def check_network(self, network: Network, key: str) -> None:
        """See `Settings`: a batch must not be larger than its split."""
        split: Any = getattr(self, "data", "train")
        size = self.batch_size or 0
        samples = size if network.task is None else len(network.task.indices(split))
        if size > samples:
            raise SltGrokError(f"{key}.batch_size ({size}) must not exceed the {samples} {split} samples")
        weights = sum(network.shapes[name].numel() for name in network.moving)
        require_memory(16.0 * self.chains * weights, f"{key}.chains", "position, gradient and moments of the chains")
        require_memory(8.0 * self.chains * self.draws, f"{key}.draws", "the losses of the draws")

    def n_beta_of(self, samples: int) -> float:
        """Evaluate n_beta for the given number of samples."""
        if not isinstance(self.n_beta, str):
            return self.n_beta
        if self.n_beta == "n":
            return float(samples)
        size = samples if self.n_beta == "n/log(n)" else self.batch_size or 2
        return size / math.log(size)

    def adaptive(self) -> Self:
        """Replace the sampler by `AdaptiveLangevin`: on the full batch, with a burn-in in which it can tune itself."""
        sampler = AdaptiveLangevin()
        burn_in = max(self.burn_in, sampler.adaptation)
        return self.model_copy(update={"sampler": sampler, "burn_in": burn_in, "batch_size": None})

    @property
    def schedule(self) -> Schedule:
        """Length of a chain and its batch size."""
        return Schedule(self.burn_in, self.draws, self.thinning, self.batch_size)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the chains' parameters."""
        return getattr(torch, self.precision)

    def arguments(self, samples: int) -> dict[str, Any]:
        """Collect the arguments of `slt_grok.llc.sample.sample` for a problem with the given number of samples."""
        names = ("sampler", "schedule", "gamma", "chains", "box", "device", "seed", "melting_loss")
        return {name: getattr(self, name) for name in names} | {"n_betas": [self.n_beta_of(samples)]}


class RestrictedSettings(SamplingSettings):
    """How to sample, on which data, and the weights that move."""

    data: Literal["train", "test", "all"] = Field(default="train", description="the samples that define the loss")
    weights: list[str] | None = Field(
        default=None, min_length=1, description="names or patterns of the parameters that move; all by default"
    )

    def check_network(self, network: Network, key: str) -> None:
        """See `Settings`: the split must have samples, and the weights must be parameters."""
        try:
            restrictions.parameters(network.module, *self.weights or ())
            if network.task is not None:
                restrictions.split(network.task, self.data)
        except SltGrokError as error:
            raise SltGrokError(f"{key}.{error}") from error
        super().check_network(network, key)


class WindowedSettings(RestrictedSettings):
    """Settings of measurements that are about the window: there must be one."""

    gamma: float = Field(gt=0, description="localization")


class LLCSettings(RestrictedSettings):
    """Settings of the measurement `llc`."""

    most_checkpoints: Annotated[int, Field(ge=2)] | None = Field(
        default=None,
        description="at most this many, from memorization on, evenly spaced in log step; all checkpoints by default",
    )
