"""What a fitted world needs besides weights: starts, calibrated trust, and held-out frames for its card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gensim.core.seeds import Stream, uniform
from gensim.episodes import Dataset, Episode, read_episode
from gensim.episodes.sample import Extras
from gensim.episodes.store import Header
from gensim.world.starts import Starts
from gensim.world.state import State
from gensim.world.trust import Trust
from gensim.world.world import World

ROWS = 64
EACH = 4  # starts in mid-episode from one episode
MIDS, MEMORIES = 1024, 3_000_000  # most of them, and most bytes of their memories


def furnish(world: World, dataset: Dataset, heldout: Sequence[Header], mids: int = MIDS, seed: int = 0) -> World:
    """The world with starts from its own episodes, as many as files stay small with, and trust of held-out ones."""
    mids = min(mids, MEMORIES // (2 * world.config.hidden))  # numbers of two bytes
    world.starts = gather_starts(world, dataset, mids, seed)
    world.trust = calibrate(world, [read_episode(header.path) for header in heldout], seed)
    return world


def gather_starts(world: World, dataset: Dataset, mids: int, seed: int) -> Starts:
    """The first latent of every episode, and `mids` states in mid-episode, `EACH` of an episode, of the latest ones."""
    headers = list(dataset.episodes)
    firsts = np.stack([read_episode(header.path).frame(0) for header in headers])
    told = conditions(world, headers)
    real = world.first(firsts, np.arange(len(headers), dtype=np.uint64), cond=told).z.numpy().astype(np.uint8)
    latest = [read_episode(header.path) for header in headers[-max(1, mids // EACH) :]]
    share = uniform(np.array([seed], np.uint64), Stream.FIT, np.zeros(1, np.int64), len(latest) * EACH)
    share = share.reshape(len(latest), EACH)
    parts = [_mid_states(world, latest[j : j + ROWS], share[j : j + ROWS]) for j in range(0, len(latest), ROWS)]
    state = State.cat([p[0] for p in parts])
    lengths = np.concatenate([p[1] for p in parts])
    owners = np.repeat(np.arange(len(latest)), EACH)
    act = np.zeros((len(owners), lengths.max(), world.action_dim), np.float32)
    for row, (i, n) in enumerate(zip(owners, lengths)):
        act[row, :n] = action_rows(world, latest[i])[:n]
    returns = [latest[i].rew[:n].sum() for i, n in zip(owners, lengths)]
    seeds = np.array([_seed(e) for e in latest], np.int64)
    return Starts(
        real,
        np.array([_seed(header) for header in headers], np.int64),
        state.z.numpy().astype(np.uint8),
        state.h.numpy().astype(np.float16),
        seeds[owners],
        act,
        lengths,
        np.array(returns, np.float32),
        *((told, conditions(world, latest)[owners]) if told.size else ()),
    )


def conditions(world: World, episodes: Sequence[Header | Episode]) -> np.ndarray:
    """The conditions (n, c) in 0..1 of episodes, in the order in which the world is told them."""
    limits = world.spec.get("conditions") or {}
    extras = Extras({"conditions": {name: limits[name] for name in world.config.conditions}}, 0)
    return np.stack([extras.conditions(one.meta) for one in episodes])


def follow(world: World, episodes: list[Episode], steps: int | None = None) -> list[tuple[State, np.ndarray]]:
    """The filtered states along real episodes: per time, the state of all rows and their disagreement (n,).

    Rows of episodes that have ended repeat their last frame.
    """
    longest = min(max(len(e.act) for e in episodes), steps or 1 << 30)
    frames = [e.frames() for e in episodes]
    acts = [action_rows(world, e) for e in episodes]
    firsts, keys = np.stack([f[0] for f in frames]), np.arange(len(episodes), dtype=np.uint64)
    state = world.first(firsts, keys, cond=conditions(world, episodes))
    states = [(state, np.zeros(len(episodes), np.float32))]
    for t in range(longest):
        act = np.stack([a[min(t, len(a) - 1)] for a in acts])
        rew = np.array([e.rew[t] if t < len(e.rew) else 0.0 for e in episodes])
        state, step = world.observe(state, act, np.stack([f[min(t + 1, len(f) - 1)] for f in frames]), rew)
        states.append((state, step.unusual))
    return states


def calibrate(world: World, episodes: list[Episode], seed: int = 0, every: int = 24, horizon: int = 160) -> Trust:
    """Trust from held-out episodes: disagreement when filtering, and when dreaming on under the real actions."""
    episodes = [e for e in episodes if len(e.act) > 1]
    if not episodes:
        return Trust.blank()
    unusual, ages = [], []
    for i in range(0, len(episodes), ROWS):
        rows = episodes[i : i + ROWS]
        states = follow(world, rows)
        lengths = np.array([len(e.act) for e in rows])
        for t, (_, score) in enumerate(states[1:], 1):
            unusual.append(score[lengths >= t])
            ages.append(np.zeros((lengths >= t).sum(), np.int64))
        for t in range(0, len(states) - 1, every):
            _dream_on(world, rows, states[t][0], t, horizon, unusual, ages)
    return Trust.calibrate(np.concatenate(unusual), np.concatenate(ages))


def _dream_on(world: World, rows: list[Episode], state: State, t: int, horizon: int, unusual: list, ages: list) -> None:
    lengths = np.array([len(e.act) for e in rows])
    live = np.flatnonzero(lengths > t)
    acts = [action_rows(world, rows[i]) for i in live]
    state = replace(state.rows(live), age=state.age[live] * 0)
    for s in range(t, min(lengths.max(), t + horizon)):
        state, step = world.imagine(state, np.stack([a[min(s, len(a) - 1)] for a in acts]))
        unusual.append(step.unusual[lengths[live] > s])
        ages.append(state.age.numpy()[lengths[live] > s])


def _mid_states(world: World, episodes: list[Episode], share: np.ndarray) -> tuple[State, np.ndarray]:
    """States (n * EACH rows) at shares (n, EACH) of n episodes, and their times."""
    lengths = np.array([len(e.act) for e in episodes])
    at = np.maximum((share * (lengths - 1)[:, None]).astype(np.int64), 1)  # (n, EACH)
    states = follow(world, episodes, int(at.max()))
    return State.cat([states[t][0].rows([i]) for i, times in enumerate(at) for t in times]), at.ravel()


def _seed(episode: Episode | Header) -> int:
    seed = episode.meta.get("seed")
    return -1 if seed is None else int(seed)  # logs without a simulator have none


def action_rows(world: World, episode: Episode) -> np.ndarray:
    """The episode's actions as the world reads them: (t, k) float32, one-hot where discrete."""
    if episode.act.ndim == 1:
        return np.eye(world.action_dim, dtype=np.float32)[episode.act]
    return episode.act
