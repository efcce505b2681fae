"""The Fourier circuit over training: every published measure of it, in one dataset with formulas and sources.

Spectra, key frequencies, restricted and excluded losses (`progress`, `spectrum`), clusters and phases of neurons
(`neurons`, `phases`, `geometry`), attention heads (`attention`), clock and pizza (`clock_pizza`,
`gradient_symmetricity`), margins (`margins`). `maps.measure` computes what papers usually plot of a circuit.

>>> from slt_grok import circuits, trajectory
>>> networks = trajectory("runs/quickstart")
>>> circuits.measure(networks).restricted_loss_sum.sel(split="test")
>>> circuits.null(networks).neuron_share          # the same without Fourier structure
"""

from slt_grok.circuits.measurement import circuit_neurons, key_frequencies, measure
from slt_grok.circuits.null import null

__all__ = ["circuit_neurons", "key_frequencies", "measure", "null"]
