"""Batch sizes from a memory budget."""


def at_a_time(bytes_each: int, budget: int) -> int:
    """Compute how many pieces of `bytes_each` bytes fit into a budget of bytes, at least one."""
    return max(1, budget // max(1, bytes_each))
