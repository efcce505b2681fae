"""Accuracy, loss, and the norm of the weights."""

import torch
from torch import Tensor

from slt_grok.circuits.chunk import Chunk
from slt_grok.circuits.measure import NANDA, CircuitMeasure, loss
from slt_grok.measurement import Variable
from slt_grok.rules import ACCURACY, SHRINKING, Change


class Answers(CircuitMeasure):
    """Accuracy, loss and the norm of the weights."""

    name = "answers"
    needs = ("logits",)
    variables = {
        "accuracy": Variable(("split",), "accuracy", "fraction of pairs whose largest logit is the label's", NANDA),
        "loss": loss("loss", "mean over the pairs of -log softmax(L)[label]", NANDA),
        "sum_of_squared_weights": Variable((), "sum of squared weights",
            "sum of w^2 over all parameters, the embedding of '=' among them; its unembedding is not a parameter",
            f"{NANDA}, section 5.1", change=Change(SHRINKING, color="sky", marker="<", place=10)),
    }  # fmt: skip

    def compute(self, chunk: Chunk) -> dict[str, Tensor]:
        """See `CircuitMeasure`."""
        logits = chunk.sites["logits"]
        squares = torch.stack([weights.flatten(1).square().sum(-1) for weights in chunk.stack.values()])
        return {
            "accuracy": chunk.accuracies(logits),
            "loss": chunk.losses(logits),
            "sum_of_squared_weights": squares.sum(0),
        }


class Unmirrored(CircuitMeasure):
    """Test accuracy on pairs whose mirror image is not in the train set."""

    name = "unmirrored"
    needs = ("logits", "group")
    variables = {
        "unmirrored_test_accuracy": Variable((), "test accuracy on unmirrored pairs",
            "fraction of the test pairs (a, b) with (b, a) not in the train set whose largest logit is the label's; a "
            "network that treats both tokens alike answers the other test pairs once their mirror is memorized",
            change=Change(ACCURACY, "unmirrored test accuracy", "orange", "p", place=13)),
    }  # fmt: skip

    def compute(self, chunk: Chunk) -> dict[str, Tensor]:
        """See `CircuitMeasure`."""
        n, right = chunk.group.order, chunk.sites["logits"].argmax(-1) == chunk.task.labels
        trained = torch.zeros(n, n, dtype=torch.bool)
        trained.view(-1)[chunk.task.indices("train")] = True
        rows = (~trained & ~trained.T).flatten()
        return {"unmirrored_test_accuracy": right[:, rows].double().mean(-1)}
