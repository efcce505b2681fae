"""Values of a stack of networks on all samples, and their logits with one part replaced.

`Forward` uses the network's own forward pass, for any model and under any intervention. `GridForward` is for models
that declare `stacked_grid` and are not under an intervention: it computes on the grid of all pairs, and gets the logits
for other neurons from the sum L + (new - post) W_L, W_L = W_out W_U (2301.05217, section 4.2).
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from slt_grok.circuits import neurons
from slt_grok.circuits.neurons import Lines
from slt_grok.models import Model, Network
from slt_grok.models.network import TRIAL
from slt_grok.tasks import Task

Values = dict[str, Tensor]
SITES = ("neurons_pre", "neurons_post", "logits", "attention_pattern")


@dataclass(frozen=True)
class Forward:
    """Forward passes of N networks on all samples of their task.

    Parameters
    ----------
    network, module, task : Network, Model, Task
        What the networks share.
    stack : Values
        Their parameters in float64.
    """

    network: Network
    module: Model
    task: Task
    stack: Values

    @cached_property
    def to_logits(self) -> Tensor:
        """Neuron-logit map W_L, (N, width, classes)."""
        return self.module.neuron_logit_map(self.stack)

    @cached_property
    def sites(self) -> Values:
        """Values at the sites that the model declares.

        `neurons_pre` and `neurons_post` (N, n^2, width), `logits` (N, n^2, classes), `neurons_read`, the product of
        `neurons_post` with W_L, (N, n^2, classes), and `attention_pattern` (N, n^2, head, key).
        """
        sites = self.network.stacked_sites(self.stack, self.task.inputs, *SITES)
        if "neurons_post" in sites and self.module.declares("neuron_logit_map"):
            sites["neurons_read"] = sites["neurons_post"] @ self.to_logits
        return sites

    def with_embedding(self, table: Tensor) -> Tensor:
        """Compute the logits with these rows for the tokens, (N, n, d), at their precision."""
        return self._with("embedding", table)

    def with_polynomials(self, lines: Lines, frequency: Tensor) -> Tensor:
        """Compute the logits with `neurons.polynomials` in place of the neurons, given their lines."""
        return self._with("neurons_post", neurons.polynomials(self.sites["neurons_post"], frequency))

    def with_pre(self, pre: Tensor) -> Tensor:
        """Compute the logits with these pre-activations, (N, n^2, width)."""
        return self._with("neurons_pre", pre)

    def _with(self, site: str, values: Tensor) -> Tensor:
        """Compute the logits with other values (N, ...) at a site, at their precision; further rows are unchanged."""

        def forward(parameters: Values, new: Tensor, inputs: Tensor) -> Tensor:
            def at(name: str, value: Tensor) -> Tensor:
                return torch.cat([new, value[len(new) :]]) if name == site else value

            return self.network.outputs(parameters, inputs, at=at)

        stack, inputs = {name: tensor.to(values.dtype) for name, tensor in self.stack.items()}, self.task.inputs
        few = stack, values[:, :TRIAL], inputs[:TRIAL]
        return self.network.mapped(forward, (0, 0, None), few, site)(stack, values, inputs)


class GridForward(Forward):
    """Forward passes of models with `stacked_grid` and no intervention, in a third of the time."""

    @cached_property
    def sites(self) -> Values:
        """As `Forward.sites`; the attention pattern covers a and b only."""
        return self.module.stacked_grid(self.stack, (*SITES, "neurons_read"))

    def with_embedding(self, table: Tensor) -> Tensor:
        """See `Forward`."""
        stack = {name: tensor.to(table.dtype) for name, tensor in self.stack.items()}
        name, _ = self.module.token_roles()["input"]
        stack[name] = torch.cat([table, stack[name][:, table.shape[1] :]], 1)
        return self.module.stacked_grid(stack, ["logits"])["logits"]

    def with_polynomials(self, lines: Lines, frequency: Tensor) -> Tensor:
        """See `Forward`; waves of a, b, a + b and a - b are mapped to logits before the lookup by pair."""
        group = self.task.group
        assert group is not None
        first, second, total, difference = (lines.waves(frequency) @ self.to_logits[:, None]).unbind(1)
        both = first[:, :, None] + (second + lines.mean[:, None] @ self.to_logits)[:, None]
        logits = both.flatten(1, 2) + self._direct
        return logits.add_(total[:, group.products()]).add_(difference[:, group.products(-1)])

    def with_pre(self, pre: Tensor) -> Tensor:
        """See `Forward`."""
        return torch.baddbmm(self._direct, self.module.activation(pre), self.to_logits)  # pyright: ignore[reportCallIssue]

    @cached_property
    def _direct(self) -> Tensor:
        """Part of the logits that bypasses the neurons, (N, n^2, classes)."""
        return self.sites["logits"] - self.sites["neurons_read"]
