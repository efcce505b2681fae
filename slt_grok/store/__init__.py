"""Run directories on disk, and importers for published checkpoints."""

from slt_grok.store.files import atomic, read_tensors, write_tensors
from slt_grok.store.run_directory import RunDirectory

__all__ = ["RunDirectory", "atomic", "read_tensors", "write_tensors"]
