"""Small random worlds that every test can dream in, and the cases that the contract is checked on."""

from __future__ import annotations

import os

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest

import gensim
from gensim.envs.registry import ANY_WORLD


@dataclass(frozen=True)
class Case:
    """An environment that must keep the contract."""

    id: str
    kwargs: dict[str, Any]

    def make(self, **kwargs: Any) -> gym.Env:
        """The single environment."""
        return gym.make(self.id, **{**self.kwargs, **kwargs})

    def make_vec(self, num_envs: int, **kwargs: Any) -> gym.vector.VectorEnv:
        """The native vector environment, or with `vectorization_mode` one of gymnasium's."""
        return gym.make_vec(self.id, num_envs=num_envs, **{**self.kwargs, **kwargs})

    @property
    def world(self) -> str:
        """What the environment is given as its world."""
        return self.kwargs.get("world") or gym.spec(self.id).kwargs["world"]


@pytest.fixture(scope="session")
def tiny_world(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a folder with a small random world: tiny_world("box"), tiny_world("discrete", seed=1)."""
    from tiny import make_world

    folders: dict[tuple[str, int], Path] = {}

    def make(kind: str = "box", seed: int = 0) -> Path:
        if (kind, seed) not in folders:
            folders[kind, seed] = make_world(tmp_path_factory.mktemp(f"{kind}{seed}"), kind, seed)
        return folders[kind, seed]

    return make


@pytest.fixture(params=["box", "discrete"])
def tiny(request: pytest.FixtureRequest, tiny_world: Callable[..., Path]) -> Case:
    """gensim/World-v0 on a small random world, one of each kind of actions."""
    return Case(ANY_WORLD, {"world": str(tiny_world(request.param))})


@pytest.fixture
def box(tiny_world: Callable[..., Path]) -> Case:
    """gensim/World-v0 on a small random world with continuous actions."""
    return Case(ANY_WORLD, {"world": str(tiny_world("box"))})


@pytest.fixture(params=["box", "discrete", *(id_ for id_ in gensim.registered() if id_ != ANY_WORLD)])
def case(request: pytest.FixtureRequest, tiny_world: Callable[..., Path]) -> Case:
    """Every registered id, gensim/World-v0 on small random worlds."""
    if request.param in ("box", "discrete"):
        return Case(ANY_WORLD, {"world": str(tiny_world(request.param))})
    return Case(request.param, {})
