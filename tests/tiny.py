"""Worlds that are made in a moment, and how to compare what environments return."""

from __future__ import annotations

from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gensim.world import NetConfig, World
from gensim.world.trust import Trust

KINDS = {
    "box": {"env_id": "CarRacing-v3", "action": {"type": "box", "dim": 2}},
    "discrete": {"env_id": "Nowhere-v0", "action": {"type": "discrete", "n": 5}},
    "counting": {"env_id": "simulators:test/Counting-v0", "action": {"type": "box", "dim": 2}},
    "choosing": {"env_id": "simulators:test/Choosing-v0", "action": {"type": "discrete", "n": 4}},
}
SIZE = 48


def make_world(folder: Path, kind: str = "box", seed: int = 0) -> Path:
    """Writes a small random world with calibrated trust; it terminates now and then."""
    spec = {**KINDS[kind], "size": SIZE, "skip": 2, "fps": 25, "real_frames": 0}
    actions = spec["action"].get("dim") or spec["action"]["n"]
    config = NetConfig(
        size=SIZE, actions=actions, groups=8, classes=8, hidden=32, widths=(4, 8, 8, 8), head=16, dropout=0.3
    )
    world = World.random(spec, config, seed)
    world.trust = _trust(world)
    world.save(folder)
    return folder


def _trust(world: World) -> Trust:
    state, seen = world.start(np.arange(128, dtype=np.uint64)), []
    for _ in range(40):
        state, step = world.imagine(state, np.zeros((128, world.action_dim), np.float32))
        seen.append((step.unusual, state.age.numpy().copy()))
    unusual, age = (np.concatenate(column) for column in zip(*seen))
    return Trust.calibrate(unusual, age)


def same(a: Any, b: Any) -> bool:
    """Whether two returned values are equal in type, shape and every byte."""
    if is_dataclass(a):
        return type(a) is type(b) and same(vars(a), vars(b))
    if isinstance(a, torch.Tensor):
        return same(a.numpy(), b.numpy())
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b))
    if isinstance(a, np.ndarray) and a.dtype == object:
        return same(list(a), list(b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return type(a) is type(b) and a == b


def row(info: dict[str, Any], i: int) -> dict[str, Any]:
    """What a single environment would have said in row i of a vector environment's info."""
    return {key: value[i].item() for key, value in info.items() if not key.startswith("_")}
