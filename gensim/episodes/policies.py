"""Who acts while a simulator is recorded: chance with a memory, an agent, or both."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from gensim.episodes.actions import ActionSpec

NAMES = ("random", "agent", "mixed")


class Driver(Protocol):
    """An agent as the recorder meets it: frames uint8 (h, w, 3), the last executed action (None at first).

    `trust` is how well its world knew the last frame's moment, a p-value; 1 where it has no world.
    """

    @property
    def trust(self) -> float: ...

    def reset(self, seed: int) -> None: ...

    def act(self, frame: np.ndarray, last: np.ndarray | None) -> np.ndarray: ...


class Policy(Protocol):
    """Chooses actions for one episode after another."""

    def reset(self, rng: np.random.Generator) -> None: ...

    def act(self, frame: np.ndarray, last: np.ndarray | None) -> np.ndarray: ...


@dataclass
class RandomBox:
    """Drifting actions: an AR(1) process a dimension, mean, spread and memory drawn for each episode.

    Arguments:
        dim: the number k of action dimensions, each in -1..1.
        mean: means are uniform in -mean..mean.
        std: the range of standard deviations, uniform.
        steps: the range of time constants, log-uniform, in steps.
    """

    dim: int
    mean: float = 0.6
    std: tuple[float, float] = (0.3, 0.9)
    steps: tuple[float, float] = (2.0, 40.0)
    rng: np.random.Generator = field(init=False, repr=False)

    def reset(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.centre = rng.uniform(-self.mean, self.mean, self.dim)
        self.memory = np.exp(-1.0 / log_uniform(rng, self.steps, self.dim))
        self.spread = rng.uniform(*self.std, self.dim)
        self.x = self.spread * rng.standard_normal(self.dim)

    def act(self, frame: np.ndarray, last: np.ndarray | None) -> np.ndarray:
        act = np.clip(self.centre + self.x, -1.0, 1.0).astype(np.float32)
        fresh = self.spread * np.sqrt(1.0 - self.memory**2)
        self.x = self.memory * self.x + fresh * self.rng.standard_normal(self.dim)
        return act


@dataclass
class RandomDiscrete:
    """Sticky choices: each is held for a geometric time of a mean drawn for each episode, log-uniform."""

    n: int
    hold: tuple[float, float] = (1.0, 16.0)
    rng: np.random.Generator = field(init=False, repr=False)

    def reset(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.change = 1.0 / log_uniform(rng, self.hold, 1)[0]
        self.choice = rng.integers(self.n)

    def act(self, frame: np.ndarray, last: np.ndarray | None) -> np.ndarray:
        choice, changes = self.choice, self.rng.random() < self.change
        if changes:
            self.choice = self.rng.integers(self.n)
        return np.int64(choice)


@dataclass
class AgentPolicy:
    """The agent itself."""

    driver: Driver

    def reset(self, rng: np.random.Generator) -> None:
        self.driver.reset(int(rng.integers(2**31)))

    def act(self, frame: np.ndarray, last: np.ndarray | None) -> np.ndarray:
        return self.driver.act(frame, last)


@dataclass
class Mixed:
    """The agent with noise of a strength drawn for each episode, and bursts in which chance takes over.

    Arguments:
        driver: the agent, which sees every frame and the action that was really executed.
        action: its action space; choices are replaced with the probability that noise has for numbers.
        noise: the greatest noise scale, drawn uniformly from 0..noise.
        burst: the probability a step that a burst begins,
        doubt: and how many times as likely it is where the agent's world is out of its data (trust below 0.1).
        steps: the shortest and longest burst, in steps.
    """

    driver: Driver
    action: ActionSpec
    noise: float = 0.5
    burst: float = 0.02
    doubt: float = 5.0
    steps: tuple[int, int] = (5, 25)
    rng: np.random.Generator = field(init=False, repr=False)

    def reset(self, rng: np.random.Generator) -> None:
        self.rng, self.left = rng, 0
        self.driver.reset(int(rng.integers(2**31)))
        self.scale = rng.uniform(0.0, self.noise)
        self.drift = RandomBox(self.action.dim, mean=0.0, std=(1.0, 1.0))
        self.drift.reset(rng)
        self.chance = random_policy(self.action)

    def act(self, frame: np.ndarray, last: np.ndarray | None) -> np.ndarray:
        own, drift = self.driver.act(frame, last), self.drift.act(frame, last)
        burst = self.burst * (self.doubt if self.driver.trust < 0.1 else 1.0)
        if self.left == 0 and self.rng.random() < burst:
            self.left = int(self.rng.integers(self.steps[0], self.steps[1] + 1))
            self.chance.reset(self.rng)
        if self.left:
            self.left -= 1
            return self.chance.act(frame, last)
        return self._noisy(own, drift)

    def _noisy(self, own: np.ndarray, drift: np.ndarray) -> np.ndarray:
        if self.action.type == "box":
            return np.clip(own + self.scale * drift, -1.0, 1.0).astype(np.float32)
        return np.int64(self.rng.integers(self.action.size)) if self.rng.random() < self.scale else own


def log_uniform(rng: np.random.Generator, ends: tuple[float, float], n: int) -> np.ndarray:
    """n numbers between two positive ends whose logarithms are uniform."""
    low, high = np.log(ends)
    return np.exp(rng.uniform(low, high, n))


def random_policy(action: ActionSpec) -> RandomBox | RandomDiscrete:
    """Chance for an action space."""
    return RandomBox(action.size) if action.type == "box" else RandomDiscrete(action.size)


def make_policy(name: str, action: ActionSpec, driver: Driver | None = None) -> Policy:
    """The policy called "random", "agent" or "mixed"; the last two need a driver."""
    if name == "random":
        return random_policy(action)
    if name not in NAMES:
        raise ValueError(f"policy {name!r} is unknown: choose one of {', '.join(NAMES)}")
    if driver is None:
        raise ValueError(f"policy {name!r} needs an agent: name its folder")
    return AgentPolicy(driver) if name == "agent" else Mixed(driver, action)
