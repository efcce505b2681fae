"""How much work is done at a time: as much as fits into a budget of memory."""


def at_a_time(bytes_each: int, budget: int) -> int:
    """Return how many pieces of so many bytes each fit into a budget of bytes, at least one."""
    return max(1, budget // max(1, bytes_each))
