"""Recorded moments to look up: what looked like a frame and went on under similar actions, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gensim.core.frames import resize
from gensim.episodes import ActionSpec, Episode, read_episode
from gensim.episodes.store import Header
from gensim.world.labelling import Labels

THUMB = 32


class Pool:
    """Recorded moments to look up: for each a thumbnail and what was done next.

    Arguments:
        episodes: where to look, such as those that the world was fitted to.
        ahead: steps that must follow a moment.
        moments: about how many are kept, spread evenly.
        candidates: so many nearest pictures are compared by the actions that followed.
    """

    def __init__(self, episodes: Sequence[Header], ahead: int, moments: int = 20_000, candidates: int = 32) -> None:
        self.ahead, self.candidates = ahead, candidates
        self.episodes = [header for header in episodes if header.length >= ahead]
        total = sum(header.length + 1 - ahead for header in self.episodes)
        if not total:
            raise ValueError(f"no episode has {ahead} steps to look up: record longer ones, or look less far ahead")
        every = max(1, round(total / moments))
        found = [self._read(i, every) for i in range(len(self.episodes))]
        self.thumbs, self.acts, self.where = (np.concatenate(part) for part in zip(*found))

    def nearest(self, frames: np.ndarray, acts: np.ndarray, k: int = 1) -> np.ndarray:
        """Indices (n, k) of the moments that look like frames (n, h, w, 3) and went on like acts (n, steps, a).

        Of each episode the moment that looks most alike is a candidate: neighbours in time are no second opinion. The
        nearest first; where there are fewer candidates than k, the last of them again.
        """
        thumbs = _thumbs(frames).astype(np.float32)  # (n, d)
        far = np.concatenate([_far(thumbs, self.thumbs[i : i + 2048]) for i in range(0, len(self.thumbs), 2048)], 1)
        begins = np.flatnonzero(np.diff(self.where[:, 0], prepend=-1))
        parts = zip(begins, np.append(begins[1:], len(self.where)))
        best = np.stack([a + far[:, a:b].argmin(1) for a, b in parts], 1)  # (n, episodes)
        order = np.argsort(np.take_along_axis(far, best, 1), 1, kind="stable")[:, : self.candidates]
        few = np.take_along_axis(best, order, 1)  # (n, candidates)
        other = ((self.acts[few, : acts.shape[1]] - acts[:, None]) ** 2).mean((2, 3))
        order = np.argsort(other, 1, kind="stable")[:, np.minimum(np.arange(k), few.shape[1] - 1)]
        return np.take_along_axis(few, order, 1)

    def found(self, frames: np.ndarray, acts: np.ndarray, k: int = 1) -> np.ndarray:
        """Episode and time (n, k, 2) of each one's nearest moments."""
        return self.where[self.nearest(frames, acts, k)]

    def play(self, found: np.ndarray, steps: Sequence[int]) -> np.ndarray:
        """What was recorded so many steps after moments (n, k, 2), uint8 (n, k, q, h, w, 3)."""
        tapes, flat = self._tapes(found), found.reshape(-1, 2).tolist()
        shown = np.stack([[tapes[i].frame(t + step) for step in steps] for i, t in flat])
        return shown.reshape(*found.shape[:2], *shown.shape[1:])

    def labelled(self, found: np.ndarray, steps: Sequence[int]) -> Labels:
        """The labels (n, k, q, h, w) of the same frames."""
        tapes, flat = self._tapes(found), found.reshape(-1, 2).tolist()
        classes, far = (
            np.stack([[tapes[i].layers[name].at(t + step) for step in steps] for i, t in flat])
            for name in ("classes", "depth")
        )
        most = next(iter(tapes.values())).meta["depth"]["steps"]
        whole = (*found.shape[:2], *classes.shape[1:])
        return Labels(classes.reshape(whole), (far / np.float32(most)).reshape(whole))

    def _tapes(self, found: np.ndarray) -> dict[int, Episode]:
        return {i: read_episode(self.episodes[i].path) for i in sorted({*found[..., 0].ravel().tolist()})}

    def _read(self, i: int, every: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        tape = read_episode(self.episodes[i].path)
        times = np.arange(i % every, len(tape) + 1 - self.ahead, every)  # begins elsewhere in each episode
        where = np.stack([np.full(len(times), i), times], 1)
        acts, blank = _inputs(tape), np.zeros((0, THUMB * THUMB * 3), np.uint8)
        thumbs = _thumbs(np.stack([tape.frame(t) for t in times.tolist()])) if len(times) else blank
        steps = times[:, None] + np.arange(self.ahead)
        return thumbs, acts[steps], where


def _inputs(tape: Episode) -> np.ndarray:
    return ActionSpec.from_dict(tape.meta["action"]).encode(tape.act)


def _thumbs(frames: np.ndarray) -> np.ndarray:
    return resize(frames, THUMB).reshape(len(frames), -1)  # (n, d) uint8


def _far(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances (n, m) between rows, float32."""
    b = b.astype(np.float32)
    return (a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1)
