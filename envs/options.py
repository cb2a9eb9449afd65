"""What `reset(options=...)` accepts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from gensim.envs.rollout import Rollout

FOREIGN = {"minari_autoseed"}  # Minari's collector passes its own option on


@dataclass(frozen=True)
class Options:
    """How an episode begins; None leaves a choice to the environment.

    Arguments:
        start: "real" (where real episodes begin), "mid" (in the middle of one), the index of a start,
            or an array of indices, one a row.
        temperature: of the latents' logits, > 0.
        dropout: whether one dropout mask is held for the episode.
        snapshot: a Rollout to go on from: of one row, or of as many as there are.
    """

    start: str | int | np.ndarray | None = None
    temperature: float | None = None
    dropout: bool | None = None
    snapshot: Rollout | None = None

    def __post_init__(self) -> None:
        if not _is_start(self.start):
            raise ValueError(f'start={self.start!r}: give "real", "mid" or the index of a start')
        if self.temperature is not None and not _is_temperature(self.temperature):
            raise ValueError(f"temperature={self.temperature!r}: give a number above 0, such as 1.0")
        if self.dropout is not None and not isinstance(self.dropout, (bool, np.bool_)):
            raise ValueError(f"dropout={self.dropout!r}: give True or False")
        if self.snapshot is not None and not isinstance(self.snapshot, Rollout):
            raise ValueError(f"snapshot={type(self.snapshot).__name__}: give what snapshot() returned")
        others = (self.start, self.temperature, self.dropout)
        if self.snapshot is not None and any(x is not None for x in others):
            raise ValueError("a snapshot brings its own start, temperature and dropout: give it alone")

    @classmethod
    def parse(cls, options: Mapping[str, Any] | None) -> Options:
        """The options of a reset; ValueError names what is unknown and lists what is accepted."""
        given = {key: value for key, value in (options or {}).items() if key not in FOREIGN}
        accepted = [field.name for field in fields(cls)]
        unknown = sorted(set(given) - set(accepted))
        if unknown:
            raise ValueError(f"unknown reset options {unknown}: accepted are {accepted}")
        return cls(**given)

    def rows(self, index: np.ndarray) -> Options:
        """The same for some rows of an array of starts."""
        if isinstance(self.start, np.ndarray):
            return Options(self.start[index], self.temperature, self.dropout, self.snapshot)
        return self


def _is_start(start: Any) -> bool:
    if isinstance(start, np.ndarray):
        return start.ndim == 1 and np.issubdtype(start.dtype, np.integer)
    return start in (None, "real", "mid") if not _is_index(start) else True


def _is_index(start: Any) -> bool:
    return isinstance(start, (int, np.integer)) and not isinstance(start, bool)


def _is_temperature(value: Any) -> bool:
    number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    return bool(number and np.isfinite(value) and value > 0)
