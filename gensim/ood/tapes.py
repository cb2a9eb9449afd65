"""Episodes as detectors take them: frames, and the actions between them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gensim.episodes import ActionSpec, Dataset, Episode, read_episode
from gensim.episodes.store import read_or_warn

Tape = Any
"""An `Episode`, or (frames uint8 (t + 1, h, w, 3), acts (t, k) float or (t,) int, or None)."""
Cut = tuple[np.ndarray, "np.ndarray | None"]


class Shelf:
    """Episodes that are read one by one: of a data set, or given.

    Arguments:
        data: a `Dataset`, its folder, or a sequence of tapes.
    """

    def __init__(self, data: Dataset | str | Path | Sequence[Tape]) -> None:
        self.data = Dataset(data) if isinstance(data, (str, Path)) else data
        self._items: Sequence[Any]
        if isinstance(self.data, Dataset):
            self._items = self.data.episodes
        else:
            self._items = self.data
        if not len(self._items):
            raise ValueError("no episode to fit a detector to: give a data set or a sequence of episodes")

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, i: int) -> Cut:
        item = self._items[i]
        return opened(read_episode(item.path) if isinstance(self.data, Dataset) else item)

    @property
    def mark(self) -> str:
        """What the episodes are told from others by: their files' names and sizes, or all their frames."""
        told = hashlib.sha256()
        for i, item in enumerate(self._items):
            if isinstance(self.data, Dataset):
                told.update(repr((item.path.name, item.path.stat().st_size)).encode())
            else:
                told.update(np.ascontiguousarray(self[i][0]).data)
        return told.hexdigest()[:16]

    @cached_property
    def action(self) -> ActionSpec | None:
        """What actions are; None where the episodes have none."""
        if isinstance(self.data, Dataset):
            return self.data.action
        item = self._items[0]
        if isinstance(item, Episode) and "action" in item.meta:
            return ActionSpec.from_dict(item.meta["action"])
        acts = [self[i][1] for i in range(len(self))]
        if acts[0] is None:
            return None
        if acts[0].ndim == 1 and acts[0].dtype.kind in "iu":
            return ActionSpec("discrete", int(max(a.max() for a in acts if a is not None)) + 1)
        return ActionSpec("box", acts[0].shape[-1])


def opened(tape: Tape) -> Cut:
    """Frames and actions of a tape; ValueError when it is none."""
    if isinstance(tape, Episode):
        return tape.frames(), tape.act
    if not (isinstance(tape, tuple) and len(tape) == 2):
        raise ValueError(f"{type(tape).__name__} is no episode: give an Episode, or a tuple (frames, acts or None)")
    frames, acts = tape
    return np.asarray(frames), None if acts is None else np.asarray(acts)


def reading(episodes: Dataset | str | Path | Iterable[Tape]) -> Iterator[Cut]:
    """Frames and actions of episodes one after another, of a data set or of anything that yields tapes."""
    if isinstance(episodes, (str, Path)):
        episodes = Dataset(episodes)
    if isinstance(episodes, Dataset):
        episodes = (read_or_warn(read_episode, path) for path in episodes.paths())
    return (opened(tape) for tape in episodes if tape is not None)


def check_frames(frames: Any, size: int, rows: int | None = None) -> np.ndarray:
    """Frames uint8 (n, size, size, 3); ValueError that says what they are and what to do."""
    frames = np.asarray(frames)
    if frames.dtype != np.uint8:
        odd = " with NaN" if frames.dtype.kind == "f" and np.isnan(frames).any() else ""
        raise ValueError(
            f"frames are {frames.dtype}{odd}: give uint8 RGB in 0..255, such as (255 * x).astype(np.uint8)"
        )
    if frames.ndim != 4 or frames.shape[1:] != (size, size, 3) or (rows is not None and len(frames) != rows):
        n = "n" if rows is None else rows
        raise ValueError(
            f"frames of shape {frames.shape}: give ({n}, {size}, {size}, 3), resized with gensim.core.frames.resize"
        )
    return frames


def check_acts(acts: Any, action: ActionSpec | None, rows: int) -> np.ndarray:
    """Actions as a model takes them, float32 (rows, k); ValueError that says what they are and what to do."""
    if action is None:
        return np.zeros((rows, 0), np.float32)
    if acts is None:
        raise ValueError(f"no actions: this detector follows actions {action.to_dict()}; give one for each step")
    acts = np.asarray(acts)
    shape = (rows,) if action.type == "discrete" else (rows, action.size)
    if acts.shape != shape or (action.type == "discrete" and acts.dtype.kind not in "iu"):
        raise ValueError(f"actions of {acts.dtype} {acts.shape}: give {shape} of {action.to_dict()}, one for each step")
    if action.type == "discrete" and rows and not (acts.min() >= 0 and acts.max() < action.size):
        raise ValueError(f"actions from {acts.min()} to {acts.max()}: give 0 to {action.size - 1}")
    if not np.isfinite(acts).all():
        raise ValueError("actions hold NaN or infinity: give finite numbers in -1..1")
    return action.encode(acts)
