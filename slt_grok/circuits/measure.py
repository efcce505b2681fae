"""Interface of a circuit measure: variables, their definitions, and their computation from one forward pass.

A named subclass, in any module of this folder or in a plugin, adds its variables to the dataset `circuits`.

>>> class LogitSpread(CircuitMeasure):
...     name = "logit_spread"
...     needs = ("logits",)
...     variables = {"logit_spread": Variable((), "spread of the logits", "standard deviation over all n^3 logits")}
...     def compute(self, chunk):
...         return {"logit_spread": chunk.sites["logits"].flatten(1).std(-1, correction=0)}
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from slt_grok.groups import CyclicGroup
from slt_grok.measurement import Variable
from slt_grok.models import Network
from slt_grok.registry import Registered

if TYPE_CHECKING:
    from slt_grok.circuits.chunk import Chunk

NANDA = "Nanda et al. 2301.05217"
ZHONG = "Zhong et al. 2306.17844"
SUM = "s = a + b (a - b for subtraction)"
PLANES = (
    "S_k the functions of the product s = a b (a + b on Z_n; a b^-1 and a - b for subtraction) in the plane of "
    "representation k, on Z_n the span of cos w_k s and sin w_k s"
)

ON_TASK = {
    "group": (lambda task: task.group is not None, "a task whose tokens form a group"),
    "cyclic": (lambda task: isinstance(task.group, CyclicGroup), "a task on a cyclic group Z_n"),
    "odd_prime": (
        lambda task: isinstance(task.group, CyclicGroup) and task.group.is_odd_prime,
        "a task on Z_p with p an odd prime",
    ),
}


def lacks(network: Network, needs: Sequence[str]) -> str:
    """State what else a network would need; empty if it has everything required."""
    if network.task is None:
        return "a task"
    for need in needs:
        if need in ON_TASK:
            holds, words = ON_TASK[need]
            if not holds(network.task):
                return words
        elif not network.declares(need):
            return f"a model that declares {need}"
    return ""


class CircuitMeasure(Registered, ABC):
    """Some variables of the circuits dataset, with their computation."""

    packages: ClassVar[tuple[str, ...]] = ("circuits",)
    needs: ClassVar[tuple[str, ...]] = ()
    """Requirements on the task (`group`, `cyclic`, `odd_prime`), and sites that a model must declare."""
    after: ClassVar[tuple[str, ...]] = ()
    """Names of measures whose variables `compute` reads from `chunk.values`."""
    variables: ClassVar[Mapping[str, Variable]] = {}
    """Every variable that `compute` returns, with its dimensions in addition to the trajectory's."""
    coords: ClassVar[Mapping[str, Sequence[str | int]]] = {}
    """Coordinate values of these dimensions, if any, except for `frequency` and `split`."""

    @abstractmethod
    def compute(self, chunk: "Chunk") -> dict[str, Tensor]:
        """Compute the variables, (N, ...) each, for the N networks of a chunk."""

    @classmethod
    def in_order(cls) -> "list[type[CircuitMeasure]]":
        """List all measures, each after those it reads from."""
        graph = {kind.name: kind.after for kind in cls.all()}
        return [cls.find(name) for name in TopologicalSorter(graph).static_order()]


def loss(long_name: str, definition: str, source: str) -> Variable:
    """Declare a loss on train, test and all pairs."""
    return Variable(("split",), long_name, definition, source, "nats")


def accuracy(long_name: str, definition: str, source: str) -> Variable:
    """Declare an accuracy on train, test and all pairs."""
    return Variable(
        ("split",), long_name, f"fraction of pairs whose largest logit is the label's, {definition}", source
    )
