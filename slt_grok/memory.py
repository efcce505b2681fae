"""Memory: keep freed tensors mapped, report the peak usage, and refuse what cannot fit."""

import ctypes
import os
import resource
import sys
from contextlib import suppress

from slt_grok.errors import SltGrokError

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Configure glibc to keep the memory of freed tensors.

    Otherwise every large tensor is mapped again and each of its pages causes a fault, which can triple the run time.
    This does nothing with other C libraries.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
            libc.mallopt(M_TRIM_THRESHOLD, 1 << 30)


def peak_gib() -> float:
    """Get the largest resident size of this process so far, in GiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 30 if sys.platform == "darwin" else 1 << 20)


def require_memory(size: float, key: str, what: str) -> None:
    """Check that data fits into this machine's memory.

    Parameters
    ----------
    size : float
        Its size in bytes.
    key : str
        The setting that determines it.
    what : str
        What the data is.

    Raises
    ------
    SltGrokError
        It does not fit.
    """
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > total:
        raise SltGrokError(
            f"{key}: expected a size that fits into the {total / 2**30:.3g} GiB of this machine's memory, but {what} "
            f"need about {size / 2**30:.3g} GiB"
        )
