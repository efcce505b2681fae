"""The MLP of devinterp's grokking notebook (after Panickssery and Vaintrob): gelu(L1l E_a + L1r E_b) L2.

A file is a state dict with `embedding`, `linear1l`, `linear1r` and `linear2`, or a dict that holds it under `model` (or
`state_dict`) and may also have `params` (the notebook's `p`, `train_frac`, `random_seed`, ...), `step`, `train_loss`
and `test_loss`. The seed determines the train set: the notebook makes a set of all pairs, shuffles the indices of its
elements with `random.seed(random_seed)`, and takes the first int(train_frac p^2).
"""

import random
from collections.abc import Mapping
from typing import Any

from slt_grok.store.importers.curves import curves_in
from slt_grok.store.importers.imported import Imported
from slt_grok.store.importers.importer import Importer, run_name, task_in
from slt_grok.store.importers.source import SourceFile, whole
from slt_grok.store.importers.splits import listed_split

LAYOUT = {
    "embedding.weight": "p d_embed",
    "linear1l.weight": "d_mlp d_embed",
    "linear1l.bias": "d_mlp",
    "linear1r.weight": "d_mlp d_embed",
    "linear1r.bias": "d_mlp",
    "linear2.weight": "p d_mlp",
}


class DevinterpMLP(Importer):
    """The MLP of devinterp's grokking notebook."""

    name = "devinterp_mlp"
    layout = "a state dict with linear1l and linear1r"

    def recognizes(self, file: SourceFile) -> bool:
        """Check for either of the first layer's maps; the other may be missing, to be named in an error."""
        return bool({"linear1l.weight", "linear1r.weight"} & set(file.state))

    def convert(self, file: SourceFile) -> Imported:
        """Convert the network; an unembedding that is tied to the embedding is an error."""
        state = file.state
        embedding, last = state.get("embedding.weight"), state.get("linear2.weight")
        if embedding is not None and last is not None and len(last) == embedding.shape[-1] != len(embedding):
            raise file.error("expected linear2.weight with one row per answer; a tied unembedding is not supported")
        params = file.extras.get("params", file.extras.get("config"))
        params = params if isinstance(params, Mapping) else {}
        known = {"p": whole(file.path, "p", params["p"])} if "p" in params else {}
        bias = {"linear2.bias": "p"} if "linear2.bias" in state else {}
        size = file.sizes(state, LAYOUT | bias, known=known)
        p = size["p"]
        if known.get("p", p) != p:
            raise file.error(f"expected weights for p = {known['p']} as stated in its params, got p = {p}")
        parameters = {
            "W_E": state["embedding.weight"],
            "W_left": state["linear1l.weight"].T,
            "W_right": state["linear1r.weight"].T,
            "b_left": state["linear1l.bias"],
            "b_right": state["linear1r.bias"],
            "W_U": state["linear2.weight"].T,
            **({"b_U": state["linear2.bias"]} if bias else {}),
        }
        model = {
            "kind": "mlp",
            "d_embed": size["d_embed"],
            "d_mlp": size["d_mlp"],
            "combine": "concatenation",
            "activation": "gelu",
            "output_bias": bool(bias),
            "bias_per_token": True,
        }
        notes = ["The file does not state the activation: gelu is assumed, as in the notebook."]
        has_split = {"random_seed", "train_frac"} <= set(params)
        if has_split:
            notes.append(f"The train set is the notebook's for random_seed {params['random_seed']}.")
        task, assumed = (_split(file, p, params), {}) if has_split else task_in(file, p, notes)
        config = {"name": run_name(file.path.stem), "task": task, "model": model}
        return Imported(
            file.path, self.name, config, file.step, parameters, curves_in(file, notes), assumed=assumed, notes=notes
        )


def _split(file: SourceFile, p: int, params: Mapping[str, Any]) -> dict[str, Any]:
    # a set of pairs of small integers has the same order in every CPython since 3.8, whatever the hash seed
    pairs = list({(a, b) for a in range(p) for b in range(p)})
    fraction = file.number("train_frac", params["train_frac"])
    if not 0 < fraction <= 1:
        raise file.error(f"expected train_frac to be above 0 and at most 1, got {fraction:g}")
    order = list(range(len(pairs)))
    random.Random(whole(file.path, "random_seed", params["random_seed"])).shuffle(order)
    train = [pairs[i] for i in order[: int(fraction * len(pairs))]]
    return {"modulus": p, "operation": "addition"} | listed_split(file.path, [a * p + b for a, b in train], p)
