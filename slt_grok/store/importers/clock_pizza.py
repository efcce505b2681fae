"""Files from the code of Zhong et al. 2306.17844: transformers with an attention rate on [a, b], and linear models.

A network is `model_ID.pt`, a plain state dict, next to `config_ID.json`; `model_ID_STEP.pt` if there are several steps.
With `diff_vocab`, a and b have separate embeddings: columns 0..p - 1 and p..2p - 1 of W_E. Attention has no mask,
whatever the config's `attention_dir` says, since the code does not use it. The train set was drawn by an unseeded
generator and is not stored. The code of the linear models only knows addition.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.store.files import read_json
from slt_grok.store.importers.clock_pizza_mlp import is_linear, linear_model_in
from slt_grok.store.importers.imported import Imported
from slt_grok.store.importers.importer import Importer, run_name
from slt_grok.store.importers.source import SourceFile, known_activation, number, whole
from slt_grok.store.importers.transformers import layout_of, transformer_in

OPERATIONS = {"+": "addition", "-": "subtraction", "*": "multiplication"}
SETTINGS = {"learning_rate": "lr", "weight_decay": "weight_decay", "train_fraction": "frac", "steps": "epoch"}


class ClockPizza(Importer):
    """Files of the code of 2306.17844: transformers of any depth on [a, b] and linear models, with config JSON."""

    name = "clock_pizza"
    layout = "a transformer on the two tokens [a, b], or a linear model with l1 and unembed"

    def recognizes(self, file: SourceFile) -> bool:
        """Check for a linear model, or for transformer weights on two positions or next to a config."""
        layout, positions = layout_of(file.state)
        transformer = layout == "own_code" and (positions == 2 or _config_path(file.path)[0].is_file())
        return transformer or is_linear(file.state)

    def convert(self, file: SourceFile) -> Imported:
        """Convert the network in the file, with the settings of the config next to it."""
        config_path, step_in_name = _config_path(file.path)
        stored = read_json(config_path)
        if not isinstance(stored, Mapping):
            raise SltGrokError(f"{config_path}: expected a table of settings")
        state = dict(file.state)
        linear = is_linear(state)
        for key in ("C", "model_type") if linear else ("C", "attn_coeff", "funcs"):
            if key not in stored:
                raise SltGrokError(f"{config_path}: expected a key {key}, but it is missing")
        try:
            p, rate = int(stored["C"]), float(stored.get("attn_coeff", 1))
        except (TypeError, ValueError, OverflowError) as error:
            raise SltGrokError(f"{config_path}: expected numbers for C and attn_coeff") from error
        operation = "addition" if linear else _operation(config_path, str(stored["funcs"]), p)
        if linear:
            in_weights, model, parameters = linear_model_in(file, state, config_path, stored["model_type"], p)
        else:
            in_weights, model, parameters = _transformer(file, state, config_path, stored, rate)
        if in_weights != p:
            raise file.error(f"expected weights for C = {p} as stated in {config_path.name}, got {in_weights}")
        step = step_in_name if step_in_name is not None else stored.get("epoch")
        part = f"{100 * number(config_path, 'frac', stored['frac']):g}%" if "frac" in stored else "part"
        return Imported(
            path=file.path,
            format=self.name,
            config={
                "name": run_name(str(stored.get("runid", file.path.stem))),
                "task": {"modulus": p, "operation": operation, "train_fraction": 1.0},
                "model": model,
            },
            step=None if step is None else whole(config_path, "epoch", step),
            parameters=parameters,
            settings={ours: stored[theirs] for ours, theirs in SETTINGS.items() if theirs in stored},
            notes=[
                f"The {part} of the pairs used for training was drawn by an unseeded generator and is not in the file: "
                f"all pairs are taken as the train set, and there is no test set."
            ],
        )


def _transformer(
    file: SourceFile, state: dict[str, Tensor], config_path: Path, stored: Mapping[str, Any], rate: float
) -> tuple[int, dict[str, Any], dict[str, Tensor]]:
    separate, layers = bool(stored.get("diff_vocab")), stored.get("n_layers", 1)
    unsupported = ("eqn_sign", "use_linear", *(["diff_vocab"] if layers != 1 else []))
    for key in unsupported:
        if stored.get(key):
            raise SltGrokError(
                f"{config_path}: expected {key} to be off, the only supported setting for {layers} layers, "
                f"got {stored[key]}"
            )
    activation = known_activation(config_path, stored.get("act_fn", "ReLU"))
    tokens = int(stored["C"]) * (1 + separate)
    p, model, parameters = transformer_in(file, state, "own_code", activation, rate, 2, tokens, separate)
    depth = model.get("n_layers", 1)
    if layers != depth:
        raise file.error(f"expected {layers} layers as stated in {config_path.name}, the weights have {depth}")
    return p, model, parameters


def _config_path(path: Path) -> tuple[Path, int | None]:
    """Find the config of a file, and the step in the file's name."""
    identity = path.stem.removeprefix("model_")
    config = path.with_name(f"config_{identity}.json")
    numbered = re.fullmatch(r"(.+)_(\d+)", identity)
    if config.is_file() or not numbered:
        return config, None
    return path.with_name(f"config_{numbered[1]}.json"), int(numbered[2])


def _operation(path: Path, function: str, p: int) -> str:
    """Parse the operation in a config's `funcs`, such as `lambda x: (x[0]+x[1])%59`, without executing it."""
    match = re.fullmatch(r"lambdax:\(x\[0\]([-+*])x\[1\]\)%(\d+)", function.replace(" ", ""))
    if not match or int(match[2]) != p:
        raise SltGrokError(
            f"{path}: expected funcs to be (x[0] + x[1]) % {p}, or the same with - or *, got {function!r}"
        )
    return OPERATIONS[match[1]]
