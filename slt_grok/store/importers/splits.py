"""The task and split of imported networks: stated, given, or assumed and then checked against the stored losses."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from slt_grok.errors import SltGrokError
from slt_grok.store.files import check_regular, read_torch
from slt_grok.store.importers.imported import Imported
from slt_grok.tasks import ModularTask

TOLERANCE, CLOSE = 0.05, 1e-3  # relative, of a stored loss
NOISE = 1e-7  # of float32, absolute
UNSURE = "loss"  # an entry that may be the train loss
COMPUTED = {"train_loss": "train_loss", "test_loss": "test_loss", UNSURE: "train_loss"}  # by the stored name
ALL = "all pairs as the train set"
READERS = (".json", ".npy", ".pt", ".pth", ".txt")


class Stored(NamedTuple):
    """A loss that a file holds for a network.

    Parameters
    ----------
    value : float
        The loss.
    change : float
        How much it changes until the next record: it may be from before the last updates.
    """

    value: float
    change: float = 0.0

    @property
    def finite(self) -> bool:
        """Whether the loss is a finite number, which other losses can be compared with."""
        return bool(np.isfinite(self.value))

    def reproduced_by(self, value: float, tolerance: float = TOLERANCE) -> bool:
        """Check whether another value is the same loss."""
        apart = abs(value - self.value)
        return self.finite and apart <= max(tolerance * max(abs(value), abs(self.value)), self.change)

    def agrees_with(self, value: float) -> bool:
        """Check whether another value is within 5% of the loss, or both are 0 up to the noise of float32."""
        return self.reproduced_by(value) or abs(value - self.value) <= NOISE


def read_rows(path: Path) -> list[int]:
    """Read a train set: numbers of pairs, where (a, b) is number a p + b.

    Parameters
    ----------
    path : Path
        A JSON list, a text file with one number a line, a numpy array (.npy), or a tensor or list of `torch.save`.

    Raises
    ------
    SltGrokError
        The file is missing, damaged, or holds something else.
    """
    wrong = f"{path}: expected a list of whole numbers"
    check_regular(path)
    try:
        match path.suffix:
            case ".json":
                content = json.loads(path.read_text())
            case ".npy":
                content = np.load(path, allow_pickle=False)
            case ".txt":
                content = [int(word) for word in path.read_text().split()]
            case ".pt" | ".pth":
                content = read_torch(path)
            case _:
                raise SltGrokError(f"{wrong} in a file {', '.join(READERS)}")
    except (OSError, ValueError) as error:
        raise SltGrokError(f"{wrong}, cannot read it ({getattr(error, 'strerror', None) or error})") from error
    return whole_numbers(path, content)


def whole_numbers(origin: object, content: Any) -> list[int]:
    """Convert a list, array or tensor to a list of whole numbers.

    Raises
    ------
    SltGrokError
        It is something else.
    """
    wrong = f"{origin}: expected a list of whole numbers"
    try:
        rows = torch.as_tensor(content)
    except (ValueError, TypeError, RuntimeError) as error:
        raise SltGrokError(f"{wrong}, got a {type(content).__name__} ({error})") from error
    if rows.ndim != 1 or rows.is_floating_point() or rows.is_complex() or rows.dtype == torch.bool:
        raise SltGrokError(f"{wrong}, got {rows.dtype} of shape {tuple(rows.shape)}")
    return rows.tolist()


def listed_split(origin: object, rows: Sequence[int], p: int) -> dict[str, Any]:
    """Get the settings of a train set given by rows of the lexicographic list of pairs.

    Raises
    ------
    SltGrokError
        The rows are not distinct numbers in 0..p^2 - 1.
    """
    if not rows or len(set(rows)) < len(rows) or not 0 <= min(rows) <= max(rows) < p**2:
        raise SltGrokError(f"{origin}: expected train_indices to be distinct numbers in 0..{p**2 - 1}")
    return {"train_fraction": len(rows) / p**2, "split_rule": "listed", "train_rows": tuple(rows)}


def settle(networks: Sequence[Imported], rows: Path | None = None) -> tuple[list[Imported], list[str]]:
    """Give all networks of a run one task.

    Parameters
    ----------
    networks : sequence of Imported
        Checkpoints of one network.
    rows : Path, optional
        A file with the train set, see `read_rows`; it replaces that of the networks' files.

    Returns
    -------
    networks, notes : list of Imported, list of str
        The networks with their task, and sentences on what was assumed.

    Raises
    ------
    SltGrokError
        The networks differ in model or task, or a stored loss contradicts every split that could be assumed.
    """
    first = next((n for n in networks if n.task_known), networks[0])
    for network in networks:
        if network.config["model"] != first.config["model"] or (
            network.task_known and network.config["task"] != first.config["task"]
        ):
            raise SltGrokError(f"{network.path}: expected the model and task of {first.path}: files of one network")
    task, notes = first.config["task"], list[str]()
    if rows is not None:
        p, operation = task["modulus"], task["operation"]
        task = {"modulus": p, "operation": operation, **listed_split(rows, read_rows(rows), p)}
        notes.append(f"The train set is that of {rows.name}; the operation is {operation}.")
    elif not first.task_known:
        task, note = _assumed(networks)
        notes.append(note)
    return [replace(network, config={**network.config, "task": task}) for network in networks], notes


def _assumed(networks: Sequence[Imported]) -> tuple[dict[str, Any], str]:
    """Choose the first assumed task that gives the stored losses closely, or else about."""
    finite = [
        {name: loss for name, loss in _stored(network).items() if loss.finite and name != UNSURE}
        for network in networks
    ]
    network, stored = max(zip(networks, finite, strict=True), key=lambda pair: len(pair[1]))
    candidates = network.assumed
    values = {words: network.evaluate(ModularTask(**task)) for words, task in candidates.items()}
    operation = network.config["task"]["operation"]
    if not stored:
        return candidates[ALL], f"The file does not state its task: {operation} is assumed, with {ALL}."
    name = "train_loss" if "train_loss" in stored else "test_loss"
    fitting = [words for words, computed in values.items() if stored[name].reproduced_by(computed[name])]
    if "test_loss" in stored:
        fitting = [words for words in fitting if words != ALL]
    if not fitting:
        tried = "; ".join(f"{computed[name]:.5g} with {words}" for words, computed in list(values.items())[:2])
        raise SltGrokError(
            f"{network.path}: expected a train set that gives the stored {name} {stored[name].value:.5g}, which "
            f"contradicts {tried}; give the train set by --train-indices"
        )
    fitting.sort(key=lambda words: not stored[name].reproduced_by(values[words][name], CLOSE))
    note = f"The file does not state its task: {operation} is assumed, with {fitting[0]}, which gives the stored {name}"
    others = f"; so do {len(fitting) - 1} other splits, so it is not certain" if len(fitting) > 1 else ""
    return candidates[fitting[0]], note + others + "."


def _stored(network: Imported) -> dict[str, Stored]:
    """Get the losses that the file holds for a network: at its end, or at its step in the curves."""
    found = {name: Stored(value) for name, value in network.stored.items()}
    for name, (steps, values, mean) in (network.curves or {}).items():
        if name in found or network.step is None or not len(steps) or mean:
            continue
        place = int(np.searchsorted(steps, network.step, side="right")) - 1
        spacing = steps[1] - steps[0] if len(steps) > 1 else 1
        if place >= 0 and network.step - steps[place] < spacing:
            near = values[max(place - 1, 0) : place + 2]
            changes = np.abs(near[np.isfinite(near)] - values[place])
            found[name] = Stored(float(values[place]), float(changes.max(initial=0)))
    return found


def compared(networks: Sequence[Imported]) -> tuple[list[str], list[str]]:
    """Say which stored losses contradict the computed ones, and which agree, or that none are stored."""
    contradictions, agreements = list[str](), list[str]()
    for name, computed in COMPUTED.items():
        stored = {i: _stored(network)[name] for i, network in enumerate(networks) if name in _stored(network)}
        values = {i: networks[i].evaluate()[computed] for i in stored}
        wrong = [i for i in stored if not stored[i].agrees_with(values[i])]
        if not stored:
            continue
        shown = wrong[0] if wrong else max(stored)
        where = f" at step {networks[shown].step}" if len(networks) > 1 else ""
        count = f"{len(wrong)} of" if wrong else "all"
        at = f" (at {count} {len(stored)} checkpoints)" if len(stored) > 1 else ""
        words = f"they agree within 5%{at}"
        if wrong:
            batch = ", or the stored one may be that of a batch" if name == UNSURE else ""
            words = f"they differ by more than 5%{at}: the split, the task or the layout may differ{batch}"
        if not stored[shown].finite:
            words = f"they do not agree{at}, since the stored loss is not a finite number"
        of = f"{computed} " if name == UNSURE else ""
        notes = contradictions if wrong else agreements
        notes.append(f"Stored {name}{where} {stored[shown].value:.5g}, computed {of}{values[shown]:.5g}: {words}.")
    if not contradictions and not agreements:
        last = networks[-1].evaluate()
        agreements.append(
            f"The file holds no loss to check against; on the train set, computed loss {last['train_loss']:.5g}"
            + (f", accuracy {last['train_accuracy']:.5g}." if np.isfinite(last["train_accuracy"]) else ".")
        )
    return contradictions, agreements
