"""Values of a stack of networks on all p^2 pairs, and their logits with something else in place of a part.

`Forward` goes through the network's own forward, for any model and under any intervention. `GridForward` is for the
one-layer transformer as it is: it computes on the grid (`slt_grok.models.transformer_grid`), and the logits with other
neurons from the sum L + (new - post) W_L, W_L = W_out W_U (2301.05217, section 4.2).
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from slt_grok import fourier
from slt_grok.circuits import neurons
from slt_grok.circuits.neurons import Lines
from slt_grok.models import Model, OneLayerTransformer
from slt_grok.models.network import Network
from slt_grok.models.transformer_grid import stacked_grid
from slt_grok.tasks import ModularTask

Values = dict[str, Tensor]


@dataclass(frozen=True)
class Forward:
    """Forward passes of N networks on all pairs of their task.

    Parameters
    ----------
    network, module, task : Network, Model, ModularTask
        What the networks have in common.
    stack : Values
        Their parameters in float64.
    """

    network: Network
    module: Model
    task: ModularTask
    stack: Values

    @staticmethod
    def of(network: Network, stack: Values) -> "Forward":
        """Return the quickest one for these networks."""
        module, task = network.module, network.task
        assert isinstance(module, Model)
        assert task is not None
        # a class derived from it may have another forward
        quick = type(module) is OneLayerTransformer and network.call is functional_call
        return (GridForward if quick else Forward)(network, module, task, stack)

    @cached_property
    def sites(self) -> Values:
        """Values on the grid.

        `neurons_pre` and `neurons_post` (N, p^2, width), `logits` (N, p^2, p), `neurons_read`, the product of
        `neurons_post` with W_L, (N, p^2, p), and where there is attention `attention_pattern` (N, p^2, head, key).
        """
        names = ("neurons_pre", "neurons_post", "logits", "attention_pattern")
        sites = self.network.stacked_sites(self.stack, self.task.inputs, *names)
        return {**sites, "neurons_read": sites["neurons_post"] @ self.module.neuron_logit_map(self.stack)}

    def with_embedding(self, table: Tensor) -> Tensor:
        """Logits (N, p^2, p) with these rows for the tokens of Z_p, (N, p, d), in their precision."""
        return self._with("embedding", table)

    def with_polynomials(self, lines: Lines, frequency: Tensor) -> Tensor:
        """Logits (N, p^2, p) with `neurons.polynomials` in place of the neurons, whose lines are given."""
        return self._with("neurons_post", neurons.polynomials(self.sites["neurons_post"], frequency))

    def with_pre(self, pre: Tensor) -> Tensor:
        """Logits (N, p^2, p) with these pre-activations, (N, p^2, width)."""
        return self._with("neurons_pre", pre)

    def _with(self, site: str, values: Tensor) -> Tensor:
        """Logits with other values (N, ...) at a site, in their precision; rows beyond them stay."""

        def forward(parameters: Values, new: Tensor) -> Tensor:
            def at(name: str, value: Tensor) -> Tensor:
                return torch.cat([new, value[len(new) :]]) if name == site else value

            return self.network.outputs(parameters, self.task.inputs, at=at)

        return vmap(forward)({name: tensor.to(values.dtype) for name, tensor in self.stack.items()}, values)


class GridForward(Forward):
    """The same for one-layer transformers without intervention, in a third of the time."""

    module: OneLayerTransformer  # pyright: ignore[reportIncompatibleVariableOverride]

    @cached_property
    def sites(self) -> Values:
        """As `Forward.sites`; of the attention pattern, that to a and to b."""
        names = ("neurons_pre", "neurons_post", "logits", "attention_pattern", "neurons_read")
        return stacked_grid(self.stack, names, self.module.activation, self.module.attention_rate)

    def with_embedding(self, table: Tensor) -> Tensor:
        """See `Forward`."""
        stack = {name: tensor.to(table.dtype) for name, tensor in self.stack.items()}
        stack["W_E"] = torch.cat([table, stack["W_E"][:, table.shape[1] :]], 1)
        return stacked_grid(stack, ["logits"], self.module.activation, self.module.attention_rate)["logits"]

    def with_polynomials(self, lines: Lines, frequency: Tensor) -> Tensor:
        """See `Forward`; waves of a, b, a + b and a - b are read out before they are looked up for the pairs."""
        p, to_logits = self.task.modulus, self.module.neuron_logit_map(self.stack)
        of_a, of_b, of_sum, of_difference = (lines.waves(frequency) @ to_logits[:, None]).unbind(1)
        both = of_a[:, :, None] + (of_b + lines.mean[:, None] @ to_logits)[:, None]
        logits = both.flatten(1, 2) + self._direct
        return logits.add_(of_sum[:, fourier.grid_sum(p)]).add_(of_difference[:, fourier.grid_sum(p, -1)])

    def with_pre(self, pre: Tensor) -> Tensor:
        """See `Forward`."""
        to_logits = self.module.neuron_logit_map(self.stack)
        return torch.baddbmm(self._direct, self.module.activation(pre), to_logits)

    @cached_property
    def _direct(self) -> Tensor:
        """What does not go through the neurons, (N, p^2, p)."""
        return self.sites["logits"] - self.sites["neurons_read"]
