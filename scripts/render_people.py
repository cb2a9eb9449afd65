#!/usr/bin/env python
"""Pictures of people, each from a seed: bodies of a parametric mesh, dressed, walking, from all sides and in any light.

A file holds the pictures of FILE persons. Run again to go on: a file that is there is not made again. Seeds from
1,000,000 on are for judging (scripts/judge_people renders them into folders of their own).
"""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro

from gensim.agents.road_users.source.crowd import Crowd, Shots
from gensim.core.files import atomic_path
from gensim.core.progress import bar

FILE = 32  # persons in a file
KINDS = {"many": Crowd.shots, "one": lambda crowd, seed: crowd.shots(seed, 1, 1), "changed": Crowd.changed}


@dataclass(frozen=True)
class Render:
    """What to render."""

    out: Path = Path("runs/people/data")
    """Folder of the pictures."""
    persons: int = 4000
    """How many, each of a seed of its own."""
    seed: int = 0
    """Seed of the first."""
    processes: int = 1
    """Side by side."""
    kind: Literal["many", "one", "changed"] = "many"
    """Pictures of a person: twelve; one; or one, and then more of them in each of which one attribute is otherwise."""

    def __post_init__(self) -> None:
        if min(self.persons, self.processes) < 1 or self.seed < 0:
            raise ValueError("persons and processes are at least 1, and seeds 0 or more")
        if self.persons % FILE or self.seed % FILE:
            raise ValueError(f"persons={self.persons}, seed={self.seed}: give multiples of {FILE}, which a file holds")


def main(config: Render) -> None:
    """Renders what is not there, and says how fast."""
    firsts = range(config.seed, config.seed + config.persons, FILE)
    config.out.mkdir(parents=True, exist_ok=True)
    paths = {first: config.out / f"people-{first:07d}.npz" for first in firsts}
    todo = {first: path for first, path in paths.items() if not path.exists()}
    began, shown = time.time(), bar(len(todo) * FILE, "people", unit="person")
    with ProcessPoolExecutor(config.processes, get_context("spawn")) as pool:
        for done in as_completed([pool.submit(render, first, path, config.kind) for first, path in todo.items()]):
            done.result()
            shown.update(FILE)
    shown.close()
    print(f"{config.persons} persons, {len(todo) * FILE} of them new, in {time.time() - began:.0f} s")


def render(first: int, path: Path, kind: str) -> None:
    """Writes the pictures of FILE persons from a first seed on."""
    torch.set_num_threads(1)
    shots = [KINDS[kind](crowd(), seed) for seed in range(first, first + FILE)]
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **{name: np.stack([getattr(one, name) for one in shots]) for name in Shots._fields})


@lru_cache(1)
def crowd() -> Crowd:
    """This process's crowd."""
    return Crowd()


if __name__ == "__main__":
    main(tyro.cli(Render, description=__doc__))
