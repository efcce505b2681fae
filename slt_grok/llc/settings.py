"""What a configuration says about the LLC: sampler, temperature, localization, length, data, weights.

Two conventions of the field are one line each, `preset: devinterp` and `preset: lau`; keys beside it change single
settings of them. `n_beta` may be a rule instead of a number: `n/log(n)` for the n samples, or `batch/log(batch)`.
"""

import math
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from slt_grok.settings import Positive, Settings

PRESETS: dict[str, dict[str, Any]] = {
    # devinterp 2.0.1: lr as in its README; chains, draws, burn-in, batch and localization are the defaults of its
    # SamplerConfig; n_beta that of its utils.default_nbeta
    "devinterp": {
        "sampler": "sgld",
        "step_size": 1e-3,
        "n_beta": "batch/log(batch)",
        "gamma": 0.0,
        "chains": 4,
        "draws": 200,
        "burn_in": 0,
        "batch_size": 32,
    },
    # Lau et al. 2308.12108: SGLD at Watanabe's temperature 1/log n, localized by gamma; step and gamma differ between
    # its experiments, these are the ones that implementations of the estimator start from
    "lau": {"sampler": "sgld", "step_size": 1e-5, "n_beta": "n/log(n)", "gamma": 100.0},
}

OPTIONS = {  # setting -> the samplers that have it
    "friction": ("underdamped",),
    "longest_flight": ("underdamped",),
    "leapfrog": ("hmc",),
    "alpha": ("rmsprop_sgld",),
    "floor": ("rmsprop_sgld",),
    "adaptation": ("rmsprop_sgld",),
    "method": ("devinterp",),
}
EXACT = ("hmc", "mala")
RULES = ("n/log(n)", "batch/log(batch)")
Above0 = Annotated[float, Field(gt=0)]


class LLCSettings(Settings):
    """See `slt_grok.llc.estimate` and `slt_grok.llc.samplers`."""

    preset: Literal["devinterp", "lau"] | None = Field(default=None, description="fills in what is not said beside it")
    sampler: Literal["sgld", "rmsprop_sgld", "leimkuhler_matthews", "underdamped", "hmc", "mala", "devinterp"] = (
        "underdamped"
    )
    step_size: Above0 = Field(
        description="epsilon of sgld, rmsprop_sgld, leimkuhler_matthews and mala; h of the others"
    )
    n_beta: float | str
    gamma: float = Field(ge=0)
    friction: Above0 | None = Field(default=None, description="of underdamped; 4 sqrt(gamma) where left out")
    longest_flight: Positive | None = Field(
        default=None, description="of underdamped: most steps between fresh momenta; never fresh where left out"
    )
    leapfrog: Positive | None = Field(default=None, description="of hmc: steps of a proposal")
    alpha: Annotated[float, Field(gt=0, lt=1)] | None = Field(default=None, description="of rmsprop_sgld")
    floor: Above0 | None = Field(default=None, description="of rmsprop_sgld")
    adaptation: Positive | None = Field(default=None, description="of rmsprop_sgld: updates until G is held")
    method: Literal["sgld", "rmsprop_sgld"] | None = Field(default=None, description="of devinterp; sgld if left out")
    chains: int = Field(default=4, ge=2)
    draws: int = Field(default=300, ge=4)
    burn_in: int = Field(default=150, ge=0)
    thinning: Positive = 1
    batch_size: Positive | None = None
    box: Above0 | None = Field(default=None, description="half-width of a hard box around the checkpoint")
    data: Literal["train", "test", "all"] = Field(default="train", description="the pairs whose loss is meant")
    weights: list[str] | None = Field(
        default=None, min_length=1, description="names or patterns of the parameters that move; all where left out"
    )
    precision: Literal["float32", "float64"] = "float32"
    device: Literal["cuda"] | None = Field(default=None, description="the CPU where left out")
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, content: Any) -> Any:
        if not isinstance(content, dict) or content.get("preset") not in PRESETS:
            return content
        return {**PRESETS[content["preset"]], **content}

    @field_validator("n_beta", mode="plain")
    @classmethod
    def _number_or_rule(cls, value: Any) -> float | str:
        if value in RULES:
            return value
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf:
            return float(value)
        raise PydanticCustomError("n_beta", "a number above 0, n/log(n) or batch/log(batch)")

    @model_validator(mode="after")
    def _fit_together(self) -> "LLCSettings":
        for option, samplers in OPTIONS.items():
            if getattr(self, option) is not None and self.sampler not in samplers:
                raise ValueError(f"{option}: expected only with sampler: {samplers[0]}, the sampler is {self.sampler}")
        if self.sampler == "underdamped" and self.gamma == 0 and self.friction is None:
            raise ValueError("gamma: expected a number above 0, since the friction follows from it, got 0")
        if self.batch_size is not None and self.sampler in EXACT:
            raise ValueError(f"batch_size: expected none, since {self.sampler} accepts by the loss of the full batch")
        if self.device is not None and self.sampler == "devinterp":
            raise ValueError("device: expected none with sampler: devinterp, whose chains run on the CPU")
        if self.n_beta == "batch/log(batch)" and (self.batch_size or 0) < 2:
            raise ValueError("n_beta: expected a batch_size of at least 2 with batch/log(batch)")
        if self.burn_in > self.draws * self.thinning:
            raise ValueError(
                f"burn_in: expected at most as many updates as the {self.draws * self.thinning} that follow, "
                f"got {self.burn_in}"
            )
        return self

    def n_beta_of(self, samples: int) -> float:
        """n_beta as a number, for this many samples."""
        if not isinstance(self.n_beta, str):
            return self.n_beta
        size = samples if self.n_beta == "n/log(n)" else self.batch_size or 2
        return size / math.log(size)


class ConfoundSettings(LLCSettings):
    """See `slt_grok.studies.confound`: the settings of `llc`, at fewer checkpoints."""

    checkpoints: int = Field(default=10, ge=2, description="from memorization on")


class IntervenedSettings(LLCSettings):
    """See `slt_grok.studies.interventions`: the settings of `llc`, with those of `interventions`."""

    checkpoints: int = Field(ge=2)
    controls: Positive


class RefinedSettings(LLCSettings):
    """See `slt_grok.llc.refined`. What is left out is what `llc` says: only at the same setting do values compare."""

    checkpoints: Positive = Field(default=10, description="refined LLCs are measured at this many checkpoints")

    @model_validator(mode="after")
    def _components_say_the_rest(self) -> "RefinedSettings":
        if self.weights is not None or self.data != "train":
            raise ValueError("weights, data: expected neither, since each component has its own")
        if self.sampler == "devinterp":
            raise ValueError("sampler: expected one of slt_grok, since devinterp's move whole parameters")
        return self
