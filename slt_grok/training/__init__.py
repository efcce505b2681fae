"""From settings to checkpoints in a run directory."""

from slt_grok.training.loop import train
from slt_grok.training.settings import CheckpointSchedule, TrainingSettings

__all__ = ["CheckpointSchedule", "TrainingSettings", "train"]
