"""Memory of the process: keep freed tensors mapped, and report the peak usage."""

import ctypes
import resource
import sys
from contextlib import suppress

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
