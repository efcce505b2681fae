"""What a circuit measure is: numbers from one forward pass of a stack of networks, declared where they are computed.

A subclass with a `name`, in any module of this folder or of a plugin, adds its variables to the dataset `circuits`.

>>> class LogitSpread(CircuitMeasure):
...     name = "logit_spread"
...     needs = ("logits",)
...     variables = {"logit_spread": Variable((), "spread of the logits", "standard deviation over all n^3 logits")}
...     def compute(self, chunk):
...         return {"logit_spread": chunk.sites["logits"].flatten(1).std(-1, correction=0)}
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from slt_grok.groups import CyclicGroup
from slt_grok.measurement import Variable
from slt_grok.models import Network
from slt_grok.registry import Registered

if TYPE_CHECKING:
    from slt_grok.circuits.chunk import Chunk

ON_TASK = {
    "group": (lambda task: task.group is not None, "a task whose tokens form a group"),
    "cyclic": (lambda task: isinstance(task.group, CyclicGroup), "a task on a cyclic group Z_n"),
    "odd_prime": (
        lambda task: isinstance(task.group, CyclicGroup) and task.group.is_odd_prime,
        "a task on Z_p with p an odd prime",
    ),
}


class CircuitMeasure(Registered):
    """Some variables of the circuits' dataset and how they are computed."""

    packages: ClassVar[tuple[str, ...]] = ("circuits",)
    needs: ClassVar[tuple[str, ...]] = ()
    """What a task has to be (`group`, `cyclic`, `odd_prime`) and what a model has to declare, such as `neurons_post`."""
    variables: ClassVar[Mapping[str, Variable]] = {}
    """Every variable that `compute` returns, with its dimensions besides the trajectory's."""
    after: ClassVar[tuple[str, ...]] = ()
    """Names of measures whose variables `compute` reads from `chunk.values`."""

    @abstractmethod
    def compute(self, chunk: "Chunk") -> dict[str, Tensor]:
        """Return values (N, ...) of the variables for the N networks of a chunk."""

    def lacks(self, network: Network) -> str:
        """Return what a network would need to be measured; empty where it has everything."""
        if network.task is None:
            return "a task"
        for need in self.needs:
            if need in ON_TASK:
                holds, words = ON_TASK[need]
                if not holds(network.task):
                    return words
            elif not network.declares(need):
                return f"a model that declares {need}"
        return ""
