"""A few of scripts/fuzz's sessions, on small worlds and on the shipped one."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import Case
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SCRIPT = Path(__file__).parents[1] / "scripts" / "fuzz.py"


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    """scripts/fuzz as a module."""
    loader = SourceFileLoader("fuzz_script", str(SCRIPT))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = sys.modules[loader.name] = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.mark.parametrize("kind", ["box", "discrete"])
@pytest.mark.parametrize("rows", [1, 7])
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_sessions(fuzz: ModuleType, tiny_world: Callable[..., Path], kind: str, rows: int, seed: int) -> None:
    session = fuzz.Session(seed, str(tiny_world(kind)), rows, 25)
    session.run()


def test_many_rows(fuzz: ModuleType, tiny: Case) -> None:
    for seed in range(3):
        fuzz.Session(seed, tiny.world, 64, 20).run()


def test_every_world(fuzz: ModuleType, case: Case) -> None:
    world = None if case.id == "gensim/CarRacing-v0" else case.world
    fuzz.Session(1, world, 7, 15).run()


def test_threads_do_not_matter(fuzz: ModuleType, box: Case) -> None:
    arguments = ["--episodes", "30", "--ops", "10", "--world", box.world]
    one, two = (fuzz.on_threads(threads, arguments) for threads in (1, 2))
    assert one == two and not one["violations"] and one["sessions"] >= 3


def test_a_broken_world_is_noticed(fuzz: ModuleType, box: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that feels its neighbours is a violation."""
    from gensim.world import World

    imagine = World.imagine

    def leaky(self: World, state: Any, *args: Any, **kwargs: Any) -> Any:
        state, step = imagine(self, state, *args, **kwargs)
        return state, type(step)(**{**vars(step), "rew": step.rew + len(step.rew)})

    monkeypatch.setattr(World, "imagine", leaky)
    report = fuzz.fuzz(box.world, 30, 12, 0)
    assert any("reward" in violation for violation in report["violations"])
