#!/usr/bin/env python
"""The shipped driving agent in MetaDrive itself, on seeds that nothing was recorded with and no choice was made on.

Of each episode: the share of the route that was driven, the metres, and what ended it. Beside the agent, on the same
seeds, MetaDrive's own policy as the recorder's usual and careful drivers have it (who see the scene's truth, not its
picture), and actions by chance. Run again to go on: an episode that is there is not played again.
"""

from __future__ import annotations

import hashlib
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import tyro

import gensim.envs.driving
from gensim.agents.filter import Pilot, load
from gensim.agents.score import alone
from gensim.core.circumstances import circumstances, tell
from gensim.core.files import read_json, write_json
from gensim.core.progress import bar
from gensim.envs.driving.simulator import MetaDrive
from gensim.world.quality import figure

CRASHES = ("vehicle", "object", "person", "off_road")
PLAYERS = ("agent", "usual", "careful", "chance")
AGENT = ("agent.json", "policy.safetensors")
CHANCE = 0.5  # of what chance does to wheel and pedal


@dataclass(frozen=True)
class Score:
    """Who drives how often."""

    agent: Path = Path("agents/driving")
    """Agent folder."""
    episodes: int = 100
    """Of each player."""
    first: int = 1_000_000
    """Reset seed of the first; those above 9,000 were not recorded."""
    players: tuple[str, ...] = PLAYERS
    """Of agent, usual, careful, chance."""
    processes: int = 2
    """Simulators side by side."""
    work: Path = Path("runs/driving-score")
    """Folder of episodes played so far."""
    out: Path = Path("results/driving-score.json")
    """Where the result goes."""

    def __post_init__(self) -> None:
        unknown = sorted({*self.players} - {*PLAYERS})
        if unknown or min(self.episodes, self.processes) < 1 or self.first < 9_000:
            raise ValueError(f"{unknown or asdict(self)}: give {', '.join(PLAYERS)}, counts from 1, seeds from 9,000")


def main(config: Score) -> None:
    """Plays what is not there, and writes."""
    jobs = [(player, seed) for player in config.players for seed in range(config.first, config.first + config.episodes)]
    with ProcessPoolExecutor(config.processes, mp_context=get_context("spawn"), initializer=alone) as pool:
        todo = [pool.submit(played, config, *job) for job in jobs if not _path(config, *job).is_file()]
        for job in bar(as_completed(todo), "episodes", unit="ep"):
            job.result()
    seeds = range(config.first, config.first + config.episodes)
    rows = {player: [read_json(_path(config, player, seed)) for seed in seeds] for player in config.players}
    told = {player: figures(some) for player, some in rows.items()}
    about = {
        "agent": _mark(config.agent) if "agent" in config.players else None,
        "street": _street(),
        "seeds": [config.first, seeds[-1]],
        "episodes": config.episodes,
    }
    write_json(config.out, {**circumstances(), **about, "players": told})
    for player, one in told.items():
        print(f"{player}: {one['completed']['value']} of the route, {one['crashes_per_km']['value']} crashes per km")


def played(config: Score, player: str, seed: int) -> None:
    """Plays an episode and keeps what came of it."""
    env, rng = _simulator(), np.random.default_rng([seed, 31])
    manner = player if player in ("usual", "careful") else "usual"
    obs, info = env.reset(seed=seed, options={"manner": manner})
    pilot = _pilot(config.agent) if player == "agent" else None
    if pilot is not None:
        pilot.reset(np.array([seed], np.uint64))
    place, way, total, steps, over = info["ego"][:2], 0.0, 0.0, 0, False
    act: np.ndarray | None = None
    while not over:
        if pilot is not None:
            act = np.asarray(pilot.act(obs[None])[0])
        elif player == "chance":
            act = rng.uniform(-1, 1, 2).astype(np.float32) * CHANCE + np.array([0, 0.3], np.float32)
        obs, rew, term, trunc, info = env.step(None if act is None else act)
        way += float(np.hypot(*(info["ego"][:2] - place)))
        place, total, steps, over = info["ego"][:2], total + rew, steps + 1, term or trunc
    end = info["end"] if term else "time"
    told = {"end": end, "completed": float(info["ego"][7]), "metres": way, "return": total, "steps": steps}
    write_json(_path(config, player, seed), {**told, **{name: info[name] for name in ("traffic", "people")}})


def figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Means and crashes per kilometre of a player's episodes, with 95 % intervals by bootstrap over them."""
    group = np.arange(len(rows))
    way = np.array([row["metres"] / 1000 for row in rows])

    def mean(values: list[float]) -> Any:
        return figure(np.stack([values, np.ones(len(rows))], 1), lambda p: p[..., 0] / p[..., 1], group)

    def rate(kinds: tuple[str, ...]) -> Any:
        crashed = np.array([float(row["end"] in kinds) for row in rows])
        return figure(np.stack([crashed, way], 1), lambda p: p[..., 0] / p[..., 1], group)

    ends = sorted({row["end"] for row in rows})
    return {
        "completed": mean([row["completed"] for row in rows]),
        "arrived": mean([float(row["end"] == "arrived") for row in rows]),
        "return": mean([row["return"] for row in rows]),
        "kilometres": round(float(way.sum()), 3),
        "crashes_per_km": rate(CRASHES),
        "by_kind": {kind: rate((kind,)) for kind in CRASHES},
        "ends": {end: sum(row["end"] == end for row in rows) for end in ends},
        "steps": sum(row["steps"] for row in rows),
    }


@lru_cache(1)
def _simulator() -> MetaDrive:
    return MetaDrive(labels=True)


@lru_cache(1)
def _pilot(folder: Path) -> Pilot:
    return Pilot(load(folder))


@lru_cache(1)
def _mark(agent: Path) -> str:
    """Which weights, habit and world an agent has."""
    return hashlib.sha256(b"".join((agent / name).read_bytes() for name in AGENT)).hexdigest()


@lru_cache(1)
def _street() -> str:
    """Which street is driven: all that this checkout puts around MetaDrive."""
    folder = Path(gensim.envs.driving.__file__).parent
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.glob("**/*.py")))).hexdigest()


def _path(config: Score, player: str, seed: int) -> Path:
    who = f"agent-{_mark(config.agent)[:12]}" if player == "agent" else player
    return config.work / _street()[:12] / who / f"{seed}.json"


if __name__ == "__main__":
    tell(["scripts/score_driving", *sys.argv[1:]])
    with suppress(KeyboardInterrupt):
        main(tyro.cli(Score, description=__doc__))
