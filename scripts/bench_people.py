#!/usr/bin/env python
"""How fast people are drawn, and whole scenes of them, on this machine.

"Alone" is the painter: conditions and identities in, pictures out, in batches. "Scenes" is what a vector environment
does each step: people walk on, are drawn, and are put into frames of 64 by 96 pixels with depth; near ones are drawn
at 64 by 32 and 128 by 64 pixels, far ones at 32 by 16. Medians of rounds that take turns.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from gensim.agents.road_users.behaviour import usual_behaviour
from gensim.agents.road_users.camera import DRIVING
from gensim.agents.road_users.compositor import compose
from gensim.agents.road_users.painter import shipped
from gensim.agents.road_users.person import WIDTH, Person
from gensim.agents.road_users.scene import RoadUser, Scenes
from gensim.core.circumstances import circumstances, tell
from gensim.core.files import write_json

SCENES, PEOPLE, BATCH = 32, 8, 1024


@dataclass(frozen=True)
class Bench:
    """How often to measure."""

    rounds: int = 15
    """Rounds, of which the median counts."""
    threads: int = 2
    """Threads of torch."""
    out: Path = Path("results/people-bench.json")
    """Where the result goes."""


def main(config: Bench) -> None:
    """Measures, writes and prints."""
    torch.set_num_threads(config.threads)
    painter, rng = shipped(), np.random.default_rng(0)
    told = rng.uniform(-1, 1, (BATCH, WIDTH)).astype(np.float32)
    who = np.arange(BATCH, dtype=np.uint64)
    ways: dict[str, Callable[[], Any]] = {
        f"alone at {height}x{height // 2}": lambda height=height: painter.paint(told, who, height)
        for height in painter.heights
    }
    ways |= scenes(rng)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for one in range(config.rounds + 2):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            if one >= 2:
                times[name].append(time.perf_counter() - began)
    found: dict[str, Any] = {**circumstances(), "threads": config.threads}
    for name, seconds in times.items():
        middle = float(np.median(seconds))
        found[name] = {"people a second": BATCH / middle} if "alone" in name else {"milliseconds": 1000 * middle}
        print(name, found[name])
    write_json(config.out, found)


def scenes(rng: np.random.Generator) -> dict[str, Callable[[], Any]]:
    """A step of 32 scenes of 8 people, all of them in the picture, and its parts."""
    painter = shipped()
    users = [
        RoadUser(
            Person(age=float(rng.uniform(6, 88)), identity=i), float(rng.uniform(5, 25)), float(rng.uniform(-3, 3))
        )
        for i in range(PEOPLE)
    ]
    own = Scenes(users, SCENES, usual_behaviour())
    own.reset(np.arange(SCENES, dtype=np.uint64), np.ones(SCENES, bool))
    frames = rng.integers(0, 255, (SCENES, *DRIVING.shape, 3), dtype=np.uint8)
    depth = np.full(frames.shape[:3], 60.0, np.float32)
    stands, live = np.zeros((SCENES, 3)), np.ones(SCENES, bool)
    begun = own.now.copy()

    def walk() -> None:
        own.now = begun.copy()
        own.advance(stands, np.zeros(SCENES), live)

    def draw() -> None:
        _, shown = compose(frames, depth, own.cast(DRIVING, 0.6, 2.2), DRIVING, painter)
        if sum(map(len, shown)) != SCENES * PEOPLE:
            raise RuntimeError(f"{sum(map(len, shown))} people are shown, not {SCENES * PEOPLE}")

    return {"32 scenes of 8 people: walk on": walk, "32 scenes of 8 people: drawn and composited": draw}


if __name__ == "__main__":
    tell(["scripts/bench_people", *sys.argv[1:]])
    main(tyro.cli(Bench, description=__doc__))
