"""Names, dimensions, formulas and sources of the variables that `circuits.measure` gives."""

from slt_grok.circuits.variables.clock_pizza import CLOCK_PIZZA
from slt_grok.circuits.variables.geometry import GEOMETRY
from slt_grok.circuits.variables.neurons import NEURONS
from slt_grok.circuits.variables.progress import PROGRESS

VARIABLES = PROGRESS | NEURONS | CLOCK_PIZZA | GEOMETRY

__all__ = ["VARIABLES"]
