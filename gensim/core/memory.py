"""Memory of this process."""

from __future__ import annotations

import ctypes
import sys

MMAP_MAX, TOP_PAD, TRIM_THRESHOLD = -4, -2, -1  # glibc's malloc.h
KEPT = 2**31 - 1  # bytes
AHEAD = 1 << 28  # bytes


def keep_memory() -> bool:
    """Has glibc keep up to 2 GiB that is freed, for the next tensor; returns whether it will.

    Otherwise it gives every large tensor back to the kernel, which clears each page again for the next one. Without
    glibc nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    wanted = ((MMAP_MAX, 0), (TRIM_THRESHOLD, KEPT), (TOP_PAD, AHEAD))
    return mallopt is not None and all(mallopt(option, value) for option, value in wanted)
