"""Memory of the process: keeping freed tensors mapped, and the peak that was used."""

import ctypes
import resource
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Let glibc keep the memory of freed tensors.

    Otherwise every large tensor is mapped anew and each of its pages costs a fault, up to a factor 3 of the whole
    time. Does nothing on other C libraries.
    """
    if sys.platform == "linux":
        try:
            libc = ctypes.CDLL("libc.so.6")
            libc.mallopt(M_MMAP_THRESHOLD, 1 << 30)
            libc.mallopt(M_TRIM_THRESHOLD, 1 << 30)
        except (OSError, AttributeError):
            return


def peak_gib() -> float:
    """Largest resident size of this process so far, in GiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 30 if sys.platform == "darwin" else 1 << 20)
