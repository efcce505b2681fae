"""The null of the circuit measures: the same networks with their tokens randomly relabeled."""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from pydantic import Field

from slt_grok.circuits.measurement import (
    GRADIENT_TRIPLES,
    CircuitMeasurement,
    Circuits,
    CircuitsSettings,
    measure,
    require,
)
from slt_grok.format import capital, number
from slt_grok.interventions import relabel
from slt_grok.measurement import Context, Data, Table
from slt_grok.progress import ProgressCallback, ignore
from slt_grok.trajectories import Trajectory

SHOWN = (  # variable, and its split if it has any
    ("neuron_share", None),
    ("gini_embedding", None),
    ("gini_neuron_logit_map", None),
    ("clock_fve", None),
    ("restricted_loss_sum", "all"),
    ("trig_loss", "all"),
    ("excluded_loss", "train"),
)


def null(
    trajectory: Trajectory,
    seed: int = 0,
    gradient_triples: int | None = GRADIENT_TRIPLES,
    on_progress: ProgressCallback = ignore,
) -> xr.Dataset:
    """Repeat the circuit measurement after a random relabeling of the tokens: its values without Fourier structure.

    Inputs, answers, labels and split are relabeled together, so the losses and accuracies of the whole network are
    unchanged; anything that depends on the group's composition (spectra, clusters, key frequencies, restricted,
    excluded and trig losses) takes its chance value. All networks share one random permutation.

    Raises
    ------
    SltGrokError
        See `circuits.measure`; also a task without a group.
    """
    require(trajectory.network, CircuitNull.needs)
    permutation = np.random.default_rng(np.random.SeedSequence(seed)).permutation(trajectory.task.tokens)
    return measure(relabel(trajectory, permutation), None, gradient_triples, on_progress)


class CircuitNullSettings(CircuitsSettings):
    """Settings of the measurement `circuit_null`."""

    seed: int = Field(default=0, ge=0, description="seed of the random relabeling")


class CircuitNull(CircuitMeasurement):
    """The null at the last checkpoint."""

    name = "circuit_null"
    title = "Null of the circuit measures"
    position = 31
    needs = ("group", "logits", "token_roles")
    Settings = CircuitNullSettings
    inherits = "circuits"
    variables = property(lambda self: Circuits().variables)  # pyright: ignore[reportAssignmentType]

    def measure(self, trajectory: Trajectory, settings: CircuitNullSettings, context: Context) -> xr.Dataset:
        """See `Measurement`."""
        last = trajectory.isel(step=-1)
        return null(last, settings.seed, settings.gradient_triples, context.on_progress)

    def seconds(self, trial: Trajectory, settings: CircuitNullSettings, checkpoints: int, context: Context) -> float:
        """See `Measurement`."""
        return super().seconds(trial, settings, 1, context)

    def columns(self, dataset: xr.Dataset) -> dict[str, float]:
        """Report no columns: the null of a run is shown on its page."""
        return {}

    def tables(self, data: Data) -> Sequence[Table]:
        """See `Result`."""
        chance, measured = data[self.name], data.get("circuits")
        if measured is None:
            return ()
        rows = []
        for name, split in SHOWN:
            if name not in measured or name not in chance:
                continue
            where = {"split": split} if split else {}
            values = [float(dataset[name].isel(step=-1).sel(where).median()) for dataset in (measured, chance)]
            label = capital(measured[name].attrs["long_name"]) + (f", {split} pairs" if split else "")
            rows.append([label, *map(number, values)])
        caption = (
            "The circuit at the last checkpoint and its null: the same network with its tokens randomly relabeled, "
            "which preserves the function but destroys any dependence on the token order (median over seeds)"
        )
        return [Table(caption, ["Measure", "Network", "Null"], rows)]
