"""What can go wrong, as a function of everything that is left to chance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

Severity = Callable[[np.ndarray], np.ndarray]


@dataclass
class Problem:
    """An event, told by choices: independent standard normal numbers, of which everything random is made.

    Whatever a simulator draws can be drawn from such numbers: u = Phi(choice) is uniform, and inverts any law. Each
    evaluation of the severity is counted, also those that only train a proposal.

    Arguments:
        dims: how many numbers.
        severity: of choices (n, dims) to float (n,): how far the event is off; it happens where this is 0 or less.

    Raises:
        ValueError: if the severity is not finite, or not one number a row.
    """

    dims: int
    severity: Severity
    calls: int = field(default=0, init=False)

    def __call__(self, choices: np.ndarray) -> np.ndarray:
        """Severities (n,) of choices (n, dims)."""
        self.calls += len(choices)
        found = np.asarray(self.severity(choices), float)
        if found.shape != (len(choices),):
            raise ValueError(f"severity returned {found.shape} for {len(choices)} rows: return one number a row")
        if not np.isfinite(found).all():
            bad = int((~np.isfinite(found)).sum())
            raise ValueError(f"severity of {bad} rows of {len(found)} is not finite: return a number for every row")
        return found
