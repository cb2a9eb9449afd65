"""What an agent is worth: its returns over whole episodes, in a simulator or in a dream."""

from __future__ import annotations

import json
import math
import multiprocessing
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from gensim.agents.agent import Agent
from gensim.agents.filter import Pilot, load
from gensim.agents.reference import world_folder, world_ids
from gensim.core.files import sha256
from gensim.core.intervals import student_t95
from gensim.core.progress import bar
from gensim.envs.real import make_real

ROWS = 64  # dreamed episodes side by side
TOGETHER = 8  # simulated ones, in each process: an agent looks at eight frames as fast as at one


class Actor(Protocol):
    """Who plays n episodes side by side, such as a `Pilot`."""

    def reset(self, seeds: np.ndarray) -> None:
        """Begins n episodes with the keys seeds (n,) uint64."""

    def act(self, obs: np.ndarray) -> np.ndarray:
        """Actions (n, k) or (n,) after frames (n, h, w, 3)."""
        ...


@dataclass(frozen=True)
class Trial:
    """Which agent plays where; small enough to hand to a process."""

    agent: Path
    """Folder of the agent."""
    weights: str
    """SHA-256 of its weights."""
    env: str
    """Gymnasium id of a simulator, or the id or folder of a world."""
    deterministic: bool | None = None
    """The likeliest actions, not drawn ones; None takes the agent's own habit."""
    world: Path | None = None
    """Folder of the agent's world, where its own reference does not find it."""
    env_kwargs: str = "{}"
    """Arguments of the simulator or of the dream, as JSON."""


@dataclass(frozen=True)
class Played:
    """One episode: its seed, the sum of its rewards, its steps, and the simulator frames it took."""

    seed: int
    reward: float
    length: int
    real_frames: int


@dataclass(frozen=True)
class ScoreResult:
    """Returns of whole episodes, undiscounted, and what they say of the mean."""

    env: str
    agent: str
    """Folder of the agent."""
    weights: str
    """SHA-256 of its weights."""
    deterministic: bool
    mean: float
    std: float | None
    """Standard deviation of a return, with n - 1; None for one episode."""
    ci95: tuple[float, float] | None
    """95 % interval of the mean by Student's t; None for one episode."""
    returns: list[float] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    """Steps of each episode, of the world's length."""
    real_frames: int = 0
    """Simulator frames that were taken, skipped ones included."""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the simulator, or of the dream."""
    world_hash: str | None = None
    """SHA-256 of the weights of the world that was dreamed in."""
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON."""
        return json.loads(json.dumps(asdict(self)))


def score(
    agent: Agent | str | Path,
    env: str | Path,
    episodes: int = 10,
    seed: int = 0,
    processes: int = 2,
    deterministic: bool | None = None,
    world: str | Path | None = None,
    env_kwargs: Mapping[str, Any] | None = None,
    quiet: bool = True,
) -> ScoreResult:
    """Plays whole episodes with the reset seeds seed, seed + 1, ... and sums their rewards.

    The same arguments give the same returns: the agent's own chances follow from each episode's seed.

    Arguments:
        agent: its folder, or one that was loaded from it.
        env: Gymnasium id of a simulator, or the id or folder of a world to dream in.
        episodes: how many.
        seed: of the first.
        processes: simulators side by side, each on one thread; a dream runs in this process.
        deterministic: the likeliest actions, not drawn ones; None takes the agent's own habit.
        world: folder of the agent's world, where its own reference does not find it.
        env_kwargs: arguments of the simulator, or of the dream (horizon, temperature, ...).
        quiet: no progress bar.
    """
    if episodes < 1 or processes < 1 or seed < 0:
        given = f"episodes={episodes}, processes={processes}, seed={seed}"
        raise ValueError(f"{given}: give at least 1, 1 and 0")
    trial = _trial(agent, env, deterministic, world, env_kwargs)
    began, played = time.monotonic(), []
    episodes_of = _dreamed if _is_dream(trial.env) else _simulated
    with bar(episodes, "episodes", quiet, unit="ep") as progress:
        for one in episodes_of(trial, range(seed, seed + episodes), processes):
            played.append(one)
            progress.update()
            progress.set_postfix(mean=f"{np.mean([p.reward for p in played]):.1f}")
    return _result(trial, sorted(played, key=lambda one: one.seed), time.monotonic() - began)


def blocks(seeds: range, processes: int) -> list[range]:
    """Seeds of the episodes that a process plays side by side, 8 at most, shared out evenly."""
    turns = math.ceil(len(seeds) / processes / TOGETHER)
    together = math.ceil(len(seeds) / processes / turns)
    return [seeds[i : i + together] for i in range(0, len(seeds), together)]


def play(envs: Sequence[Any], pilot: Actor, seeds: Sequence[int]) -> list[Played]:
    """One whole episode in each simulator (of `make_real`), side by side: each as if it were played alone."""
    frames = np.stack([env.reset(seed=seed)[0] for env, seed in zip(envs, seeds)])  # (n, h, w, 3)
    pilot.reset(np.array(seeds, np.uint64))
    before = [env.real_frames for env in envs]
    rewards: list[list[float]] = [[] for _ in seeds]
    going = [*range(len(seeds))]
    while going:
        acts = pilot.act(frames)
        for i in [*going]:
            frames[i], rew, term, trunc, _ = envs[i].step(acts[i])
            rewards[i].append(rew)
            if term or trunc:
                going.remove(i)
    ends = [env.real_frames for env in envs]
    return [Played(s, math.fsum(r), len(r), end - begin) for s, r, begin, end in zip(seeds, rewards, before, ends)]


def _trial(
    agent: Agent | str | Path,
    env: str | Path,
    deterministic: bool | None,
    world: str | Path | None,
    env_kwargs: Mapping[str, Any] | None,
) -> Trial:
    """The trial, once it is sure that the agent and its world are there."""
    folder = agent.folder if isinstance(agent, Agent) else Path(agent)
    if folder is None:
        raise ValueError("the agent has no folder that another process could load it from: save it first")
    found = load(folder, world)
    calm = found.config.deterministic if deterministic is None else deterministic
    where = found.world.folder if found.world is not None else None
    weights = sha256(folder / "policy.safetensors")
    return Trial(folder, weights, str(env), calm, where, json.dumps(dict(env_kwargs or {})))


def _result(trial: Trial, played: list[Played], seconds: float) -> ScoreResult:
    returns = [one.reward for one in played]
    n, mean = len(returns), float(np.mean(returns))
    std = float(np.std(returns, ddof=1)) if n > 1 else None
    half = student_t95(n) * std / math.sqrt(n) if std is not None else None
    return ScoreResult(
        env=trial.env,
        agent=str(trial.agent),
        weights=trial.weights,
        deterministic=bool(trial.deterministic),
        mean=mean,
        std=std,
        ci95=None if half is None else (mean - half, mean + half),
        returns=returns,
        seeds=[one.seed for one in played],
        lengths=[one.length for one in played],
        real_frames=sum(one.real_frames for one in played),
        env_kwargs=json.loads(trial.env_kwargs),
        world_hash=sha256(world_folder(trial.env) / "world.safetensors") if _is_dream(trial.env) else None,
        seconds=round(seconds, 3),
    )


def _is_dream(env: str) -> bool:
    return env in world_ids() or env.startswith("gensim:") or (Path(env) / "world.json").is_file()


def _simulated(trial: Trial, seeds: range, processes: int) -> Iterator[Played]:
    """Episodes as they end, in this process or in several."""
    parts = blocks(seeds, processes)
    if processes == 1:
        yield from (one for block in parts for one in _some(trial, block))
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(parts)), mp_context=context, initializer=alone) as pool:
        jobs = [pool.submit(_some, trial, block) for block in parts]
        try:
            yield from (one for job in as_completed(jobs) for one in job.result())
        finally:
            pool.shutdown(cancel_futures=True)


def alone() -> None:
    """A worker computes on one thread: its neighbours have the others."""
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def _some(trial: Trial, seeds: range) -> list[Played]:
    return play([_simulator(trial, i) for i in range(len(seeds))], _pilot(trial), seeds)


@lru_cache(maxsize=1)
def _pilot(trial: Trial) -> Pilot:
    return Pilot(load(trial.agent, trial.world), trial.deterministic)


@lru_cache(maxsize=TOGETHER)
def _simulator(trial: Trial, index: int) -> Any:
    """One of the simulators side by side, kept from one block of episodes to the next."""
    agent = _pilot(trial).agent
    config = agent.config
    h, w = config.shape[:2] if agent.world is None else agent.world.config.shape
    env = make_real(trial.env, (h, w), config.skip, json.loads(trial.env_kwargs))
    action = env.spec_dict["action"]
    if action != config.action.to_dict():
        raise ValueError(f"{trial.env} takes actions {action}, the agent gives {config.action.to_dict()}")
    return env


def _dreamed(trial: Trial, seeds: range, processes: int) -> Iterator[Played]:
    """Episodes dreamed side by side in this process, on latents where the agent knows the world's own."""
    from gensim.envs.engine import load_world
    from gensim.envs.vector import DreamVectorEnv

    agent = load(trial.agent, trial.world)
    folder = world_folder(trial.env)
    own = agent.world is not None and agent.world.hash == load_world(folder).hash
    pilot = Pilot(agent, trial.deterministic, filtered=not own)
    for start in range(0, len(seeds), ROWS):
        some = seeds[start : start + ROWS]
        env = DreamVectorEnv(
            num_envs=len(some),
            world=str(folder),
            observation="latents" if own else "frames",
            **json.loads(trial.env_kwargs),
        )
        yield from _dream(env, pilot, some)
        env.close()


def _dream(env: Any, pilot: Pilot, seeds: range) -> Iterator[Played]:
    """The first episode of each row; rows that have ended dream on unheeded until all have."""
    obs, _ = env.reset(seed=seeds[0])
    pilot.reset(np.array(seeds, np.uint64))
    total, length = np.zeros(len(seeds)), np.zeros(len(seeds), np.int64)
    going = np.ones(len(seeds), bool)
    while going.any():
        obs, rew, term, trunc, _ = env.step(pilot.act(obs))
        total, length = total + rew * going, length + going
        for row in np.flatnonzero(going & (term | trunc)):
            yield Played(seeds[row], float(total[row]), int(length[row]), 0)
        going &= ~(term | trunc)
