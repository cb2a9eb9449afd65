"""Real frames as an agent wants them: through the world whose latents it learned on, or as they are."""

from __future__ import annotations

import multiprocessing
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gensim.agents.agent import Agent
from gensim.agents.reference import resolve
from gensim.episodes.actions import ActionSpec

if TYPE_CHECKING:
    from gensim.world import State, World
    from gensim.world.state import Step


class Filter:
    """Keeps a world's state along real frames, n episodes side by side.

    Arguments:
        world: the world whose latents are wanted.
    """

    def __init__(self, world: World) -> None:
        self.world, self.action = world, ActionSpec.from_dict(world.spec["action"])
        self.state: State | None = None
        self.step: Step | None = None

    def reset(self, seeds: np.ndarray) -> None:
        """Begins n episodes; the next frames are their first. Keys seeds (n,) uint64 draw the latents."""
        self.seeds, self.state, self.step = np.asarray(seeds).astype(np.uint64), None, None

    @property
    def trust(self) -> float:
        """The least trust of the last frames, a p-value; 1 on first frames."""
        return 1.0 if self.step is None else float(self.step.trust.min())

    def observe(self, frames: np.ndarray, last: np.ndarray | None) -> np.ndarray:
        """Latents (n, latent_dim) float32 after frames (n, h, w, 3) uint8 that the actions `last` led to.

        `last` is what was really executed, (n, k) or (n,); it is not looked at on first frames.
        """
        if self.state is None:
            self.state = self.world.first(frames, self.seeds)
        elif last is None:
            raise ValueError("these are not first frames: give the actions that led to them, or reset")
        else:
            self.state, self.step = self.world.observe(self.state, self.action.encode(last), frames)
        return self.world.latent(self.state)


class Pilot:
    """An agent that is shown frames, whatever it learned on.

    Arguments:
        agent: one on frames, or one on latents with its world (`gensim.agents.load`).
        deterministic: the likeliest action, not a drawn one; None takes the agent's own habit.
        filtered: frames become latents for an agent that sees those; False where latents are shown already.
    """

    def __init__(self, agent: Agent, deterministic: bool | None = None, filtered: bool = True) -> None:
        self.agent, self.deterministic, self.filter = agent, deterministic, None
        if filtered and agent.config.observation == "latents":
            if agent.world is None:
                raise ValueError("an agent on latents needs its world: load it with gensim.agents.load")
            self.filter = Filter(agent.world)

    def reset(self, seeds: np.ndarray) -> None:
        """Begins n episodes with the keys seeds (n,) uint64."""
        self.agent.reset(len(seeds), seeds)
        self.last: np.ndarray | None = None
        if self.filter is not None:
            self.filter.reset(seeds)

    def act(self, obs: np.ndarray, last: np.ndarray | None = None) -> np.ndarray:
        """The next actions after frames (n, h, w, 3) uint8; `last` are those executed, if not its own."""
        last = self.last if last is None else last
        obs = obs if self.filter is None else self.filter.observe(obs, last)
        self.last = self.agent.act(obs, self.deterministic)
        return self.last

    @property
    def latents(self) -> bool:
        """Whether it is shown the world's latents; else it is shown frames."""
        return self.filter is None and self.agent.config.observation == "latents"

    def snapshot(self) -> tuple[Any, ...]:
        """What it carries from step to step, in memory of its own."""
        return deepcopy(self.agent.memory), self.last, self.filter and self.filter.state

    def restore(self, memory: tuple[Any, ...]) -> None:
        """Takes up what `snapshot` gave."""
        kept, self.last, state = memory
        self.agent.memory = deepcopy(kept)
        if self.filter is not None:
            self.filter.state = state


class Driver:
    """A pilot of one episode, as `gensim record` seats it: frames without their first axis."""

    def __init__(self, pilot: Pilot) -> None:
        self.pilot = pilot

    @property
    def trust(self) -> float:
        """How well the agent's world knew the last frame's moment, a p-value; 1 on first frames and without a world."""
        return 1.0 if self.pilot.filter is None else self.pilot.filter.trust

    def reset(self, seed: int) -> None:
        """Begins an episode."""
        self.pilot.reset(np.array([seed], np.uint64))

    def act(self, frame: np.ndarray, last: np.ndarray | None = None) -> Any:
        """The next action (k,) after a frame (h, w, 3); `last` is the one executed, None at first."""
        return self.pilot.act(frame[None], None if last is None else np.asarray(last)[None])[0]


def load(folder: str | Path, world: World | str | Path | None = None) -> Agent:
    """The agent in a folder, with its world where it sees latents: found by its reference, or given.

    Raises FileNotFoundError when either is missing and ValueError when either is not what it should be.
    """
    agent = Agent.load(folder)
    if agent.config.observation == "latents":
        if agent.config.world is None:
            raise ValueError(f"{folder} sees latents but names no world: make it again with `gensim learn`")
        agent.world = resolve(agent.config.world, Path(folder), world)
    return agent


def driver(folder: str | Path) -> Driver:
    """Who drives while an agent is recorded; a recording process beside others computes on one thread."""
    if multiprocessing.parent_process() is not None:
        torch.set_num_threads(1)
    return Driver(Pilot(load(folder)))
