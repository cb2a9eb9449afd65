"""Dreamed episodes, to calibrate a detector on: what a dream shows is not what its simulator shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

Policy = Callable[[np.ndarray], np.ndarray]


def dreams(
    world: str | Path,
    episodes: int,
    seed: int = 0,
    policy: Policy | None = None,
    horizon: int | None = None,
    rows: int = 8,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Dreamed episodes one after another: (frames uint8 (t + 1, h, w, 3), acts (t, k) or (t,)).

    Episode i is what the environment of this world dreams under reset seed `seed + i`, whatever `rows`.

    Arguments:
        world: a world's folder, or "gensim:NAME" for one that comes with gensim.
        episodes: how many.
        seed: of the first.
        policy: from frames (n, h, w, 3) to actions (n, k) or (n,); without one, actions are drawn and each is held for
            some steps.
        horizon: steps at most of each; None takes the world's own.
        rows: dreams side by side.
    """
    if episodes < 1 or rows < 1:
        raise ValueError(f"episodes={episodes}, rows={rows}: give 1 or more")
    from gensim.envs.vector import DreamVectorEnv

    for begin in range(0, episodes, rows):
        n = min(rows, episodes - begin)
        env = DreamVectorEnv(num_envs=n, world=str(world), horizon=horizon, autoreset_mode="Disabled")
        seeds = [seed + begin + i for i in range(n)]
        yield from _dreamt(env, seeds, policy or _Held(env.single_action_space, seeds))
        env.close()


class _Held:
    """Drawn actions, each held for 1 to 8 steps; a row's draws depend on its seed alone."""

    def __init__(self, space: object, seeds: list[int]) -> None:
        self._space = space
        self._rng = [np.random.Generator(np.random.Philox(key=[seed, 2**58])) for seed in seeds]
        self._left, self._act = [0] * len(seeds), [np.zeros(0)] * len(seeds)

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        return np.stack([self._next(i) for i in range(len(frames))])

    def _next(self, i: int) -> np.ndarray:
        if not self._left[i]:
            rng, space = self._rng[i], self._space
            self._left[i] = int(rng.integers(1, 9))
            n = getattr(space, "n", None)
            draw = rng.integers(n) if n else rng.uniform(-1, 1, getattr(space, "shape", ())).astype(np.float32)
            self._act[i] = np.asarray(draw)
        self._left[i] -= 1
        return self._act[i]


def _dreamt(env: object, seeds: list[int], policy: Policy) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The episodes of all rows of a vector environment that resets none by itself, in order."""
    dream = env.dream  # type: ignore[attr-defined]
    obs, _ = env.reset(seed=seeds)  # type: ignore[attr-defined]
    frames, acts, lengths = [obs], [], np.zeros(len(seeds), np.int64)
    while not dream.now.done.all():
        live = ~dream.now.done
        acts.append(np.asarray(policy(frames[-1])))
        dream.step(dream.controls.read(acts[-1], len(seeds), dream.now.done))
        frames.append(dream.observe())
        lengths[live] += 1
    for i, t in enumerate(lengths):
        yield np.stack([frame[i] for frame in frames[: t + 1]]), np.stack([act[i] for act in acts[:t]])
