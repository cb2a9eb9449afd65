#!/usr/bin/env python
"""Records the sources of the out-of-distribution benchmark (`gensim.ood.pairs`): one data set a source and part.

Each part has seeds of its own, below 1,000,000. The shipped agents drive CarRacing and TakeCover, chance all else. Run
again to go on: an episode is made from its seed alone, so that a killed run loses only what was under way.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import tyro

from gensim.agents.filter import driver
from gensim.envs.real import RealEnv, make_real
from gensim.envs.takecover import SEEN
from gensim.episodes import ActionSpec, Dataset, write_episode
from gensim.episodes.actions import to_simulator
from gensim.episodes.policies import make_policy
from gensim.episodes.record import RecordConfig, episode_name, record_episode
from gensim.episodes.store import read_header, read_or_warn
from gensim.ood.changes import Spell, changed
from gensim.ood.pairs import BEGIN, LEVEL, SEEDS, SOURCES, Source, source

SIZE = 64  # pixels
AGENTS = Path(__file__).resolve().parents[1] / "agents"


@dataclass(frozen=True)
class Record:
    """What to record."""

    out: Path = Path("runs/pairs")
    """Folder of the data sets, SOURCE/PART each."""
    sources: tuple[str, ...] = ()
    """Names of sources; all by default."""
    share: float = 1.0
    """How much of the steps in the list is recorded, for a quick look."""
    processes: int = 2
    """Parts that are recorded side by side."""

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1 or self.processes < 1:
            raise ValueError(f"share={self.share}, processes={self.processes}: give 0 to 1, and at least 1")


def main(config: Record) -> None:
    """Records what is missing and says what there is."""
    config = replace(config, out=config.out.resolve())
    chosen = [source(name) for name in config.sources] or [*SOURCES]
    work = [(one, part) for one in chosen for part in one.parts]
    work.sort(key=lambda pair: -pair[0].parts[pair[1]])  # the longest first
    for told in _shared(partial(record_part, config), work, config.processes):
        print("{name}/{part}: {steps} steps in {episodes} episodes, {seconds} s of one core".format(**told), flush=True)


def _shared(task: Any, work: list[tuple[Source, str]], processes: int) -> Any:
    """Results as they come, made here or in processes."""
    if processes == 1:
        yield from (task(*one) for one in work)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        jobs = [pool.submit(task, one, part) for one, part in work]
        for job in as_completed(jobs):
            yield job.result()


@contextmanager
def _elsewhere() -> Iterator[None]:
    """A folder of its own to work in: VizDoom leaves files where it is started, and two that do so at once both end."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def record_part(config: Record, one: Source, part: str) -> dict[str, Any]:
    """Records a part of a source until it has its steps; returns what there is of it."""
    with _elsewhere():
        return _recorded(config, one, part)


def _recorded(config: Record, one: Source, part: str) -> dict[str, Any]:
    import cv2
    import torch

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    began, folder, env = time.process_time(), config.out / one.name / part, simulator(one)
    data = Dataset.create(folder, {**env.spec_dict, "source": one.name, "part": part})
    policy = "agent" if one.agent else "random"
    agent = AGENTS / one.agent if one.agent else None
    settings = RecordConfig(folder, policy=policy, agent=agent, seed=SEEDS[part], max_episode_steps=one.steps)
    player = make_policy(policy, ActionSpec.from_dict(env.spec_dict["action"]), driver(agent) if agent else None)
    steps = index = 0
    while steps < config.share * one.parts[part]:
        name = episode_name(settings, index)
        path = folder / f"ep-{name}.npz"
        header = read_or_warn(read_header, path) if path.exists() else None
        if header is None:
            write_episode(folder, record_episode(env, player, settings, index, {"source": one.name}), name)
            header = read_header(path)
        steps, index = steps + header.length, index + 1
    env.close()
    data.write_meter()
    seconds = round(time.process_time() - began, 1)
    return {"name": one.name, "part": part, "steps": steps, "episodes": index, "seconds": seconds}


def simulator(one: Source) -> Any:
    """A source's simulator as gensim sees it, under its change of dynamics where it has one."""
    env = _rendered(one) if one.look == "render" else _observed(one)
    if one.change is None:
        return env
    kept = env.spec_dict
    env = changed(env, one.change, LEVEL, Spell(BEGIN))
    kept["change"] = {"name": one.change, "strength": LEVEL, "begin": BEGIN}
    return env


def _observed(one: Source) -> RealEnv:
    """The simulator's image observations; of VizDoom's scenarios the rows of TakeCover's."""
    kwargs = dict(one.kwargs)
    if one.env_id.startswith("vizdoom"):
        kwargs["doom_config_path"] = os.devnull  # or it leaves files where it is started
    env = make_real(one.env_id, SIZE, one.skip, kwargs)
    if one.look == "band":
        whole = env.look
        env.look = lambda obs: whole(obs)[SEEN]
    return env


def _rendered(one: Source) -> RealEnv:
    """The simulator as it is rendered, whatever its observations are."""
    kwargs: dict[str, Any] = {
        key: dict(value) if isinstance(value, dict) else value for key, value in one.kwargs.items()
    }
    env = gym.make(one.env_id, disable_env_checker=True, render_mode="rgb_array", **kwargs)
    if one.family == "mujoco":
        _lighten(env.unwrapped)
        _settle(env.unwrapped)
    fps = env.metadata.get("render_fps", 30) / one.skip
    action = ActionSpec.of(env.action_space)
    spec = {"env_id": one.env_id, "env_kwargs": kwargs, "size": SIZE, "skip": one.skip, "fps": fps}
    return RealEnv(env, lambda _: _picture(env), to_simulator(env.action_space), {**spec, "action": action.to_dict()})


def _lighten(env: Any) -> None:
    """Leaves out shadows and smoothed edges: without a graphics card they take nearly all the time."""
    env.model.vis.quality.shadowsize = 0
    env.model.vis.quality.offsamples = 0


def _settle(env: Any) -> None:
    """Points the camera at the model's middle; else it looks where the first pose ever drawn happened to be."""
    renderer = env.mujoco_renderer
    renderer.default_cam_config = {"lookat": np.array(env.model.stat.center), **(renderer.default_cam_config or {})}


def _picture(env: gym.Env) -> np.ndarray:
    """What a simulator renders; highway-env draws on no display only when it is told to."""
    viewer = getattr(env.unwrapped, "viewer", None)
    if viewer is not None and hasattr(viewer, "enabled") and not viewer.enabled:
        viewer.enabled = True
    frame = np.asarray(env.render(), np.uint8)
    if viewer is None and hasattr(getattr(env.unwrapped, "viewer", None), "enabled"):
        return _picture(env)  # the viewer was made by the first look and drew nothing yet
    return frame


if __name__ == "__main__":
    main(tyro.cli(Record, description=__doc__))
