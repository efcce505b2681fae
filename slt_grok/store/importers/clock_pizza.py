"""Files of the code of Zhong et al. 2306.17844: transformers with an attention rate on [a, b], and linear models.

A network is `model_ID.pt`, a plain state dict, beside `config_ID.json`; `model_ID_STEP.pt` for one of several steps.
Attention has no mask, whatever the config's `attention_dir` says: the code does not use it. The train set was drawn by
an unseeded generator and is in no file. Addition is all that the code of the linear models knows.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slt_grok.errors import SltGrokError
from slt_grok.store.files import read_json
from slt_grok.store.importers import clock_pizza_mlp
from slt_grok.store.importers.imported import Imported, activation_name, check_stored_losses, run_name
from slt_grok.store.importers.layouts import beside_state, state_in, tensors_of
from slt_grok.store.importers.transformers import layout_of, parameters_of

NAME = "clock_pizza"
OPERATIONS = {"+": "addition", "-": "subtraction", "*": "multiplication"}


def recognizes(path: Path, content: Any) -> bool:
    """Whether a file has this layout: a linear model, or transformer weights on two positions or beside a config."""
    state = state_in(content)
    layout, positions = layout_of(state)
    transformer = layout == "own_code" and (positions == 2 or _config_path(path)[0].is_file())
    return transformer or clock_pizza_mlp.recognizes(state)


def convert(path: Path, content: Any) -> Imported:
    """Return the network in a file's content and the config beside the file.

    Raises
    ------
    SltGrokError
        No config beside it, another vocabulary, or tensors that do not fit.
    """
    if not recognizes(path, content):
        raise SltGrokError(
            f"{path}: expected a transformer on the two tokens [a, b], or a linear model with l1 and unembed"
        )
    config_path, step_in_name = _config_path(path)
    stored = read_json(config_path)
    if not isinstance(stored, Mapping):
        raise SltGrokError(f"{config_path}: expected a table of settings")
    state = tensors_of(path, content)
    linear = clock_pizza_mlp.recognizes(state)
    for key in ("C", "model_type") if linear else ("C", "attn_coeff", "funcs"):
        if key not in stored:
            raise SltGrokError(f"{config_path}: expected a key {key}, it is missing")
    try:
        modulus, rate = int(stored["C"]), float(stored.get("attn_coeff", 1))
    except (TypeError, ValueError) as error:
        raise SltGrokError(f"{config_path}: expected numbers for C and attn_coeff") from error
    if linear:
        operation = "addition"
        in_weights, model, parameters = clock_pizza_mlp.parameters_of(
            path, state, config_path, stored["model_type"], modulus
        )
    else:
        operation = _operation(config_path, str(stored["funcs"]), modulus)
        in_weights, model, parameters = _transformer(path, state, config_path, stored, rate)
    if in_weights != modulus:
        raise SltGrokError(f"{path}: expected weights for C = {modulus} as {config_path.name} says, got {in_weights}")
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
        config={
            "name": run_name(str(stored.get("runid", path.stem))),
            "task": {"modulus": modulus, "operation": operation, "train_fraction": 1.0},
            "model": model,
        },
        step=None if step is None else int(step),
        parameters=parameters,
        settings=settings,
        notes=[
            f"The {share} of the pairs that it was trained on was drawn by an unseeded generator and is in no file: "
            f"all pairs are taken as the train set, and there is no test set."
        ],
    )
    check_stored_losses(imported, beside_state(content))
    return imported


def _transformer(
    path: Path, state: dict[str, Any], config_path: Path, stored: Mapping[str, Any], rate: float
) -> tuple[int, dict[str, Any], dict[str, Any]]:
    for key in ("diff_vocab", "eqn_sign", "use_linear"):
        if stored.get(key):
            raise SltGrokError(
                f"{config_path}: expected {key} to be off, the only supported setting, got {stored[key]}"
            )
    activation = activation_name(config_path, stored.get("act_fn", "ReLU"))
    modulus, model, parameters = parameters_of(path, state, "own_code", activation, rate, 2, int(stored["C"]))
    depth = model.get("n_layers", 1)
    if stored.get("n_layers", 1) != depth:
        raise SltGrokError(
            f"{path}: expected {stored.get('n_layers', 1)} layers as {config_path.name} says, the weights have {depth}"
        )
    return modulus, model, parameters


def _config_path(path: Path) -> tuple[Path, int | None]:
    identity = path.stem.removeprefix("model_")
    own = path.with_name(f"config_{identity}.json")
    numbered = re.fullmatch(r"(.+)_(\d+)", identity)
    if own.is_file() or not numbered:
        return own, None
    return path.with_name(f"config_{numbered[1]}.json"), int(numbered[2])


def _operation(path: Path, function: str, modulus: int) -> str:
    """Return the operation of a config's `funcs`, such as `lambda x: (x[0]+x[1])%59`; read, never executed."""
    match = re.fullmatch(r"lambdax:\(x\[0\]([-+*])x\[1\]\)%(\d+)", function.replace(" ", ""))
    if not match or int(match[2]) != modulus:
        raise SltGrokError(
            f"{path}: expected funcs to be (x[0] + x[1]) % {modulus}, or the same with - or *, got {function!r}"
        )
    return OPERATIONS[match[1]]
