#!/usr/bin/env python
"""Makes the detectors that ship: fitted to what the shipped agents see, real and dreamed. Run again to go on.

Reset seeds are from 600,000: neither the worlds nor the agents were made from these episodes. Six in a hundred
episodes teach, four scale the scores, the others set p-values and alarms: one false alarm in 10,000 frames is seen only
in many times as many. A dreamed detector is the real one, its scores and alarms set on dreams of the shipped
world in which the shipped agent acts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import tyro

import gensim.ood
from gensim.agents.filter import Pilot, driver, load
from gensim.core.files import sha256
from gensim.core.settings import differing
from gensim.envs.engine import load_world
from gensim.envs.real import make_real
from gensim.envs.registry import folder_of
from gensim.envs.spec import spec_of
from gensim.episodes import Dataset
from gensim.episodes.record import Maker, RecordConfig, record
from gensim.ood.config import DetectorConfig

ROOT = Path(__file__).parents[1]
ROWS = 8  # dreams side by side
SIMULATORS = {"carracing": "CarRacing-v3", "takecover": "vizdoom.gymnasium_wrapper:VizdoomTakeCover-v1"}


@dataclass(frozen=True)
class Make:
    """Which detectors to make, from how much."""

    names: tuple[str, ...] = tuple(SIMULATORS)
    """carracing, takecover."""
    work: Path = Path("runs/detectors")
    """Folder of recordings."""
    out: Path = ROOT / "envs"
    """Detectors go to OUT/NAME/detector and OUT/NAME/detector-dreamed."""
    steps: int = 600_000
    """Real frames as the detector sees them; each is four of the simulator's."""
    dreams: int = 800
    """Dreamed episodes."""
    processes: int = 2
    """Simulators side by side."""
    first: int = 600_000
    """Reset seed of the first episode and of the first dream."""
    detector: DetectorConfig = field(default_factory=lambda: DetectorConfig(shape=0.04, calibration=0.9))
    """How they are fitted."""

    def __post_init__(self) -> None:
        unknown = sorted({*self.names} - SIMULATORS.keys())
        if unknown or self.steps < 1 or self.dreams < 1:
            raise ValueError(f"{', '.join(unknown) or 'steps, dreams'}: give {', '.join(SIMULATORS)}, and at least 1")


def main(config: Make) -> None:
    """Records, fits and writes what is missing."""
    for name in config.names:
        real, other = (config.out / name / kind for kind in ("detector", "detector-dreamed"))
        if not (real / "detector.json").is_file():
            gensim.ood.fit(recorded(config, name), real, config.detector, quiet=False)
        detector = gensim.ood.load(real)
        about = {"world": f"gensim:{name}", "hash": load_world(folder_of(f"gensim:{name}")).hash}
        if not (other / "detector.json").is_file():
            episodes = dreamed(name, config.dreams, config.first)
            detector.recalibrated(episodes, rescale=True, quiet=False, about=about).save(other, base=real)
        made = gensim.ood.load(other).about["recalibrated"]
        odd = differing(made, made | about | {"from": detector.hash})
        if odd:
            raise ValueError(f"{other} was made with {odd}: remove it to make it again")
        for folder in (real, other):
            size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
            print(f"{folder}: {size / 1e6:.1f} MB, {gensim.ood.load(folder).hash[:12]}", flush=True)


def recorded(config: Make, name: str) -> Dataset:
    """What the shipped agent sees, whole episodes."""
    agent = ROOT / "agents" / name
    spec = spec_of(SIMULATORS[name])
    skip = spec.skip if spec else 1
    settings = RecordConfig(
        out=config.work / name,
        frames=skip * config.steps,
        policy="agent",
        agent=agent,
        seed=config.first,
        processes=config.processes,
    )
    about = {"agent": sha256(agent / "policy.safetensors")}
    record(settings, Maker(partial(make_real, SIMULATORS[name]), driver, about))
    return Dataset(settings.out)


def dreamed(name: str, episodes: int, first: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Dreams of the shipped world in which the shipped agent acts, one after another."""
    pilot = Pilot(load(ROOT / "agents" / name))
    for begin in range(first, first + episodes, ROWS):
        n = min(ROWS, first + episodes - begin)
        pilot.reset(np.arange(begin, begin + n, dtype=np.uint64))
        yield from gensim.ood.dreams(f"gensim:{name}", n, begin, pilot.act, rows=n)


if __name__ == "__main__":
    main(tyro.cli(Make, description=__doc__))
