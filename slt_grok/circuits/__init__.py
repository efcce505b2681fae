"""The Fourier circuit along training: spectra, key frequencies, neuron clusters, restricted and excluded losses.

>>> from slt_grok import circuits, trajectory
>>> networks = trajectory("runs/quickstart")
>>> circuits.measure(networks).restricted_loss_sum.sel(split="test")
>>> circuits.null(networks).neuron_share          # the same without Fourier structure
"""

from slt_grok.circuits.measurement import key_frequencies, measure, null

__all__ = ["key_frequencies", "measure", "null"]
