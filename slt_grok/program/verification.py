"""A program against its network on all p^2 inputs, beside matched controls.

The controls have what a program of the network has without being one: the same number of frequencies, drawn at random
from those that are not its own and fitted in the same way; the true answers (what a program that knows nothing of the
network's errors agrees on); and the same level read from a network that was never trained.
"""

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from scipy.special import log_softmax

from slt_grok.circuits.margins import margins
from slt_grok.errors import SltGrokError
from slt_grok.program.extraction import LEVELS, candidates, match
from slt_grok.program.program import Program
from slt_grok.program.reading import Reading, read
from slt_grok.tasks import SPLITS
from slt_grok.trajectories import Trajectory

RANDOM_DRAWS = 5

ATTRS: dict[str, dict[str, str]] = {
    "agreement": {
        "long_name": "agreement with the network",
        "definition": "share of all pairs where program and network give the same answer",
    },
    "accuracy": {"long_name": "accuracy of the program", "definition": "share of all pairs that it answers right"},
    "explained_variance": {
        "long_name": "explained variance of the logits",
        "definition": "1 - mean (L - Q)^2 / mean L^2 over all p^3, both centered over the answers of each pair",
    },
    "kl": {
        "long_name": "KL(network || program)",
        "units": "nats",
        "definition": "mean over all pairs of sum_c P(c) (log P(c) - log Q(c)), P and Q softmax of the logits",
    },
    "program_loss": {"long_name": "cross-entropy of the program", "units": "nats"},
    "program_margin": {
        "long_name": "worst margin of the program",
        "definition": "least over all pairs of the right answer's logit less the largest wrong one",
    },
    "network_accuracy": {"long_name": "accuracy of the network"},
    "network_loss": {"long_name": "cross-entropy of the network", "units": "nats"},
    "network_margin": {"long_name": "worst margin of the network"},
    "residual_share": {
        "long_name": "variance left at a frequency of the answer",
        "definition": "share of mean L^2 in the parts cos w_k c and sin w_k c of L - Q",
    },
}


def verify(reading: Reading, program: Program) -> xr.Dataset:
    """Return what a program gets right of its network.

    Parameters
    ----------
    reading : Reading
        Of the network.
    program : Program
        Any program of the same modulus.

    Returns
    -------
    xarray.Dataset
        Variables of `ATTRS`: losses over `split` (those of the train set as it was taught, NaN without test pairs),
        `residual_share` over `frequency` where the operation has angles, the others scalars. A listed answer of a table
        has a logit that says nothing of the other answers: there loss and KL are those of that margin.

    Raises
    ------
    SltGrokError
        A program of another modulus.
    """
    if program.tokens.modulus != reading.modulus:
        raise SltGrokError(f"verify: expected a program of modulus {reading.modulus}, got {program.tokens.modulus}")
    logits = program.grid()
    logits -= logits.mean(-1, keepdims=True)
    network, own = log_softmax(reading.logits, -1), log_softmax(logits, -1)
    left = reading.logits - logits
    answers = logits.argmax(-1)
    values: dict[str, tuple[tuple[str, ...], object]] = {
        "agreement": ((), (answers == reading.answers).mean()),
        "accuracy": ((), (answers == reading.labels).mean()),
        "explained_variance": ((), 1 - np.square(left).mean() / reading.variance),
        "kl": ((), (np.exp(network) * (network - own)).sum(-1).mean()),
        "program_loss": (("split",), _losses(reading, own)),
        "program_margin": ((), _worst_margin(reading, logits)),
        "network_accuracy": ((), (reading.answers == reading.labels).mean()),
        "network_loss": (("split",), _losses(reading, network)),
        "network_margin": ((), _worst_margin(reading, reading.logits)),
    }
    coords: dict[str, object] = {"split": list(SPLITS)}
    tokens = reading.tokens
    if tokens is not None:
        _, _, rows, _ = reading.on_group
        power = np.abs(np.fft.rfft(left[np.ix_(rows, tokens.token)], axis=1)) ** 2
        power[:, 1 : (tokens.order + 1) // 2] *= 2  # k and n - k
        share = power.sum(0)[1:] / tokens.order / (reading.variance * reading.logits.size)
        values["residual_share"] = (("frequency",), share)
        coords["frequency"] = tokens.frequencies
    return xr.Dataset(
        {name: (dims, value, ATTRS[name]) for name, (dims, value) in values.items()}, coords, {"level": program.level}
    )


def verify_levels(reading: Reading) -> xr.Dataset:
    """`verify` of every level that the network has, over `level`.

    Raises
    ------
    SltGrokError
        No frequency in the logits.
    """
    found = candidates(reading)
    if not found:
        raise SltGrokError("verify: expected logits with a frequency, no clock holds a thousandth of their variance")
    return xr.concat([verify(reading, program) for program in found.values()], _level_index(list(found)))


def controls(
    reading: Reading, untrained: Trajectory, level: str, seed: int = 0, draws: int = RANDOM_DRAWS
) -> xr.Dataset:
    """`agreement` and `explained_variance` of a level and of its matched controls, over `control`.

    Parameters
    ----------
    reading : Reading
        Of the network.
    untrained : Trajectory
        One network of the same shape and task before training (see `untrained_like`).
    level : str
        `clock`, `pizza` or `neurons`.
    seed, draws : int, optional
        Of the random frequencies, whose mean over the draws is given.

    Returns
    -------
    xarray.Dataset
        `control` is `program`, `random frequencies`, `true answers` (agreement alone) and `untrained network` (its own
        program of as many frequencies, those whose clocks hold most of its logits, against its own answers).

    Raises
    ------
    SltGrokError
        No frequency in the logits, or fewer other ones than that.
    """
    fit, keys = LEVELS[level], reading.keys
    tokens = reading.tokens
    others = np.setdiff1d(np.array([]) if tokens is None else tokens.frequencies, keys).astype(np.int64)
    if not 0 < len(keys) <= len(others):
        raise SltGrokError(f"controls: expected 1 to {len(others)} frequencies in the logits, got {len(keys)}")
    generator = np.random.default_rng(np.random.SeedSequence(seed))
    random = [_shares(reading, fit(reading, generator.choice(others, len(keys), replace=False))) for _ in range(draws)]
    before = read(untrained)
    strongest = np.abs(before.clock_amplitudes).argsort()[::-1][: len(keys)] + 1
    rows = {
        "program": _shares(reading, fit(reading)),
        "random frequencies": np.mean(random, 0),
        "true answers": ((reading.answers == reading.labels).mean(), np.nan),
        "untrained network": _shares(before, fit(before, strongest)),
    }
    return xr.Dataset(
        {
            name: ("control", [row[i] for row in rows.values()], ATTRS[name])
            for i, name in enumerate(("agreement", "explained_variance"))
        },
        {"control": list(rows)},
        {"level": level},
    )


def untrained_like(trajectory: Trajectory, seed: int = 0) -> Trajectory:
    """One network of the same module and task with fresh weights."""
    module = trajectory.network.module
    initialize: Callable[[torch.Generator], None] | None = getattr(module, "initialize", None)
    if initialize is None:
        raise SltGrokError(f"controls: expected a model that can be initialized, got {type(module).__name__}")
    initialize(torch.Generator().manual_seed(seed))
    return Trajectory.of(module, trajectory.task)


def _shares(reading: Reading, program: Program) -> tuple[float, float]:
    found = match(reading, program)
    return found.agreement, 1 - found.unexplained


def _losses(reading: Reading, log_probabilities: np.ndarray) -> list[float]:
    losses = []
    for split in SPLITS:
        rows = reading.task.indices(split).numpy()
        labels = (reading.task.train_labels if split == "train" else reading.task.labels).numpy()[rows]
        losses.append(float(-log_probabilities[rows, labels].mean()) if len(rows) else np.nan)
    return losses


def _worst_margin(reading: Reading, logits: np.ndarray) -> float:
    right, wrong, _ = margins(torch.from_numpy(logits)[None], reading.task.labels)
    return float((right - wrong).min())


def _level_index(names: list[str]) -> xr.DataArray:
    return xr.DataArray(names, dims="level", name="level", attrs={"long_name": "level of the program"})
