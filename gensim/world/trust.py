"""Trust: the rank of a step's disagreement among held-out real episodes at an equal horizon."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

EDGES = (0, 1, 2, 4, 8, 16, 32, 64, 128)  # imagined steps since a real frame at which a table begins
QUANTILES = 512


@dataclass(frozen=True)
class Trust:
    """Sorted disagreements of held-out real episodes, one table a horizon.

    `rank` is a p-value: on new real data it is uniform, and small where the dream has left its data. It is calibrated
    up to 160 imagined steps; later ones are ranked in the last table, of 128 to 160, as if they were no later.
    """

    table: np.ndarray  # (len(EDGES), QUANTILES) float32, each row sorted

    @classmethod
    def blank(cls) -> Trust:
        """A table that trusts everything, for worlds not yet calibrated."""
        return cls(np.full((len(EDGES), QUANTILES), np.inf, np.float32))

    @classmethod
    def calibrate(cls, unusual: np.ndarray, age: np.ndarray) -> Trust:
        """From disagreements (n,) at ages (n,); a horizon without data takes the table before it."""
        table, bucket = cls.blank().table.copy(), _bucket(age)
        levels = (np.arange(QUANTILES) + 0.5) / QUANTILES
        for i in range(len(EDGES)):
            here = unusual[bucket == i]
            table[i] = np.quantile(here, levels) if len(here) >= 100 else table[max(i - 1, 0)]
        return cls(table)

    def rank(self, unusual: np.ndarray, age: np.ndarray) -> np.ndarray:
        """Share (n,) float32 in 0..1 of held-out real steps at least as unusual as these, at equal horizon."""
        above = (self.table[_bucket(age)] >= unusual[:, None]).sum(1)
        return ((above + 1) / (QUANTILES + 1)).astype(np.float32)

    def tensors(self) -> dict[str, Tensor]:
        """The table as named tensors, to be kept beside the weights."""
        return {"trust.table": torch.from_numpy(self.table)}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], path: Path) -> Trust:
        """The table of a world file; ValueError if it has none or a foreign one."""
        table = tensors.get("trust.table")
        if table is None or table.shape != (len(EDGES), QUANTILES):
            raise ValueError(f"{path} has no calibrated trust of shape {(len(EDGES), QUANTILES)}; fit the world again")
        return cls(table.float().numpy())


def _bucket(age: np.ndarray) -> np.ndarray:
    return np.searchsorted(EDGES, age, side="right") - 1
