"""Figures: functions of datasets that return a matplotlib `Figure`."""

from slt_grok.plots.activation_grids import activation_grids
from slt_grok.plots.association import association, prediction
from slt_grok.plots.attribution import attribution
from slt_grok.plots.barriers import barrier_matrix, seed_barriers
from slt_grok.plots.baseline_comparison import baseline_comparison
from slt_grok.plots.causal import causal
from slt_grok.plots.clock_pizza_plane import clock_pizza_plane
from slt_grok.plots.confound import confound
from slt_grok.plots.description_length import description_length
from slt_grok.plots.dynamics import dynamics
from slt_grok.plots.embedding_circles import embedding_circles
from slt_grok.plots.event_raster import event_raster, lead_lag
from slt_grok.plots.explained_share import explained_share
from slt_grok.plots.finite_size import finite_size
from slt_grok.plots.free_energy import free_energies, tempering
from slt_grok.plots.interventions import interventions
from slt_grok.plots.landscape import landscape
from slt_grok.plots.llc_curve import llc_curve
from slt_grok.plots.llc_diagnostics import llc_diagnostics
from slt_grok.plots.llc_traces import llc_traces
from slt_grok.plots.logit_spectrum import logit_spectrum
from slt_grok.plots.mode_connectivity import mode_connectivity
from slt_grok.plots.persistence import persistence_diagrams
from slt_grok.plots.phase_alignment import phase_alignment
from slt_grok.plots.phase_transition import phase_transition
from slt_grok.plots.program_text import program_text
from slt_grok.plots.refined_llc import refined_llc
from slt_grok.plots.saving import save
from slt_grok.plots.sensitivity import llc_by_gamma, llc_by_step
from slt_grok.plots.sharpness import sharpness
from slt_grok.plots.slices import principal_plane, random_lines, random_plane
from slt_grok.plots.spectral_density import spectral_density
from slt_grok.plots.spectrum import spectrum

__all__ = [
    "activation_grids",
    "association",
    "attribution",
    "barrier_matrix",
    "baseline_comparison",
    "causal",
    "clock_pizza_plane",
    "confound",
    "description_length",
    "dynamics",
    "embedding_circles",
    "event_raster",
    "explained_share",
    "finite_size",
    "free_energies",
    "interventions",
    "landscape",
    "lead_lag",
    "llc_by_gamma",
    "llc_by_step",
    "llc_curve",
    "llc_diagnostics",
    "llc_traces",
    "logit_spectrum",
    "mode_connectivity",
    "persistence_diagrams",
    "phase_alignment",
    "phase_transition",
    "prediction",
    "principal_plane",
    "program_text",
    "random_lines",
    "random_plane",
    "refined_llc",
    "save",
    "seed_barriers",
    "sharpness",
    "spectral_density",
    "spectrum",
    "tempering",
]
