#!/usr/bin/env python
"""What people do next, learned from encounters that JuPedSim and a model of gap acceptance make; some minutes."""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import tyro

from gensim.agents.road_users.behaviour import Behaviour, aimed, binned
from gensim.agents.road_users.learner import learn
from gensim.agents.road_users.senses import Robot, sense
from gensim.agents.road_users.source.street import Encounter, encounter
from gensim.core.circumstances import circumstances, tell
from gensim.core.files import atomic_path, load_arrays, write_json
from gensim.core.progress import bar

PART = 100  # encounters in a file
SLIPS = 0.8  # share of people who now and then do what they would not
NAMES = ("noticed", "bins", "own")


@dataclass(frozen=True)
class FitBehaviour:
    """What to fit."""

    data: Path = Path("runs/people/encounters")
    """Folder of simulated encounters."""
    out: Path = Path("agents/road_users/behaviour.safetensors")
    """Where the weights go, and beside them a JSON of how well held-out people are foretold."""
    encounters: int = 6000
    """How many to learn from; a tenth as many more are held out."""
    steps: int = 4000
    """Steps of Adam."""
    batch: int = 160
    """Persons in a step."""
    lr: float = 3e-3
    """Learning rate, which falls to zero."""
    processes: int = 1
    """Simulators side by side."""
    seed: int = 0
    """Of the first encounter, of weights and of draws."""


def main(config: FitBehaviour) -> None:
    """Simulates what is not there, fits or goes on, and says how well held-out people are foretold."""
    noticed, bins, own = simulated(config)
    held = len(noticed) // 11
    torch.manual_seed(config.seed)
    model = Behaviour()

    def cost(_: int, chance: torch.Generator) -> torch.Tensor:
        some = held + torch.randint(len(noticed) - held, (config.batch,), generator=chance).numpy()
        x, y, counts = (torch.from_numpy(part[some]) for part in (noticed, bins, own))
        return -(model.log_prob(x.float(), y.long()) * counts).sum() / counts.sum()

    of = f"{config.encounters} encounters, batches of {config.batch}, seed {config.seed}"
    learn(model, cost, config.data / "fit.safetensors", config.steps, config.lr, "behaviour", of, clip=1.0)
    with torch.no_grad():
        x, y, counts = (torch.from_numpy(part[:held]) for part in (noticed, bins, own))
        log_p = torch.cat([model.log_prob(a.float(), b.long()) for a, b in zip(x.split(64), y.split(64))])
        nats = -(log_p * counts).sum().item() / counts.sum().item()
    model.save(config.out)
    about = {"heldout_nats_a_step": round(nats, 4), "persons": len(noticed) - held, "heldout_persons": held}
    write_json(config.out.with_suffix(".json"), about | {"steps": config.steps} | circumstances())
    print(f"held-out people: {nats:.3f} nats a step of 0.1 s, of {held} persons")


def simulated(config: FitBehaviour) -> tuple[np.ndarray, ...]:
    """What everybody noticed (p, t, WIDTH), the bins of what they then aimed at (p, t, 2), and whether that was no slip
    (p, t); the held-out ones first."""
    config.data.mkdir(parents=True, exist_ok=True)
    firsts = range(config.seed, config.seed + config.encounters * 11 // 10, PART)
    paths = [config.data / f"encounters-{first:07d}.npz" for first in firsts]
    todo = [(first, path) for first, path in zip(firsts, paths) if not path.exists()]
    with ProcessPoolExecutor(config.processes, get_context("spawn")) as pool:
        list(bar(pool.map(simulate, *zip(*todo)) if todo else [], "encounters", unit="file"))
    found = [load_arrays(path, NAMES, 1 << 29) for path in paths]
    return tuple(np.concatenate([one[name] for one in found]) for name in NAMES)


def simulate(first: int, path: Path) -> None:
    """Writes what the people of PART encounters noticed and did."""
    torch.set_num_threads(1)
    parts = [learned(encounter(seed, SLIPS), np.random.default_rng((seed, 1))) for seed in range(first, first + PART)]
    noticed, bins, own = (np.concatenate(some) for some in zip(*parts))
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, noticed=noticed.astype(np.float16), bins=bins.astype(np.uint8), own=own)


def learned(e: Encounter, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What each of an encounter noticed (n, t - 1, WIDTH), the bins of what they then aimed at (n, t - 1, 2), and
    whether that was no slip (n, t - 1)."""
    t, n = e.place.shape[:2]
    w, goal = e.walkers, np.broadcast_to(e.walkers.goal, (t, n, 2))
    bins = binned(aimed(e.velocity[:-1], e.velocity[1:]), goal[1:], rng.random((t - 1, n, 2)))
    every = lambda x: np.broadcast_to(x, (t, *x.shape)).reshape(t * n, *x.shape[1:])  # noqa: E731
    traits = {name: every(getattr(w, name)) for name in ("goal", "kerbs", "pace", "temperament", "age", "distracted")}
    now = replace(w, place=e.place.reshape(t * n, 2), velocity=e.velocity.reshape(t * n, 2), **traits)
    beside = lambda x: np.repeat(x, n, 0)  # noqa: E731
    robot = Robot(beside(e.robot_place), beside(e.robot_velocity), np.ones(t * n, bool))
    noticed = sense(now, robot, np.repeat(np.arange(t), n)).reshape(t, n, -1)
    return noticed[:-1].swapaxes(0, 1), bins.swapaxes(0, 1), ~e.slips[:-1].T


if __name__ == "__main__":
    tell(sys.argv)
    main(tyro.cli(FitBehaviour, description=__doc__))
