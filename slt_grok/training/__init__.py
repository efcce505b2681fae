"""From settings to checkpoints in a run directory."""

from slt_grok.training.settings import CheckpointSchedule, TrainingSettings
from slt_grok.training.loop import train

__all__ = ["CheckpointSchedule", "TrainingSettings", "train"]
