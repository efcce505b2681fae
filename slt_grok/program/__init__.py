"""From a network to a program: formulas read from weights, checked on every pair, written as a Python file.

>>> reading = program.read(networks.isel(step=[-1], seed=[0]))
>>> ideal = program.clock(reading)                 # sum_k alpha_k cos w_k(a + b - c)
>>> ideal.answer(a, b)
>>> program.verify(reading, ideal)                 # against the network on all pairs
>>> program.extract(reading)                       # the shortest program, or that there is none
>>> program.measure(networks)                      # every level of every checkpoint
"""

from slt_grok.program.certification import certificate
from slt_grok.program.codes import Code, codes
from slt_grok.program.compression import Compressed, compress
from slt_grok.program.extraction import Extraction, Match, extract, match
from slt_grok.program.length import program_bits, rounded, table_bits
from slt_grok.program.measurement import measure
from slt_grok.program.neuron_level import neurons
from slt_grok.program.program import Neurons, Program, Rotations, pairs
from slt_grok.program.reading import Reading, read
from slt_grok.program.rotations import clock, pizza
from slt_grok.program.table import Table
from slt_grok.program.tokens import Tokens
from slt_grok.program.verification import controls, untrained_like, verify, verify_levels
from slt_grok.program.writing import write

__all__ = [
    "Code",
    "Compressed",
    "Extraction",
    "Match",
    "Neurons",
    "Program",
    "Reading",
    "Rotations",
    "Table",
    "Tokens",
    "certificate",
    "clock",
    "codes",
    "compress",
    "controls",
    "extract",
    "match",
    "measure",
    "neurons",
    "pairs",
    "pizza",
    "program_bits",
    "read",
    "rounded",
    "table_bits",
    "untrained_like",
    "verify",
    "verify_levels",
    "write",
]
