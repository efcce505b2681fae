"""The MLP of the grokking notebook of devinterp (after Panickssery and Vaintrob): gelu(L1l E_a + L1r E_b) L2.

A file is a state dict with `embedding`, `linear1l`, `linear1r` and `linear2`, or a dict with it under `model` (or
`state_dict`) and, where it was saved so, `params` (the notebook's `p`, `train_frac`, `random_seed`, ...), `step`,
`train_loss`, `test_loss`. With the seed comes the train set: the notebook makes a set of all pairs, shuffles the
numbers of its elements by `random.seed(random_seed)`, and takes the first int(train_frac p^2).
"""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from slt_grok.errors import SltGrokError
from slt_grok.store.importers.imported import (
    Imported,
    assumed_task,
    check_stored_losses,
    listed_split,
    number,
    number_in_name,
    run_name,
)
from slt_grok.store.importers.layouts import beside_state, contiguous, sizes, state_in, tensors_of

NAME = "devinterp_mlp"
LAYOUT = {
    "embedding.weight": "p d_embed",
    "linear1l.weight": "d_mlp d_embed",
    "linear1l.bias": "d_mlp",
    "linear1r.weight": "d_mlp d_embed",
    "linear1r.bias": "d_mlp",
    "linear2.weight": "p d_mlp",
}


def recognizes(path: Path, content: Any) -> bool:
    """Whether a file's content has this layout."""
    return bool({"linear1l.weight", "linear1r.weight"} & set(state_in(content)))  # one may be missing, to be named


def convert(path: Path, content: Any) -> Imported:
    """Return the network in a file's content.

    Raises
    ------
    SltGrokError
        Tensors that do not make such a network, or an unembedding that is tied to the embedding.
    """
    if not recognizes(path, content):
        raise SltGrokError(f"{path}: expected a state dict with linear1l and linear1r")
    state, beside = tensors_of(path, content), beside_state(content)
    embedding, last = state.get("embedding.weight"), state.get("linear2.weight")
    if embedding is not None and last is not None and len(last) == embedding.shape[-1] != len(embedding):
        raise SltGrokError(
            f"{path}: expected linear2.weight with a row for each answer; a tied unembedding is not known"
        )
    params = beside.get("params", beside.get("config"))
    params = params if isinstance(params, Mapping) else {}
    told = {"p": int(number(path, "p", params["p"]))} if "p" in params else {}
    layout = LAYOUT | ({"linear2.bias": "p"} if "linear2.bias" in state else {})
    size = sizes(path, state, layout, told=told)
    parameters = {
        "W_E": state["embedding.weight"],
        "W_left": state["linear1l.weight"].T,
        "W_right": state["linear1r.weight"].T,
        "b_left": state["linear1l.bias"],
        "b_right": state["linear1r.bias"],
        "W_U": state["linear2.weight"].T,
    }
    if "linear2.bias" in state:
        parameters["b_U"] = state["linear2.bias"]
    model = {
        "kind": "mlp",
        "d_embed": size["d_embed"],
        "d_mlp": size["d_mlp"],
        "combine": "concatenation",
        "activation": "gelu",
        "output_bias": "linear2.bias" in state,
        "bias_per_token": True,
    }
    notes = ["The file does not say the activation: gelu, the notebook's, is assumed."]
    known = {"random_seed", "train_frac"} <= set(params)
    if told.get("p", size["p"]) != size["p"]:
        raise SltGrokError(f"{path}: expected weights for p = {told['p']} as its params say, got p = {size['p']}")
    if known:
        task = {"modulus": size["p"], "operation": "addition"} | _split(path, size["p"], params)
        notes.append(f"The train set is the notebook's for random_seed {params['random_seed']}.")
    else:
        task = assumed_task(path, size["p"], beside, notes)
    step = beside.get("step", number_in_name(path))
    imported = Imported(
        path=path,
        format=NAME,
        config={"name": run_name(path.stem), "task": task, "model": model},
        step=None if step is None else int(number(path, "step", step)),
        parameters=contiguous(parameters),
        task_known=known,
        notes=notes,
    )
    check_stored_losses(imported, beside)
    return imported


def _split(path: Path, modulus: int, params: Mapping[str, Any]) -> dict[str, Any]:
    # the order of a set of pairs of small integers is the same in every CPython from 3.8 on, whatever the hash seed
    pairs = list({(a, b) for a in range(modulus) for b in range(modulus)})
    try:
        size = int(params["train_frac"] * len(pairs))
        order = list(range(len(pairs)))
        random.Random(params["random_seed"]).shuffle(order)
    except TypeError as error:
        raise SltGrokError(f"{path}: expected numbers for train_frac and random_seed") from error
    return listed_split(path, [pairs[i][0] * modulus + pairs[i][1] for i in order[:size]], modulus)
