"""A simulator of one line, without Gymnasium: what a world can learn in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gensim.episodes import Dataset, Episode, write_episode

SPEC = {
    "env_id": "Slider-v0",
    "env_kwargs": {},
    "size": 32,
    "skip": 1,
    "fps": 10,
    "action": {"type": "box", "dim": 1},
}


def slide(seed: int) -> Episode:
    """A bar that actions push sideways; the reward is the push itself, and the edge ends the episode."""
    rng = np.random.default_rng(seed)
    x, frames, act, rew, term = 14.0, [], [], [], []
    frames.append(draw(x))
    while len(act) < 40 and not (term and term[-1]):
        a = float(rng.choice([-1.0, -0.5, 0.5, 1.0]))
        x += 4 * a
        act.append([a])
        rew.append(a)
        term.append(not 0 <= x <= 28)
        frames.append(draw(x))
    trunc = [False] * (len(act) - 1) + [not term[-1]]
    return Episode.pack(
        frames, act, rew, term, trunc, SPEC | {"seed": seed, "real_frames": len(act), "policy": "random"}
    )


def draw(x: float) -> np.ndarray:
    frame = np.full((32, 32, 3), 40, np.uint8)
    left = int(np.clip(x, -3, 31))
    frame[8:24, max(left, 0) : left + 4] = (250, 120, 30)
    return frame


def slides(folder: Path, episodes: int) -> Path:
    """A data set of so many of them, in `folder`."""
    Dataset.create(folder, SPEC)
    for seed in range(episodes):
        write_episode(folder, slide(seed), f"{seed:04d}")
    return folder
