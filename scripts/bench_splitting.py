#!/usr/bin/env python
"""What splitting costs: dreamed steps a second while 256 dreams are split, over those of 256 plain dreams.

Both dream the same world under the same agent and look at the same event in every step, in rounds that take turns.
"""

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
from gensim.core.intervals import student_t95
from gensim.envs.engine import DreamConfig
from gensim.envs.events import named
from gensim.rare.dreams import AgentPolicy, Dreams
from gensim.rare.splitting import Splitting, crowds

REPLICATES, MANY = 8, 32  # 256 dreams


@dataclass(frozen=True)
class Bench:
    """What to measure."""

    world: str = "carracing"
    """Name of a world that comes with gensim."""
    event: str = "off_road"
    """One of its events."""
    horizon: int = 80
    """Steps of a dream."""
    share: float = 0.3
    """Share of the dreams that are branched anew at a level."""
    rounds: int = 5
    """Of each."""
    threads: int = 2
    """Threads of torch."""
    out: Path = Path("results/rare-speed.json")
    """Where the result goes."""


def main(config: Bench) -> None:
    """Measures, writes and prints."""
    torch.set_num_threads(config.threads)
    event = named(config.event, config.world)
    dreaming = DreamConfig(f"gensim:{config.world}", "latents", config.horizon, labels=event.labels)
    dreams = Dreams(dreaming, AgentPolicy(load(f"agents/{config.world}")), event)
    ways = {"plain": plain, "splitting": lambda dreams, seed: splitting(dreams, seed, config.share)}
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for one in range(config.rounds + 1):
        for name, way in ways.items():
            began = time.perf_counter()
            steps = way(dreams, one)
            if one:
                speeds[name].append(steps / (time.perf_counter() - began))
    ratio = np.array(speeds["splitting"]) / np.array(speeds["plain"])
    half = student_t95(len(ratio)) * ratio.std(ddof=1) / len(ratio) ** 0.5
    told = {
        **circumstances(),
        "settings": {"world": config.world, "event": config.event, "horizon": config.horizon, "share": config.share},
    }
    told |= {f"{name}, steps a second": float(np.median(some)) for name, some in speeds.items()}
    told |= {"ratio": float(ratio.mean()), "low": float(ratio.mean() - half), "high": float(ratio.mean() + half)}
    write_json(config.out, told)
    print({name: told[name] for name in told if "steps" in name or name in ("ratio", "low", "high")})


def plain(dreams: Dreams, seed: int) -> int:
    """Steps of as many dreams, side by side until all are over."""
    now = dreams.begin(np.arange(REPLICATES * MANY, dtype=np.uint64) + np.uint64(1000 * seed))
    steps = 0
    while len(now):
        now = dreams.advance(now)
        steps += len(now)
        now = now.rows(np.flatnonzero(~now.done))
    return steps


def splitting(dreams: Dreams, seed: int, share: float) -> int:
    """Steps that splitting takes."""
    return crowds(dreams, seed, Splitting(MANY, REPLICATES, share, dreams.event.grain)).calls


if __name__ == "__main__":
    tell(["scripts/bench_splitting", *sys.argv[1:]])
    main(tyro.cli(Bench, description=__doc__))
