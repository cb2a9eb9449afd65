"""What a world says along real episodes it was not fitted to: when it follows them, and when it dreams on alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from gensim.episodes import Episode
from gensim.gap.rollouts import REREAD, reread
from gensim.world.furnish import action_rows, conditions
from gensim.world.state import State, Step
from gensim.world.world import World

ROWS = 64  # episodes side by side
EVERY = 24  # steps from one start of a dream to the next
AHEAD = 160  # steps that are dreamed on


@dataclass(frozen=True)
class Readings:
    """m judged steps, each of an episode at a time; age 0 follows real frames, others are dreamed.

    Arguments:
        episode: int64 (m,), which episode.
        start: int64 (m,), the time at which its dream began, -1 when following.
        time: int64 (m,), steps since the episode began, from 1.
        age: int64 (m,), imagined steps since a real frame.
        said: float32 (m,), the expected reward.
        rew: float32 (m,), the recorded one.
        prob: float32 (m,), the probability of an end.
        term: bool (m,), whether the simulator ended the episode with this step.
        trust: float32 (m,).
        unusual: float32 (m,).
        log_p: float32 (m,), nats, of the latents that followed.
        drift: float32 (m,), the share of groups that change when a decoded frame is read again; NaN between readings.
    """

    episode: np.ndarray
    start: np.ndarray
    time: np.ndarray
    age: np.ndarray
    said: np.ndarray
    rew: np.ndarray
    prob: np.ndarray
    term: np.ndarray
    trust: np.ndarray
    unusual: np.ndarray
    log_p: np.ndarray
    drift: np.ndarray

    def __len__(self) -> int:
        return len(self.time)

    def where(self, mask: np.ndarray) -> Readings:
        """The steps of a mask (m,)."""
        return Readings(*(getattr(self, field.name)[mask] for field in fields(Readings)))

    @classmethod
    def cat(cls, parts: Sequence[Readings]) -> Readings:
        """The steps of several."""
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))


def read(world: World, episodes: Sequence[Episode], every: int = EVERY, ahead: int = AHEAD, seed: int = 0) -> Readings:
    """Follows real episodes, and from every `every`-th step dreams `ahead` steps on under the recorded actions.

    A dream goes on where it would have ended, for as long as its episode did. ValueError without episodes.
    """
    episodes = [episode for episode in episodes if len(episode) > 0]
    if not episodes:
        raise ValueError("there is no episode to read: give a data set with held-out episodes")
    parts: list[Readings] = []
    for i in range(0, len(episodes), ROWS):
        parts += _Reader(world, episodes[i : i + ROWS], i, seed).read(every, ahead)
    return Readings.cat(parts)


class _Reader:
    """Some episodes side by side; rows of those that have ended are dropped."""

    def __init__(self, world: World, episodes: Sequence[Episode], offset: int, seed: int) -> None:
        self.world, self.offset, self.episodes = world, offset, episodes
        self.lengths = np.array([len(episode) for episode in episodes])
        self.acts = [action_rows(world, episode) for episode in episodes]
        self.keys = (seed << 32) + offset + np.arange(len(episodes), dtype=np.uint64)

    def read(self, every: int, ahead: int) -> list[Readings]:
        """All that is said, of following and of dreaming on."""
        rows, found = np.arange(len(self.episodes)), []
        firsts, cond = np.stack([episode.frame(0) for episode in self.episodes]), conditions(self.world, self.episodes)
        state = self.world.first(firsts, self.keys, cond=cond)
        for t in range(int(self.lengths.max())):
            kept = np.flatnonzero(self.lengths[rows] > t)
            state, rows = state.rows(kept), rows[kept]
            if t % every == 0:
                found += self._on(state.copy(), rows, t, ahead)
            frames = np.stack([self.episodes[int(i)].frame(t + 1) for i in rows])
            state, step = self.world.observe(state, self._act(rows, t), frames)
            found.append(self._told(rows, t, -1, state, step, (t + 1) % REREAD == 0))
        return found

    def _on(self, state: State, rows: np.ndarray, start: int, ahead: int) -> list[Readings]:
        found = []
        for t in range(start, min(start + ahead, int(self.lengths[rows].max()))):
            kept = np.flatnonzero(self.lengths[rows] > t)
            state, rows = state.rows(kept), rows[kept]
            state, step = self.world.imagine(state, self._act(rows, t))
            found.append(self._told(rows, t, start, state, step, (t + 1 - start) % REREAD == 0))
        return found

    def _act(self, rows: np.ndarray, t: int) -> np.ndarray:
        return np.stack([self.acts[i][t] for i in rows])

    def _told(self, rows: np.ndarray, t: int, start: int, state: State, step: Step, again: bool) -> Readings:
        n = len(rows)
        return Readings(
            episode=rows + self.offset,
            start=np.full(n, start),
            time=np.full(n, t + 1),
            age=state.age.numpy().copy() if start >= 0 else np.zeros(n, np.int64),
            said=step.rew,
            rew=np.array([self.episodes[i].rew[t] for i in rows], np.float32),
            prob=step.term_prob,
            term=np.array([self.episodes[i].term[t] for i in rows]),
            trust=step.trust,
            unusual=step.unusual,
            log_p=step.log_p.astype(np.float32),
            drift=(reread(self.world, state) if again else np.full(n, np.nan)).astype(np.float32),
        )
