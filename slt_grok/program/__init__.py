"""From a network to a program: formulas read from weights, checked on every pair, written as a Python file.

>>> reading = program.read(networks.isel(step=[-1], seed=[0]))
>>> ideal = program.clock(reading)                 # sum_k alpha_k cos w_k(a + b - c)
>>> ideal.answer(a, b)
>>> program.match(reading, ideal)                  # agreement with the network, and the variance it does not explain
>>> program.extract(reading)                       # the shortest program, or that there is none
>>> program.measure(networks)                      # every level of every checkpoint
"""

from slt_grok.program.certification import certificate
from slt_grok.program.extraction import Extraction, extract, match
from slt_grok.program.length import codes, program_bits, rounded, table_bits
from slt_grok.program.levels import clock, neurons, pizza
from slt_grok.program.measurement import measure
from slt_grok.program.program import Table
from slt_grok.program.reading import Reading, read
from slt_grok.program.tokens import Tokens, pairs
from slt_grok.program.writing import write

__all__ = [
    "Extraction",
    "Reading",
    "Table",
    "Tokens",
    "certificate",
    "clock",
    "codes",
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
    "write",
]
