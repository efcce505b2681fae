"""The training curves, as shown on the page and in a study's table."""

from collections.abc import Sequence

from slt_grok.format import capital, number, percent, step
from slt_grok.measurement import Data, Result, Table, Variable
from slt_grok.rules import ACCURACY, LOSS, Change
from slt_grok.units import with_units

SOURCE = "Nanda et al. 2301.05217, section 3"
CHANGES = {
    "train_accuracy": Change(ACCURACY, color="blue", place=0),
    "test_accuracy": Change(ACCURACY, color="orange", place=1),
    "train_loss": Change(LOSS._replace(start="first"), color="blue", marker="s", place=2),
    "test_loss": Change(LOSS, color="orange", marker="s", place=3),
}


class Training(Result):
    """Losses and accuracies over training, written by `slt_grok.training.train`."""

    name = "training"
    title = "Training"
    position = 0
    variables = {
        f"{split}_{quantity}": Variable(
            (),
            f"{split} {quantity}",
            definition.format(split),
            SOURCE,
            of_loss=quantity == "loss",
            change=CHANGES[f"{split}_{quantity}"],
        )
        for quantity, definition in (
            ("loss", "mean loss over the {} set in float64"),
            ("accuracy", "fraction of {} samples whose largest logit is the correct answer"),
        )
        for split in ("train", "test")
    }

    def tables(self, data: Data) -> Sequence[Table]:
        """Tabulate the final values of the curves."""
        dataset = data[self.name]
        names = [name for name in ENDS if name in dataset and dataset[name].notnull().any()]
        curves = dataset.sortby("step").isel(step=-1)
        rows = [
            [str(seed), step(int(curves.step)), *(ENDS[name](float(curves[name].sel(seed=seed))) for name in names)]
            for seed in curves.seed.values.tolist()
        ]
        header = [with_units(capital(name.replace("_", " ")), dataset[name]) for name in names]
        return [Table("The end of training", ["Seed", "Step", *header], rows)]


ENDS = {"train_loss": number, "test_loss": number, "train_accuracy": percent, "test_accuracy": percent}
