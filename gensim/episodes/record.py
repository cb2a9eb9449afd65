"""Recording: processes step a simulator and write each episode, whole, the moment it ends."""

from __future__ import annotations

import multiprocessing
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from gensim.core.frames import encode
from gensim.core.progress import bar
from gensim.episodes.actions import ActionSpec
from gensim.episodes.policies import NAMES, Driver, Policy, make_policy
from gensim.episodes.store import Dataset, Episode, write_episode

SEED_LIMIT = 1_000_000  # seeds from here on are kept for scores


@dataclass(frozen=True)
class RecordConfig:
    """What to record, for how long, and under whose hands."""

    out: Path
    """Folder of the data set; an existing one of the same kind is continued."""
    frames: int = 100_000
    """Stop when the folder's episodes hold this many simulator frames, skipped ones included."""
    policy: str = "random"
    """random, agent or mixed."""
    agent: Path | None = None
    """Folder of the agent, for the policies agent and mixed."""
    seed: int = 0
    """Episode i starts from reset seed `seed + i`; seeds stay below 1,000,000."""
    seeds: int = SEED_LIMIT
    """So many of them at most."""
    round: int = 0
    """Which round of record, fit and learn this is; rounds share a folder without clashing."""
    processes: int = 1
    """Simulators stepped side by side."""
    max_episode_steps: int | None = None
    """Cut episodes after this many steps (each of `skip` simulator frames)."""

    def __post_init__(self) -> None:
        if self.frames < 1 or self.processes < 1 or self.round < 0 or (self.max_episode_steps or 1) < 1:
            raise ValueError(
                f"frames={self.frames}, processes={self.processes}, round={self.round}, "
                f"max_episode_steps={self.max_episode_steps}: give at least 1, rounds from 0"
            )
        if self.seeds < 1:
            raise ValueError(f"seeds={self.seeds}: give at least 1")
        if not 0 <= self.seed < SEED_LIMIT:
            raise ValueError(f"seed {self.seed} is not in 0..{SEED_LIMIT - 1}; those above are for scores")
        if self.policy not in NAMES or (self.policy != "random" and self.agent is None):
            raise ValueError(f"policy {self.policy!r} is none of {NAMES}, or lacks its agent")


@dataclass(frozen=True)
class Maker:
    """How a process makes its simulator and its agent; all of it pickles.

    Arguments:
        env: makes the simulator: uint8 frames, `spec_dict` (what its data set is described by), and in
            every step's info `real_frames`, the simulator frames that it took.
        driver: makes the agent of a folder.
        about: provenance to write into every episode.
    """

    env: Callable[[], Any]
    driver: Callable[[Path], Driver] | None = None
    about: Mapping[str, str] = field(default_factory=dict)


def record(config: RecordConfig, maker: Maker, json: bool = False) -> dict[str, Any]:
    """Records until the folder holds `config.frames` simulator frames; returns the folder's meter.

    A killed run loses only episodes under way: they are made again, alike, from the same seeds.

    Arguments:
        config: what to record.
        maker: how to make the simulator and the agent.
        json: no progress bar.
    """
    data = _open(config, maker)
    done = {header.path.name: header.real_frames for header in data.episodes}
    spent = _Spent(sum(done.values()))
    with bar(config.frames, "frames", json, unit="f") as progress, _crew(config, maker) as crew:
        progress.update(spent.frames)
        for real_frames in crew(_due(config, set(done), spent)):
            spent.frames += real_frames
            progress.update(real_frames)
    meter = data.write_meter()
    if spent.frames < config.frames:
        raise ValueError(
            f"{spent.frames:,} of {config.frames:,} frames are recorded, and there are no more seeds for episodes as "
            "short as these: ask for fewer frames, or for longer episodes"
        )
    return meter


def episode_name(config: RecordConfig, index: int) -> str:
    """The name of episode `index` of a round: by its reset seed, so that a lost one is made again."""
    return f"{config.round:02d}-{config.seed + index:06d}"


def record_episode(
    env: Any, policy: Policy, config: RecordConfig, index: int, about: Mapping[str, str] | None = None
) -> Episode:
    """Steps one episode from its seeds to its end, or to `config.max_episode_steps`."""
    seed = config.seed + index
    key = [(config.round << 32) + config.seed, seed]
    policy.reset(np.random.Generator(np.random.Philox(key=key)))
    frame, _ = env.reset(seed=seed)
    tape = _Tape([encode(frame)])
    act: np.ndarray | None = None
    while not tape.ended:
        act = policy.act(frame, act)
        frame, rew, term, trunc, info = env.step(act)
        cut = not term and len(tape.rew) + 1 == config.max_episode_steps
        tape.add(encode(frame), act, rew, term, trunc or cut, info["real_frames"])
    meta = {"seed": seed, "round": config.round, "policy": config.policy, "policy_key": key}
    return tape.episode({**env.spec_dict, **meta, **(about or {}), "versions": made_with()})


@dataclass
class _Tape:
    """The steps of an episode under way."""

    png: list[bytes]
    act: list[np.ndarray] = field(default_factory=list)
    rew: list[float] = field(default_factory=list)
    term: list[bool] = field(default_factory=list)
    trunc: list[bool] = field(default_factory=list)
    real_frames: int = 0

    @property
    def ended(self) -> bool:
        return bool(self.rew) and (self.term[-1] or self.trunc[-1])

    def add(self, png: bytes, act: np.ndarray, rew: float, term: bool, trunc: bool, real_frames: int) -> None:
        self.png.append(png)
        self.act.append(np.array(act))
        self.rew.append(float(rew))
        self.term.append(bool(term))
        self.trunc.append(bool(trunc))
        self.real_frames += int(real_frames)

    def episode(self, meta: dict[str, Any]) -> Episode:
        meta = {**meta, "real_frames": self.real_frames}
        return Episode.pack(self.png, self.act, self.rew, self.term, self.trunc, meta)


@dataclass
class _Spent:
    """Simulator frames that the folder's episodes hold so far."""

    frames: int


def _due(config: RecordConfig, done: set[str], spent: _Spent) -> Iterator[int]:
    """Indices of episodes that are not there, for as long as frames are wanted."""
    for index in range(min(config.seeds, SEED_LIMIT - config.seed)):
        if f"ep-{episode_name(config, index)}.npz" not in done:
            if spent.frames >= config.frames:
                return
            yield index


def _open(config: RecordConfig, maker: Maker) -> Dataset:
    """The data set, with the description of the simulator that is about to be recorded."""
    env = maker.env()
    try:
        return Dataset.create(config.out, env.spec_dict)
    finally:
        env.close()


@dataclass
class _Worker:
    """One simulator and one policy: turns episode indices into files and counts their frames."""

    config: RecordConfig
    maker: Maker

    def __post_init__(self) -> None:
        self.env = self.maker.env()
        action = ActionSpec.from_dict(self.env.spec_dict["action"])
        driver = None
        if self.config.agent is not None and self.maker.driver is not None:
            driver = self.maker.driver(self.config.agent)
        self.policy = make_policy(self.config.policy, action, driver)

    def __call__(self, index: int) -> int:
        episode = record_episode(self.env, self.policy, self.config, index, self.maker.about)
        write_episode(self.config.out, episode, episode_name(self.config, index))
        return int(episode.meta["real_frames"])


Crew = Callable[[Iterator[int]], Iterator[int]]


@contextmanager
def _crew(config: RecordConfig, maker: Maker) -> Iterator[Crew]:
    """A function from episode indices to the frames each took, run here or in processes."""
    if config.processes == 1:
        worker = _Worker(config, maker)
        try:
            yield lambda indices: map(worker, indices)
        finally:
            worker.env.close()
        return
    hired = [_hire(config, maker) for _ in range(config.processes)]
    try:
        yield lambda indices: _share(indices, [link for link, _ in hired])
    finally:
        for link, _ in hired:
            link.close()
        for _, process in hired:
            process.join(1.0)  # those without work have seen their link close
            process.terminate()
            process.join()


def _hire(config: RecordConfig, maker: Maker) -> tuple[Connection, BaseProcess]:
    """A recording process, and the link by which it takes indices and answers."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, config, maker), daemon=True)
    process.start()
    there.close()
    return here, process


def _share(indices: Iterator[int], links: list[Connection]) -> Iterator[int]:
    """Gives each idle process the next index until there are none, and yields the frames that come back."""
    busy = [link for link in links if _hand(link, indices)]
    while busy:
        for link in [link for link in busy if link in wait(busy)]:
            yield _take(link)
            if not _hand(link, indices):
                busy.remove(link)


def _hand(link: Connection, indices: Iterator[int]) -> bool:
    """Whether there was an index left to hand over."""
    index = next(indices, None)
    if index is not None:
        with suppress(BrokenPipeError):  # what it died of is in its answer
            link.send(index)
    return index is not None


def _take(link: Connection) -> int:
    try:
        answer = link.recv()
    except (EOFError, ConnectionResetError):
        raise RuntimeError("a recording process died; finished episodes are kept: run again") from None
    if isinstance(answer, str):
        raise RuntimeError(f"a recording process failed:\n{answer}")
    return answer


def _serve(link: Connection, config: RecordConfig, maker: Maker) -> None:
    """A recording process: it ends when the other end of its link does, however that happens."""
    import cv2

    cv2.setNumThreads(1)
    try:
        worker = _Worker(config, maker)
        while True:
            link.send(worker(link.recv()))
    except (EOFError, BrokenPipeError, KeyboardInterrupt):
        return
    except Exception:
        link.send(traceback.format_exc())


def made_with() -> dict[str, str]:
    """The versions of what an episode was made with."""
    return {
        "gensim-worlds": version("gensim-worlds"),
        "gymnasium": gymnasium.__version__,
        "numpy": np.__version__,
    }
