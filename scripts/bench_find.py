#!/usr/bin/env python
"""Planted failures: how many of them a search finds in a dream world, and plain dreams beside it, at as many calls."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from gensim.agents.filter import load
from gensim.core.circumstances import circumstances, tell
from gensim.core.files import write_json
from gensim.core.progress import bar
from gensim.envs.engine import DreamConfig
from gensim.envs.events import Event
from gensim.rare.choices import Choices
from gensim.rare.dreams import AgentPolicy, Dreams
from gensim.rare.find import Finding, find
from gensim.rare.planted import Planted, planted


@dataclass(frozen=True)
class Bench:
    """What to plant, and how long to search."""

    seed: int = 0
    """Of the modes, and of the first search's start."""
    repeats: int = 1
    """Searches, each of modes of its own: of this seed, the next, and so on."""
    modes: int = 64
    """How many."""
    calls: int = 20_000
    """Dreams of a search."""
    world: str = "takecover"
    """Name of a world that comes with gensim, whose latents come in one stage."""
    steps: int = 3
    """Of a dream."""
    threads: int = 2
    """Threads of torch."""
    out: Path = Path("results/rare-find.json")
    """Where the result goes."""


def main(config: Bench) -> None:
    """Plants, searches, writes and prints."""
    torch.set_num_threads(config.threads)
    runs = [searched(config, config.seed + i) for i in range(config.repeats)]
    told = {**circumstances(), "world": config.world, "modes": config.modes, "calls": config.calls, "runs": runs}
    told |= {name: float(np.mean([run[name] for run in runs])) / config.modes for name in ("found", "found plainly")}
    write_json(config.out, told)
    print({name: told[name] for name in ("found", "found plainly")}, [run["found"] for run in runs])


def searched(config: Bench, seed: int) -> dict[str, object]:
    """What a search finds of the modes of a seed, and what plain dreams do."""
    dreaming = DreamConfig(f"gensim:{config.world}", "latents", trust_floor=0.0)
    event = Event("planted", lambda seen: np.ones(len(seen.step)))  # what counts is read off the last latents
    dreams = Dreams(dreaming, AgentPolicy(load(f"agents/{config.world}")), event)
    there = planted(Choices(dreams, config.steps, seed), config.modes, seed)
    began, seen = time.perf_counter(), np.zeros(config.modes, bool)

    def look(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        severity, readings = there.look(x)
        seen[:] |= there.hit(readings)
        return severity, readings

    rng = np.random.default_rng([seed, 2])
    with bar(None, f"modes of seed {seed}", unit="call") as shown:
        draw = lambda n: rng.standard_normal((n, there.choices.dims))  # noqa: E731
        found = find(look, draw, Finding(config.calls, seed=seed), lambda calls, *_: shown.update(calls - shown.n))
    seconds = time.perf_counter() - began
    plain = by_chance(config, there, rng)
    many = {"found": int(seen.sum()), "found plainly": int(plain.sum()), "calls": found.calls, "seconds": seconds}
    return {"seed": seed, **many, "p": there.p.tolist(), "missed": there.p[~seen].tolist()}


def by_chance(config: Bench, there: Planted, rng: np.random.Generator) -> np.ndarray:
    """Which modes as many plain dreams come to (k,)."""
    hit, batch = np.zeros(config.modes, bool), 500
    for _ in range(config.calls // batch):
        hit |= there.hit(there.readings(rng.standard_normal((batch, there.choices.dims))))
    return hit


if __name__ == "__main__":
    tell(["scripts/bench_find", *sys.argv[1:]])
    main(tyro.cli(Bench, description=__doc__))
