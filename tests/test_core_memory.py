"""Memory that is freed is kept for the next tensor."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import resource, sys
import numpy as np
from gensim.core.memory import keep_memory
kept = len(sys.argv) > 1 and keep_memory()
for i in range(11):
    if i == 1:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(1 << 24)
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*given: str) -> tuple[int, int]:
    """Whether memory is kept, and pages that the kernel gave ten arrays of 128 MB after the first."""
    out = subprocess.run([sys.executable, "-c", CODE, *given], capture_output=True, text=True, check=True).stdout
    kept, pages = out.split()
    return int(kept), int(pages)


def test_memory_is_kept() -> None:
    kept, pages = faults("keep")
    if not kept:
        pytest.skip("no glibc here")
    assert pages < 5_000 and faults()[1] > 10 * pages
