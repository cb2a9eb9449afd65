"""The fewest choices of chance that a failure takes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gensim.rare.cases import Case, digest, played, replay
from gensim.rare.dreams import Dreams


def minimise(dreams: Dreams, case: Case) -> Case:
    """The case with as many calm steps as it still fails with: what is left to chance is what the failure takes.

    All subsets of a round are dreamed side by side. No single step of those that are left can be made calm, too; there
    may be other cases with fewer.

    Reference: Simplifying and isolating failure-inducing input (Zeller and Hildebrandt, 2002), doi:10.1109/32.988498.

    Raises:
        ValueError: if the case does not fail when it is dreamed again.
    """
    own = np.isin(np.arange(case.steps), case.calm)
    if not _fails(dreams, case, own[None])[0]:
        raise ValueError(f"{case.event} does not happen when the case is dreamed again: find it anew")
    wild, parts = np.flatnonzero(~own), 2
    while len(wild):
        blocks = np.array_split(wild, min(parts, len(wild)))
        tried = np.repeat(~np.isin(np.arange(case.steps), wild)[None], len(blocks), 0)
        for row, block in zip(tried, blocks):
            row[block] = True
        fails = np.flatnonzero(_fails(dreams, case, tried))
        if len(fails):
            wild, parts = np.setdiff1d(wild, blocks[fails[0]]), max(parts - 1, 2)
        elif parts >= len(wild):
            break
        else:
            parts = min(2 * parts, len(wild))
    return _measured(dreams, replace(case, calm=tuple(int(step) for step in np.setdiff1d(np.arange(case.steps), wild))))


def _fails(dreams: Dreams, case: Case, calm: np.ndarray) -> np.ndarray:
    """Which rows (n,) of calm steps (n, steps) come to the event at the case's last moment at the latest."""
    found = np.zeros(len(calm), bool)
    for now in played(dreams, case, calm):
        found |= now.severity <= 0
    return found


def _measured(dreams: Dreams, case: Case) -> Case:
    """The case, ended where the event first happens, with what is known of it."""
    severities = replay(dreams, case).severities
    steps = int(np.argmax(severities <= 0))
    kept = tuple(step for step in case.calm if step < steps)
    case = replace(case, steps=steps, calm=kept, trail=tuple(one for one in case.trail if one[0] <= steps))
    last = list(played(dreams, case))[-1]
    told = replay(dreams, case)
    return replace(case, severity=float(last.severity[0]), log_p=float(last.log_p[0]), digest=digest(told.frames))
