"""How the process asks the system for memory."""

import contextlib
import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, KEEP = -1, -3, 1 << 30  # of glibc's <malloc.h>


def keep_freed() -> None:
    """Let glibc keep freed arrays of up to a GiB for the next ones; other C libraries are left as they are.

    A solver frees and asks for a dozen images a step, and fresh pages cost it an eighth of its time.
    """
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_TRIM_THRESHOLD, KEEP)
        mallopt(M_MMAP_THRESHOLD, KEEP)
