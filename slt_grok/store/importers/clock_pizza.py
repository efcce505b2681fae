"""Files of the code of Zhong et al. 2306.17844: transformers with an attention rate on [a, b].

A network is `model_ID.pt`, a plain state dict, beside `config_ID.json`; `model_ID_STEP.pt` for one of several steps.
One-layer transformers are supported. Their train set was drawn by an unseeded generator and is in no file.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.store.files import read_json
from slt_grok.store.importers.imported import (
    Imported,
    activation_name,
    evaluate,
    run_name,
    tensors_of,
    transformer_parameters,
)
from slt_grok.tasks import ModularTask

NAME = "clock_pizza"
OPERATIONS = {"+": "addition", "-": "subtraction", "*": "multiplication"}


def recognises(content: Any) -> bool:
    """Whether a file's content has this layout: transformer weights with two positions."""
    positions = content.get("pos_embed.W_pos") if isinstance(content, Mapping) else None
    return isinstance(positions, Tensor) and positions.shape[0] == 2


def convert(path: Path, content: Any) -> Imported:
    """The network in a file's content and the config beside the file.

    Raises
    ------
    SltGrokError : no config beside it, more than one layer, another vocabulary, or tensors that do not fit.
    """
    if not recognises(content):
        raise SltGrokError(f"{path}: expected a transformer on the two tokens [a, b]")
    config_path, step_in_name = _config_path(path)
    stored = read_json(config_path)
    if not isinstance(stored, Mapping):
        raise SltGrokError(f"{config_path}: expected a table of settings")
    for key in ("C", "attn_coeff", "funcs"):
        if key not in stored:
            raise SltGrokError(f"{config_path}: expected a key {key}, it is missing")
    if stored.get("n_layers", 1) != 1:
        raise SltGrokError(f"{config_path}: expected n_layers 1, the only supported depth, got {stored['n_layers']}")
    for key in ("diff_vocab", "eqn_sign", "use_linear"):
        if stored.get(key):
            raise SltGrokError(
                f"{config_path}: expected {key} to be off, the only supported setting, got {stored[key]}"
            )
    try:
        modulus, rate = int(stored["C"]), float(stored["attn_coeff"])
    except (TypeError, ValueError) as error:
        raise SltGrokError(f"{config_path}: expected numbers for C and attn_coeff") from error
    operation = _operation(config_path, str(stored["funcs"]), modulus)
    activation = activation_name(config_path, stored.get("act_fn", "ReLU"))
    in_weights, model, parameters = transformer_parameters(path, tensors_of(path, content), "a_b", activation, rate)
    if in_weights != modulus:
        raise SltGrokError(f"{path}: expected weights for C = {modulus} as {config_path.name} says, got {in_weights}")
    task = {"modulus": modulus, "operation": operation, "train_fraction": 1.0}
    settings = {
        ours: stored[theirs]
        for ours, theirs in (
            ("learning_rate", "lr"),
            ("weight_decay",) * 2,
            ("train_fraction", "frac"),
            ("steps", "epoch"),
        )
        if theirs in stored
    }
    step = step_in_name if step_in_name is not None else stored.get("epoch")
    share = f"{100 * float(stored['frac']):g}%" if "frac" in stored else "share"
    imported = Imported(
        path=path,
        format=NAME,
        config={"name": run_name(str(stored.get("runid", path.stem))), "task": task, "model": model},
        step=None if step is None else int(step),
        parameters=parameters,
        settings=settings,
        notes=[
            f"The {share} of the pairs that it was trained on was drawn by an unseeded generator and is in no file: "
            f"all pairs are taken as the train set, and there is no test set."
        ],
    )
    values = evaluate(imported.module, ModularTask(**task), parameters)
    imported.notes.append(
        f"The files hold no loss to check against; computed on all pairs: loss {values['train_loss']:.5g}, "
        f"accuracy {values['train_accuracy']:.5g}."
    )
    return imported


def _config_path(path: Path) -> tuple[Path, int | None]:
    identity = path.stem.removeprefix("model_")
    own = path.with_name(f"config_{identity}.json")
    numbered = re.fullmatch(r"(.+)_(\d+)", identity)
    if own.is_file() or not numbered:
        return own, None
    return path.with_name(f"config_{numbered[1]}.json"), int(numbered[2])


def _operation(path: Path, function: str, modulus: int) -> str:
    """The operation of a config's `funcs`, such as `lambda x: (x[0]+x[1])%59`; read, never executed."""
    match = re.fullmatch(r"lambdax:\(x\[0\]([-+*])x\[1\]\)%(\d+)", function.replace(" ", ""))
    if not match or int(match[2]) != modulus:
        raise SltGrokError(
            f"{path}: expected funcs to be (x[0] + x[1]) % {modulus}, or the same with - or *, got {function!r}"
        )
    return OPERATIONS[match[1]]
