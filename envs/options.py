"""What `reset(options=...)` accepts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
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
        weather: strengths in 0..1 by name, in worlds that have weather.
        conditions: numbers by name, in the units of the data; in `reset(options=...)` each by its own name.
    """

    start: str | int | np.ndarray | None = None
    temperature: float | None = None
    dropout: bool | None = None
    snapshot: Rollout | None = None
    weather: Mapping[str, float] | None = None
    conditions: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _is_start(self.start):
            raise ValueError(f'start={self.start!r}: give "real", "mid" or the index of a start')
        if self.temperature is not None and not _is_temperature(self.temperature):
            raise ValueError(f"temperature={self.temperature!r}: give a number above 0, such as 1.0")
        if self.dropout is not None and not isinstance(self.dropout, (bool, np.bool_)):
            raise ValueError(f"dropout={self.dropout!r}: give True or False")
        if self.snapshot is not None and not isinstance(self.snapshot, Rollout):
            raise ValueError(f"snapshot={type(self.snapshot).__name__}: give what snapshot() returned")
        if self.weather is not None and not isinstance(self.weather, Mapping):
            raise ValueError(f'weather={self.weather!r}: give strengths by name, such as {{"rain": 0.8}}')
        others = (self.start, self.temperature, self.dropout, self.weather, self.conditions or None)
        if self.snapshot is not None and any(x is not None for x in others):
            raise ValueError("a snapshot brings its own start, temperature and dropout, and all else: give it alone")

    @classmethod
    def parse(cls, options: Mapping[str, Any] | None, conditions: Sequence[str] = (), weather: bool = False) -> Options:
        """The options of a reset; ValueError names what is unknown and lists what is accepted.

        conditions: those that the world can be told; weather: whether it has any.
        """
        given = {key: value for key, value in (options or {}).items() if key not in FOREIGN}
        hidden = ("conditions",) if weather else ("conditions", "weather")
        accepted = [one.name for one in fields(cls) if one.name not in hidden]
        unknown = sorted(given.keys() - {*accepted, *conditions})
        if unknown:
            raise ValueError(f"unknown reset options {unknown}: accepted are {[*accepted, *conditions]}")
        plain = {key: value for key, value in given.items() if key in accepted}
        return cls(**plain, conditions={key: given[key] for key in conditions if key in given})

    def rows(self, index: np.ndarray) -> Options:
        """The same for some rows of an array of starts."""
        if isinstance(self.start, np.ndarray):
            return replace(self, start=self.start[index])
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
