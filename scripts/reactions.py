#!/usr/bin/env python
"""Do people answer what the robot does? Encounters in pairs of equal chances, judged by intervention.

In each encounter people are about to cross a road on which a robot comes. "Goes on": it keeps its speed. "Brakes": from
a moment on it brakes; people are to do the same until they can have seen that, and something else in some encounters
after. "Unseen": it goes on, and nobody notices it: those are the contacts of people who do not answer. And it goes on
before the same people, careful to reckless.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from gensim.agents.road_users.behaviour import WEIGHTS, Behaviour
from gensim.agents.road_users.person import Person
from gensim.agents.road_users.scene import DT, RoadUser, Scenes
from gensim.core.circumstances import circumstances, tell
from gensim.core.files import write_json
from gensim.core.intervals import wilson
from gensim.core.progress import bar

TEMPERAMENTS = (0.0, 0.25, 0.5, 0.75, 1.0)
STEPS, KEYS = 120, 5  # of an encounter; encounters of equal people in equal places under other chances


@dataclass(frozen=True)
class Reactions:
    """What to judge."""

    behaviour: Path = WEIGHTS
    """Weights of what people do next."""
    places: int = 200
    """Places, in each of which there are KEYS encounters."""
    seed: int = 1_000_000
    """Of the first place."""
    out: Path = Path("results/reactions.json")
    """Where the result goes."""


@dataclass(frozen=True)
class Place:
    """Who wants to cross where, and how the robot comes: metres a second, the step it brakes at, and how hard."""

    users: list[RoadUser]
    speed: float
    brakes: int
    hard: float


def main(config: Reactions) -> None:
    """Runs all encounters and writes."""
    model = Behaviour.load(config.behaviour)
    parts: list[dict[str, Any]] = [
        place(model, drawn(np.random.default_rng(seed)))
        for seed in bar(range(config.seed, config.seed + config.places), "places")
    ]
    n = config.places * KEYS
    told: dict[str, Any] = {**circumstances(), "encounters": n, "seed": config.seed, "steps": STEPS}
    told["braking"] = {
        "changed before it could be seen": sum(int(part["early"].sum()) for part in parts),
        "changed after": sum(int(part["late"].sum()) for part in parts),
    }
    for name in ("goes on", "brakes", "unseen"):
        told[name] = share(np.concatenate([part[name] for part in parts]))
    hits = np.stack([np.concatenate([part["by temperament"][i] for part in parts]) for i in range(len(TEMPERAMENTS))])
    told["by temperament"] = {str(t): share(one) for t, one in zip(TEMPERAMENTS, hits)}
    write_json(config.out, told)
    rows = [told["by temperament"][str(t)]["value"] for t in TEMPERAMENTS]
    print(f"{told['braking']}; contacts {told['goes on']['value']:.4f}, unseen {told['unseen']['value']:.4f}; {rows}")


def share(hit: np.ndarray) -> dict[str, float]:
    """The share of encounters with a contact, and its 95 % interval (Wilson)."""
    p = float(hit.mean())
    low, high = wilson(p, len(hit))
    return {"value": p, "low": low, "high": high, "contacts": int(hit.sum())}


def place(model: Behaviour, where: Place) -> dict[str, Any]:
    """What comes of a place's encounters."""
    on, hit_on = run(model, where, brakes=False)
    braked, hit_braked = run(model, where, brakes=True)
    differ = (on != braked).any((2, 3))  # (STEPS, KEYS)
    reckless = []
    for temperament in TEMPERAMENTS:
        users = [replace(user, person=replace(user.person, temperament=temperament)) for user in where.users]
        reckless.append(run(model, replace(where, users=users), brakes=False)[1])
    return {
        "early": differ[: where.brakes].any(0),
        "late": differ[where.brakes :].any(0),
        "goes on": hit_on,
        "brakes": hit_braked,
        "unseen": run(model, where, brakes=False, unseen=True)[1],
        "by temperament": reckless,
    }


def run(model: Behaviour, where: Place, brakes: bool, unseen: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Places of people (STEPS, KEYS, n, 2) in the robot's first frame, and which encounters (KEYS,) had a contact."""
    scenes = Scenes(where.users, KEYS, model, DT, unseen)
    scenes.reset(np.arange(KEYS, dtype=np.uint64) + 11, np.ones(KEYS, bool))
    speed, hit, found = where.speed, np.zeros(KEYS, bool), []
    for step in range(STEPS):
        if brakes and step >= where.brakes:
            speed = max(speed - where.hard * DT, 0.0)
        scenes.advance(np.tile([speed * DT, 0, 0], (KEYS, 1)), np.full(KEYS, speed), np.ones(KEYS, bool))
        found.append(scenes.now.walkers.place.reshape(KEYS, -1, 2))
        hit |= scenes.touched().reshape(KEYS, -1).any(1) & (speed > 0.3)
    return np.stack(found), hit


def drawn(rng: np.random.Generator) -> Place:
    """A place: people before a road of one or two lanes, the robot a few seconds away."""
    width, speed = float(rng.uniform(4.5, 8)), float(rng.uniform(4, 13))
    lane, when = float(rng.uniform(2.0, width - 2.0)), float(rng.uniform(1.5, 6))
    users, gap = [], 0.0
    for _ in range(int(rng.integers(1, 4))):
        gap += float(rng.uniform(0.8, 2))
        right, start = rng.random() < 0.7, float(rng.uniform(1.2, 4))
        left = -lane - start if right else width - lane + start  # the robot drives `lane` metres from the right kerb
        person = Person(
            age=float(rng.uniform(7, 85)),
            temperament=float(rng.random()),
            gait="phone" if rng.random() < 0.2 else "walk",
            identity=int(rng.integers(2**31)),
        )
        heading = np.pi / 2 if right else -np.pi / 2
        users.append(RoadUser(person, speed * when + gap, left, heading, (start, start + width)))
    return Place(users, speed, int(rng.integers(5, 40)), float(rng.uniform(2, 6)))


if __name__ == "__main__":
    tell(["scripts/reactions", *sys.argv[1:]])
    main(tyro.cli(Reactions, description=__doc__))
