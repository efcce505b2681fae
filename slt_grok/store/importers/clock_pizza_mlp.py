"""The linear models in the appendix of Zhong et al. 2306.17844, as written by their code.

| code | paper | logits (L3, or L2 with one hidden layer, is `unembed`) | our model |
|---|---|---|---|
| A | alpha | L2 relu L1(x1 + x2) | mlp, sum |
| B | beta | L3 relu L2 relu L1(x1 + x2) | deep_mlp |
| C | gamma | L3 relu L2 relu(L1 x1 + L1 x2), with the bias of L1 counted twice | deep_mlp, bias_per_token |
| D | delta | L2 relu L1[x1; x2] | mlp, concatenation |
| X | alpha' | L2 relu L1(x1 + y2), with a separate embedding of the second token | mlp, sum, separate_embeddings |
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from slt_grok.errors import SltGrokError
from slt_grok.store.importers.source import SourceFile

EMBED, FIRST = {"embed.weight": "p d_embed"}, {"l1.weight": "d_mlp d_embed", "l1.bias": "d_mlp"}
ONE_LAYER = {**FIRST, "unembed.weight": "p d_mlp"}
TWO_LAYERS = {**EMBED, **FIRST, "l2.weight": "d_second d_mlp", "l2.bias": "d_second", "unembed.weight": "p d_second"}
LAYOUTS = {
    "A": {**EMBED, **ONE_LAYER},
    "B": TWO_LAYERS,
    "C": TWO_LAYERS,
    "D": {**EMBED, **ONE_LAYER, "l1.weight": "d_mlp 2*d_embed"},
    "X": {"embed1.weight": "p d_embed", "embed2.weight": "p d_embed", **ONE_LAYER},
}


def is_linear(state: Mapping[str, Any]) -> bool:
    """Check whether a state dict is that of a linear model; one tensor may be missing, to be named in an error."""
    return len({"l1.weight", "l1.bias", "unembed.weight"} & set(state)) > 1


def linear_model_in(
    file: SourceFile, state: Mapping[str, Tensor], config_path: Path, letter: Any, p: int
) -> tuple[int, dict[str, Any], dict[str, Tensor]]:
    """Get p from the weights, model settings and parameters; `letter` is the config's `model_type`, `p` its C.

    Raises
    ------
    SltGrokError
        The letter is unknown, or a tensor is missing, unknown, of the wrong shape or not finite.
    """
    if letter not in LAYOUTS:
        raise SltGrokError(f"{config_path}: expected model_type to be one of {', '.join(LAYOUTS)}, got {letter!r}")
    size = file.sizes(state, LAYOUTS[letter], known={"p": p})
    settings: dict[str, Any] = {"d_embed": size["d_embed"], "d_mlp": size["d_mlp"], "activation": "relu"}
    first, shared = state["l1.weight"].T, {"W_U": state["unembed.weight"].T}
    shared |= {"W_E": state["embed.weight"]} if "embed.weight" in state else {}
    if letter in ("B", "C"):
        settings |= {"kind": "deep_mlp", "d_second": size["d_second"], "bias_per_token": letter == "C"}
        second = {"W_2": state["l2.weight"].T, "b_2": state["l2.bias"]}
        return size["p"], settings, {**shared, "W_1": first, "b_1": state["l1.bias"], **second}
    combine = "concatenation" if letter == "D" else "sum"
    settings |= {"kind": "mlp", "combine": combine, "separate_embeddings": letter == "X"}
    if letter == "X":
        shared |= {"W_E_left": state["embed1.weight"], "W_E_right": state["embed2.weight"]}
    names = ("W_left", "W_right") if letter == "D" else ("W_in",)
    maps = dict(zip(names, first.chunk(len(names)), strict=True))
    return size["p"], settings, {**shared, **maps, "b_in": state["l1.bias"]}
