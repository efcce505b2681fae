"""Convert transformers of any depth from the two layouts found in files to this package's.

`own_code` is the layout of the code of Nanda et al. 2301.05217, adopted by Zhong et al. 2306.17844, in which weights
multiply from the left. `transformer_lens` is that of the TransformerLens library; its weights multiply from the right,
as in this package.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from slt_grok.store.importers.source import SourceFile

Layout = Literal["own_code", "transformer_lens"]

SHARED = {"pos_embed.W_pos": "context d_model"}
SHARED_BLOCK = {"mlp.b_in": "d_mlp", "mlp.b_out": "d_model"}
NETWORK = {
    "own_code": {"embed.W_E": "d_model vocabulary", **SHARED, "unembed.W_U": "d_model vocabulary"},
    "transformer_lens": {"embed.W_E": "vocabulary d_model", **SHARED, "unembed.W_U": "d_model answers"},
}
BLOCK = {
    "own_code": {
        **dict.fromkeys(("attn.W_Q", "attn.W_K", "attn.W_V"), "head d_head d_model"),
        "attn.W_O": "d_model head*d_head",
        "mlp.W_in": "d_mlp d_model",
        "mlp.W_out": "d_model d_mlp",
        **SHARED_BLOCK,
    },
    "transformer_lens": {
        **dict.fromkeys(("attn.W_Q", "attn.W_K", "attn.W_V"), "head d_model d_head"),
        "attn.W_O": "head d_head d_model",
        "mlp.W_in": "d_model d_mlp",
        "mlp.W_out": "d_mlp d_model",
        **SHARED_BLOCK,
    },
}
NO_WEIGHTS = ("attn.mask", "attn.IGNORE")  # constant buffers


def layout_of(state: Mapping[str, Any]) -> tuple[Layout | None, int | None]:
    """Determine the layout of a transformer's state dict and its number of positions; None for what is undetermined.

    Most of the names have to be there; the missing ones are named in an error later. TransformerLens has biases of
    attention and unembedding, and a head axis in W_O, as in W_Q.
    """
    names = [*NETWORK["own_code"], *(f"blocks.0.{name}" for name in BLOCK["own_code"])]
    if 2 * sum(name in state for name in names) <= len(names):
        return None, None
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items() if isinstance(tensor, Tensor)}
    query, out = (shapes.get(f"blocks.0.attn.{name}", ()) for name in ("W_Q", "W_O"))
    by_heads = len(query) == len(out) == 3 and query[:1] == out[:1]
    lens = by_heads or "blocks.0.attn.b_Q" in state or "unembed.b_U" in state
    positions = shapes.get("pos_embed.W_pos", ())
    return "transformer_lens" if lens else "own_code", positions[0] if len(positions) == 2 else None


def transformer_in(
    file: SourceFile,
    state: Mapping[str, Tensor],
    layout: Layout,
    activation: str,
    attention_rate: float = 1.0,
    positions: int | None = None,
    vocabulary: int | None = None,
    separate: bool = False,
) -> tuple[int, dict[str, Any], dict[str, Tensor]]:
    """Get p, model settings and parameters of a transformer on [a, b, =] or [a, b].

    With three positions, the last row of W_E is the '=' token. Only the p number classes of W_U are kept.

    Parameters
    ----------
    file : SourceFile
        The file.
    state, layout : mapping of str to Tensor, str
        The file's tensors and their layout.
    activation, attention_rate : str, float
        Activation and attention rate of the network.
    positions : int, optional
        Required number of positions; 2 or 3 by default.
    vocabulary : int, optional
        Number of tokens according to a config.
    separate : bool, optional
        Whether a and b have separate tokens: those of b are the second half of the rows of W_E.

    Raises
    ------
    SltGrokError
        A tensor is missing, unknown, of the wrong shape or not finite, or the answers are not those of p.
    """
    depth = 1 + max((int(m[1]) for name in state if (m := re.match(r"blocks\.(\d+)\.", name))), default=0)
    blocks = {f"blocks.{i}.{name}": axes for i in range(depth) for name, axes in BLOCK[layout].items()}
    ignored = [f"blocks.{i}.{name}" for i in range(depth) for name in NO_WEIGHTS]
    known = {} if vocabulary is None else {"vocabulary": vocabulary}
    size = file.sizes(state, NETWORK[layout] | blocks, ignored, known)
    if size["context"] not in ((2, 3) if positions is None else (positions,)):
        expected = {None: "2 positions [a, b] or 3 [a, b, =]", 2: "2 positions [a, b]", 3: "3 positions [a, b, =]"}
        raise file.error(f"expected pos_embed.W_pos for {expected[positions]}, got {size['context']}")
    p = size["vocabulary"] // 2 if separate else size["vocabulary"] - (size["context"] == 3)
    answers = size.get("answers", size["vocabulary"])
    if separate and size["vocabulary"] % 2:
        raise file.error(f"expected embed.W_E with as many tokens for a as for b, got {size['vocabulary']} together")
    if answers not in (p, size["vocabulary"]):
        raise file.error(f"expected unembed.W_U with the {p} answers that embed.W_E has tokens for, got {answers}")
    settings = {
        "kind": "transformer",
        "d_model": size["d_model"],
        "n_heads": size["head"],
        "d_mlp": size["d_mlp"],
        "activation": activation,
        "layout": "a_b_equals" if size["context"] == 3 else "a_b",
        "attention_rate": attention_rate,
    }
    if size["head"] * size["d_head"] != size["d_model"]:
        settings["d_head"] = size["d_head"]
    if separate:
        settings["separate_embeddings"] = True
    if depth > 1:
        settings |= {"kind": "deep_transformer", "n_layers": depth}
    embedding = state["embed.W_E"].T if layout == "own_code" else state["embed.W_E"]
    tables = {"W_E_left": embedding[:p], "W_E_right": embedding[p:]} if separate else {"W_E": embedding}
    parameters = {**tables, "W_pos": state["pos_embed.W_pos"], "W_U": state["unembed.W_U"][:, :p]}
    for i in range(depth):
        for name in BLOCK[layout]:
            tensor = state[f"blocks.{i}.{name}"]
            if layout == "own_code":
                if name == "attn.W_O":
                    tensor = tensor.T.unflatten(0, (size["head"], size["d_head"]))
                elif tensor.ndim > 1:
                    tensor = tensor.mT
            parameters[("" if depth == 1 else f"blocks.{i}.") + name.split(".")[1]] = tensor
    return p, settings, parameters


def is_causal(file: SourceFile, state: Mapping[str, Tensor]) -> bool:
    """Check whether the masks let a position see only itself and earlier ones; True without masks.

    Raises
    ------
    SltGrokError
        A mask is neither causal nor all ones.
    """
    causal = []
    for name, mask in state.items():
        if re.fullmatch(r"blocks\.\d+\.attn\.mask", name):
            if mask.ndim != 2:
                raise file.error(f"expected {name} with 2 dimensions, got shape {tuple(mask.shape)}")
            everywhere = torch.ones(mask.shape)
            causal.append(torch.equal(mask.float(), everywhere.tril()))
            if not causal[-1] and not torch.equal(mask.float(), everywhere):
                raise file.error(f"expected {name} to be causal or all ones, but it is neither")
    return any(causal) or not causal
