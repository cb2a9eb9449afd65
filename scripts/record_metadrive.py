#!/usr/bin/env python
"""Episodes of MetaDrive seen through the windscreen: frames, classes, instances, distances, and who is where.

Each episode is of one seed, which draws its map, traffic, people, obstacles and driver, from careful to reckless. Seeds
from 9,000 on are for judging and are refused. Run again to go on: an episode that is there is not made again.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import tyro

from gensim.agents.filter import Driver, driver
from gensim.core.frames import encode
from gensim.core.progress import bar
from gensim.envs.driving import CONDITIONS, FPS, HEIGHT, SPEC, WIDTH
from gensim.envs.driving.simulator import MetaDrive
from gensim.envs.driving.source.labels import CLASSES, FAR, KINDS, NEAR, STEPS
from gensim.episodes.store import Dataset, Episode, write_episode

JUDGED = 9_000  # seeds from here on are for judging
WANDER = 0.9  # of an agent's noise, what is left of it after a step
LAYERS, ACTORS = ("classes", "instances", "depth"), 24  # the nearest ones are kept
ABOUT = {
    "env_id": SPEC.real_id,
    "env_kwargs": {},
    "size": HEIGHT,
    "width": WIDTH,
    "skip": 1,
    "fps": FPS,
    "action": SPEC.action.to_dict(),
    "labels": list(CLASSES),
    "depth": {"near": NEAR, "far": FAR, "steps": STEPS},
    "numbers": ["speed", "yaw_rate", "forward", "left", "turn"],
    "conditions": {name: list(ends) for name, ends in CONDITIONS.items()},
    "kinds": list(KINDS),
}


@dataclass(frozen=True)
class Record:
    """What to record."""

    out: Path = Path("runs/driving/data")
    """Folder of the data set."""
    episodes: int = 500
    """How many, each of a seed of its own."""
    seed: int = 0
    """Seed of the first."""
    steps: int = 250
    """Longest episode, in tenths of a second."""
    processes: int = 1
    """Simulators side by side."""
    agent: Path | None = None
    """Agent folder, who drives instead of the seeds' own drivers; what it learned on, it sees."""
    noise: float = 0.1
    """Standard deviation of what is added to an agent's actions, which wanders over a second."""

    def __post_init__(self) -> None:
        if min(self.episodes, self.steps, self.processes) < 1 or self.seed < 0:
            raise ValueError("episodes, steps and processes are at least 1, and seeds 0 or more")
        if self.seed + self.episodes > JUDGED:
            last = self.seed + self.episodes - 1
            raise ValueError(f"seeds {self.seed} to {last}: those from {JUDGED} are for judging")


def main(config: Record) -> None:
    """Records what is not there, and says what there is."""
    data = Dataset.create(config.out, ABOUT)
    seeds = [seed for seed in range(config.seed, config.seed + config.episodes) if not _path(config, seed).is_file()]
    began, frames = time.monotonic(), 0
    with ExitStack() as stack:
        progress = stack.enter_context(bar(config.episodes, "episodes"))
        progress.update(config.episodes - len(seeds))
        pool = stack.enter_context(ProcessPoolExecutor(config.processes, mp_context=get_context("spawn")))
        for job in as_completed([pool.submit(one, config, seed) for seed in seeds]):
            frames += job.result()
            progress.update(1)
    took = time.monotonic() - began
    meter, ends = data.write_meter(), Counter(header.meta["end"] for header in Dataset(config.out).episodes)
    told = {"in_folder": ends.total(), "ends": dict(ends), **meter}
    print(json.dumps(told | {"recorded_now": frames, "frames_a_second": round(frames / took, 1)}))


def one(config: Record, seed: int) -> int:
    """Records the episode of a seed; returns its frames."""
    agent = None if config.agent is None else _agent(config.agent)
    episode = episode_of(_simulator(config.steps), seed, agent, config.noise)
    write_episode(config.out, episode, f"{seed:06d}")
    return len(episode)


def episode_of(env: MetaDrive, seed: int, agent: Driver | None = None, noise: float = 0.0) -> Episode:
    """The episode of a seed, driven by its own driver or by an agent."""
    obs, info = env.reset(seed=seed)
    asked = {name: info[name] for name in env.asked} | ({} if agent is None else {"manner": "agent"})
    frames, infos, acts, rews, term, trunc = [encode(obs)], [info], [], [], False, False
    rng, wandering = np.random.default_rng([seed, 33]), np.zeros(2)
    if agent is not None:
        agent.reset(seed)
    while not (term or trunc):
        act = None
        if agent is not None:
            wandering = WANDER * wandering + (1 - WANDER**2) ** 0.5 * noise * rng.standard_normal(2)
            act = np.clip(agent.act(obs, acts[-1] if acts else None) + wandering, -1, 1).astype(np.float32)
        obs, rew, term, trunc, info = env.step(act)
        frames.append(encode(obs))
        infos.append(info)
        acts.append(info["act"])
        rews.append(rew)
    ends = np.arange(len(rews)) == len(rews) - 1
    layers = {name: [info[name] for info in infos] for name in LAYERS}
    ego = np.stack([info["ego"] for info in infos])
    tracks = {"ego": ego, "numbers": motion(ego), "actors": np.stack([_nearest(info) for info in infos])}
    meta = {**ABOUT, "policy": asked["manner"], "seed": seed, "real_frames": len(rews), "end": info["end"], **asked}
    return Episode.pack(frames, np.stack(acts), rews, ends & term, ends & trunc, meta, layers, tracks)


def motion(ego: np.ndarray) -> np.ndarray:
    """Speed (m/s), yaw rate (rad/s), and since the frame before metres ahead, to the left, radians turned (t, 5)."""
    place, heading = ego[:, :2].astype(np.float64), ego[:, 2].astype(np.float64)
    step, turn = np.diff(place, axis=0, prepend=place[:1]), np.diff(heading, prepend=heading[:1])
    before = np.concatenate([heading[:1], heading[:-1]])
    ahead = np.stack([np.cos(before), np.sin(before)], 1)
    forward, left = (step * ahead).sum(1), step[:, 1] * ahead[:, 0] - step[:, 0] * ahead[:, 1]
    turn = (turn + np.pi) % (2 * np.pi) - np.pi
    return np.stack([ego[:, 3], ego[:, 4], forward, left, turn], 1).astype(np.float32)


def _nearest(info: dict) -> np.ndarray:
    """The nearest actors, nearest first, float32 (24, 9); rows that are left over hold NaN."""
    actors, rows = info["actors"], np.full((ACTORS, 9), np.nan, np.float32)
    order = np.hypot(*(actors[:, 2:4] - info["ego"][:2]).T).argsort()[:ACTORS]
    rows[: len(order)] = actors[order]
    return rows


@lru_cache(1)
def _agent(folder: Path) -> Driver:
    return driver(folder)


_kept: list[MetaDrive] = []


def _simulator(steps: int) -> MetaDrive:
    """This process's simulator."""
    if not _kept:
        _kept.append(MetaDrive(labels=True, max_episode_steps=steps))
    return _kept[0]


def _path(config: Record, seed: int) -> Path:
    return config.out / f"ep-{seed:06d}.npz"


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main(tyro.cli(Record))
