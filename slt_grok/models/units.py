"""The interchangeable units of a model: neurons, attention heads, dimensions of the embedding or residual stream.

A unit is a place along one axis of each of several parameters. Units of a group have no order: the same permutation of
all these axes changes nothing that the network computes.
"""

from collections.abc import Mapping

from torch import nn

from slt_grok.errors import SltGrokError
from slt_grok.models.deep_mlp import DeepMLP
from slt_grok.models.deep_transformer import DeepTransformer
from slt_grok.models.mlp import EmbeddingMLP
from slt_grok.models.quadratic import QuadraticNetwork
from slt_grok.models.transformer import OneLayerTransformer

Groups = Mapping[str, Mapping[str, int]]  # units -> parameter -> the axis that runs over them, counted from the end

SITE = "neurons_post"  # a group of this name is the site whose values are the neurons' activations


def unit_groups(module: nn.Module) -> dict[str, dict[str, int]]:
    """Return the groups of interchangeable units of a model: units -> {parameter: its axis over them}.

    The groups with weights into the tokens' own rows come first, since tokens and answers have an order of their own
    that the matching can start from.

    Raises
    ------
    SltGrokError
        A module that is none of slt_grok.models with named weights.
    """
    match module:
        case OneLayerTransformer():
            return _stream([""]) | _block("", "")
        case DeepTransformer():
            layers = range(len(module.blocks))
            groups = _stream([f"blocks.{i}." for i in layers])
            for i in layers:
                groups |= _block(f"blocks.{i}.", f".{i}")
            return groups
        case EmbeddingMLP():
            into = dict.fromkeys((*module.inputs, *module.biases), -1)
            tables, maps = module.embeddings, module.inputs
            if len(tables) == len(maps) == 2:
                embeddings = {f"embedding.{i}": {tables[i]: -1, maps[i]: -2} for i in (0, 1)}
            else:
                embeddings = {"embedding": dict.fromkeys(tables, -1) | dict.fromkeys(maps, -2)}
            return embeddings | {SITE: into | {"W_U": -2}}
        case DeepMLP():
            return {
                "embedding": {"W_E": -1, "W_1": -2},
                SITE: {"W_1": -1, "b_1": -1, "W_2": -2},
                f"{SITE}.1": {"W_2": -1, "b_2": -1, "W_U": -2},
            }
        case QuadraticNetwork():
            return {SITE: {"U": -1, "V": -1, "W": -2}}
    raise SltGrokError(f"units: expected a model of slt_grok.models whose units are known, got {type(module).__name__}")


def _stream(prefixes: list[str]) -> dict[str, dict[str, int]]:
    axes = {"W_E": -1, "W_pos": -1, "W_U": -2}
    for prefix in prefixes:
        axes |= {prefix + name: -2 for name in ("W_Q", "W_K", "W_V", "W_in")}
        axes |= {prefix + name: -1 for name in ("W_O", "W_out", "b_out")}
    return {"residual_stream": axes}


def _block(prefix: str, suffix: str) -> dict[str, dict[str, int]]:
    heads = {prefix + name: -3 for name in ("W_Q", "W_K", "W_V", "W_O")}
    neurons = {prefix + "W_in": -1, prefix + "b_in": -1, prefix + "W_out": -2}
    return {f"heads{suffix}": heads, f"{SITE}{suffix}": neurons}
