#!/usr/bin/env python
"""A swarm beside brute force: how probable an event of a shipped world is, by both, and what its failures are.

Brute force dreams so many episodes and counts; the swarm may take a twentieth of those steps. All failures that it kept
are dreamed again in a new process, and tried in the simulator where one is there. Run again to go on.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from gensim.agents.filter import load
from gensim.agents.reference import world_folder
from gensim.core.circumstances import circumstances, tell
from gensim.core.files import atomic_path, write_json
from gensim.core.intervals import wilson
from gensim.core.progress import bar
from gensim.envs.engine import DreamConfig
from gensim.envs.events import Event, Seen, named
from gensim.rare.dreams import AgentPolicy, Dreams, rows_of

CHUNK = 256  # dreams between two files
SPELLED = {"carracing": "CarRacing"}


@dataclass(frozen=True)
class Beside:
    """What to hold beside what."""

    world: str = "carracing"
    """Name of a world that comes with gensim."""
    event: str = "slow"
    """One of its events."""
    horizon: int = 40
    """Steps of a dream."""
    dreams: int = 100_000
    """Of brute force."""
    seed: int = 2_000_000
    """Of its first dream, and of the swarm."""
    many: int = 398
    """Dreams of a replicate."""
    replicates: int = 10
    """Of the swarm."""
    pilot: int = 1000
    """Dreams from which it learns what the latents foretell."""
    cases: int = 20
    """Failures that are kept, dreamed again, and tried in the simulator."""
    threads: int = 2
    """Threads of torch."""
    runs: Path = Path("runs/rare")
    """Folder of what is kept on the way."""
    out: Path = Path("results/rare-beside.json")
    """Where the result goes."""


def main(config: Beside) -> None:
    """Measures, writes and prints."""
    torch.set_num_threads(config.threads)
    told: dict[str, Any] = {**circumstances(), "settings": {k: str(v) for k, v in asdict(config).items()}}
    told["brute force"] = by_force(config)
    told["swarm"], cases = by_swarm(config)
    told["share of steps"] = told["swarm"]["calls"] / told["brute force"]["steps"]
    told["cases"] = again(cases)
    write_json(config.out, told)
    print(json.dumps({name: told[name] for name in ("brute force", "swarm", "share of steps", "cases")}, indent=1))


def by_swarm(config: Beside) -> tuple[dict[str, Any], list[Path]]:
    """The estimate of `gensim rare estimate`, and the files of its failures."""
    out = config.runs / f"{config.world}-{config.event}-{config.horizon}-swarm"
    command = ["gensim", "rare", "estimate", str(world_folder(f"gensim/{SPELLED[config.world]}-v0"))]
    command += ["--agent", f"agents/{config.world}", "--event", config.event, "--horizon", str(config.horizon)]
    command += ["--many", str(config.many), "--replicates", str(config.replicates)]
    command += ["--foresight", str(config.pilot), "--cases", str(config.cases)]
    command += ["--seed", str(config.seed), "--out", str(out), "--json"]
    told = json.loads(_run(command))
    told["half-width"] = (told["high"] - told["low"]) / 2 / told["p"]
    return told, sorted((out / "cases").glob("*.json"))


def again(cases: list[Path]) -> dict[str, Any]:
    """How many cases are the same in a new process each, and happen in the simulator too."""
    command = ["gensim", "rare", "replay", "--real", "--json"]
    done = [json.loads(_run([*command, str(case)])) for case in bar(cases, "cases")]
    many = len(done)
    told: dict[str, Any] = {"cases": many, "byte for byte": sum(one["same"] for one in done) / max(many, 1)}
    for name in ("by_actions", "by_agent"):
        share = float(np.mean([one["real"][name] for one in done])) if done else float("nan")
        told[f"in the simulator {name}"] = {"share": share, "interval": wilson(share, many) if done else None}
    return told


def _run(command: list[str]) -> str:
    return subprocess.run([sys.executable, "-m", *command], check=True, capture_output=True, text=True).stdout


def by_force(config: Beside) -> dict[str, Any]:
    """How often the event happens in plain dreams."""
    folder = config.runs / f"{config.world}-force"
    first = np.concatenate([_chunk(config, folder, at) for at in bar(range(0, config.dreams, CHUNK), "brute force")])
    names = list(_watched(config.world))
    when = first[:, names.index(config.event)].astype(int)
    happened = (when >= 0) & (when <= config.horizon)
    steps = int(np.where(happened, when, config.horizon).sum())
    low, high = wilson(float(happened.mean()), len(when))
    return {"p": float(happened.mean()), "low": low, "high": high, "failures": int(happened.sum()), "steps": steps}


def _watched(world: str) -> dict[str, Event]:
    """The events that brute force looks for, all in the same dreams."""
    return {name: named(name, world) for name in {"carracing": ("off_road", "slow", "spin")}[world]}


def _chunk(config: Beside, folder: Path, at: int) -> np.ndarray:
    """The steps (n, e) at which each event first happened in each dream, -1 for never; from a file if it is there."""
    path = folder / f"{config.seed}-{at:06d}.npy"
    if not path.exists():
        events = list(_watched(config.world).values())
        found = _first(config, events, np.arange(min(CHUNK, config.dreams - at), dtype=np.uint64) + config.seed + at)
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as whole, open(whole, "wb") as file:
            np.save(file, found)
    return np.load(path, allow_pickle=False)


LONGEST = 40  # steps of brute force's dreams, of which shorter horizons are read off


def _first(config: Beside, events: list[Event], keys: np.ndarray) -> np.ndarray:
    first = np.full((len(keys), len(events)), -1, np.int16)
    memories: list[Any] = [None] * len(events)
    alive = np.arange(len(keys))

    def far(seen: Seen) -> np.ndarray:
        for i, event in enumerate(events):
            severity, memories[i] = event.severity(seen, memories[i])
            fresh = alive[(severity <= 0) & (first[alive, i] < 0)]
            first[fresh, i] = seen.step[0]
        return np.ones(len(seen.step))

    dreaming = DreamConfig(f"gensim:{config.world}", "latents", LONGEST)
    dreams = Dreams(dreaming, AgentPolicy(load(f"agents/{config.world}")), Event("watch", far))
    now = dreams.begin(keys)
    while len(now):
        now = dreams.advance(now)
        going = np.flatnonzero(~now.done)
        now, alive, memories = now.rows(going), alive[going], [rows_of(one, going) for one in memories]
    return first


if __name__ == "__main__":
    tell(["scripts/rare_beside", *sys.argv[1:]])
    main(tyro.cli(Beside, description=__doc__))
