#!/usr/bin/env python
"""Speeds of the driving world in one run: dreams with labels, many and one; MetaDrive as tuned and as it ships.

The first three are timed several times, by turns, and told as the median with the least and the greatest. MetaDrive as
tuned is what the recorder uses: its physics and gensim's camera with labels, one simulator on each core. As it ships,
its own front camera at the same size draws colour alone, in one simulator on all cores; it takes seconds a frame and is
timed once, after the others.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import tyro

from gensim.core.circumstances import circumstances, cores, tell
from gensim.core.files import write_json
from gensim.envs.driving.simulator import MetaDrive, home

SHIPPED = Path(__file__).parents[1] / "envs" / "driving" / "source" / "shipped.py"


@dataclass(frozen=True)
class Bench:
    """How long to look."""

    world: str = "envs/driving"
    """World folder."""
    rows: int = 32
    """Dreams at once."""
    rounds: int = 5
    """Times that each is timed."""
    steps: int = 60
    """Steps of the dreams in each."""
    simulated: int = 40
    """Steps of MetaDrive as tuned, of each simulator."""
    shipped: int = 3
    """Frames of MetaDrive's own camera; 0 leaves it out."""
    out: Path = Path("results/driving-bench.json")
    """Where the result goes."""


def main(config: Bench) -> None:
    """Times and writes."""
    about = {"world": config.world, "labels": True, "trust_floor": 0.0, "horizon": 100_000}
    rows = gym.make_vec("gensim/World-v0", config.rows, vectorization_mode="vector_entry_point", **about)
    one = gym.make("gensim/World-v0", **about).unwrapped
    engines = [MetaDrive(labels=True) for _ in range(cores())]
    timed: dict[str, Callable[[], float]] = {
        "rows": lambda: many(rows, config),
        "one": lambda: alone(one, config.steps)["frames_per_second"],
        "tuned": lambda: simulated(engines, config.simulated),
    }
    found: dict[str, list[float]] = {name: [] for name in timed}
    for _ in range(config.rounds):
        for name, run in timed.items():
            found[name].append(run())
    told: dict[str, Any] = {name: _spread(values) for name, values in found.items()}
    late = alone(one, 10 * config.steps)["ms_p99"]
    for env in engines:
        env.close()
    if config.shipped:
        told["shipped"] = shipped(config.shipped)
    settings = {key: str(value) for key, value in vars(config).items()}
    figures = {"frames_per_second": told, "one_step_ms_p99": late}
    write_json(config.out, {**circumstances(), "settings": settings, **figures})
    print(json.dumps(figures))


def many(env: Any, config: Bench) -> float:
    """Frames with labels a second of a vector environment."""
    env.reset(seed=0)
    acts = np.tile(np.array([0.0, 0.3], np.float32), (config.rows, 1))
    for _ in range(3):
        env.step(acts)
    began = time.perf_counter()
    for _ in range(config.steps):
        env.step(acts)
    return config.rows * config.steps / (time.perf_counter() - began)


def alone(env: Any, steps: int) -> dict[str, float]:
    """The same of one environment, and the 99th percentile of a step in milliseconds."""
    env.reset(seed=0)
    took = []
    for _ in range(steps):
        began = time.perf_counter()
        _, _, term, trunc, _ = env.step(np.array([0.0, 0.3], np.float32))
        took.append(time.perf_counter() - began)
        if term or trunc:
            env.reset()
    return {"frames_per_second": steps / sum(took), "ms_p99": 1000 * float(np.quantile(took, 0.99))}


def simulated(engines: list[MetaDrive], steps: int) -> float:
    """Frames a second of simulators side by side, resets not counted."""

    def run(env: MetaDrive) -> float:
        env.reset(seed=3)
        began, left = time.perf_counter(), steps
        while left:
            over, left = env.step(None)[2], left - 1
            if over:
                break
        return (steps - left) / (time.perf_counter() - began)

    with ThreadPoolExecutor(len(engines)) as pool:
        return sum(pool.map(run, engines))


def shipped(frames: int) -> dict[str, Any]:
    """MetaDrive's own camera; None where there is no display."""
    python, alone_ = str(home() / "bin/python"), {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    display = [] if "DISPLAY" in os.environ else ["xvfb-run", "-a"]
    if display and not shutil.which(display[0]):
        return {"value": None, "why": "no display and no xvfb-run"}
    command = [*display, python, str(SHIPPED), str(frames)]
    done = subprocess.run(command, capture_output=True, text=True, env=alone_, check=True)
    seconds = json.loads(done.stdout.strip().splitlines()[-1])["seconds"]
    rates = [1 / second for second in seconds]
    return {**_spread(rates), "frames": frames}


def _spread(values: list[float]) -> dict[str, float]:
    return {"value": float(np.median(values)), "low": min(values), "high": max(values)}


if __name__ == "__main__":
    tell(["scripts/bench_driving", *sys.argv[1:]])
    with suppress(KeyboardInterrupt):
        main(tyro.cli(Bench, description=__doc__))
