"""Samplers of the local posterior, one per file, each a dataclass that is its own configuration."""
