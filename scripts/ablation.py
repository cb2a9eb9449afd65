#!/usr/bin/env python
"""Ablation of the defences against exploitation: one world, and a lesson for each defence.

Every variant learns for as many dreamed steps in the same world, from nothing or from the same agent, with each of a
few seeds, and then drives the same real tracks (seeds below 1,000,000: these scores may be chosen on). Run again to go
on.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from gensim.agents.ppo import learn
from gensim.agents.ppo_config import PPOConfig
from gensim.agents.reference import world_folder
from gensim.agents.score import score
from gensim.core.circumstances import circumstances, tell
from gensim.core.files import atomic_path, read_json, write_json
from gensim.core.intervals import student_t95
from gensim.envs.spec import spec_of
from gensim.episodes.record import SEED_LIMIT
from gensim.world import World

BARE: dict[str, Any] = {"temperature": 1.0, "dropout": False, "trust_floor": 0.0}
VARIANTS: dict[str, dict[str, Any]] = {
    "no defence": {},
    "temperature 1.15": {"temperature": 1.15},
    "temperature 1.3": {"temperature": 1.3},
    "temperature 1.5": {"temperature": 1.5},
    "one dropout mask an episode": {"dropout": True},
    "cut at trust 0.05": {"trust_floor": 0.05},
    "dropout mask, cut at trust 0.05": {"dropout": True, "trust_floor": 0.05},
    "temperature 1.3, dropout mask": {"temperature": 1.3, "dropout": True},
    "temperature 1.3, dropout mask, cut at trust 0.05": {"temperature": 1.3, "dropout": True, "trust_floor": 0.05},
}


def main() -> None:
    """Learns, plays and writes what is missing."""
    options = _options()
    if options.first + options.episodes > SEED_LIMIT or options.episodes < 2:
        raise ValueError(f"tracks from {options.first:,}: give at least 2, with seeds below {SEED_LIMIT:,}")
    options.world = world_folder(options.world)
    world = World.load(options.world)
    known = spec_of(world.spec["env_id"])
    options.hash, options.real_frames = world.hash, world.spec["real_frames"]
    options.horizon = known.max_steps if known else 1000
    rows = []
    for name in VARIANTS if options.variants is None else (next(iter(VARIANTS)), *options.variants):
        for seed in range(options.seeds):
            rows.append(_measure(options, name, VARIANTS[name], seed))
            _write(options, rows)


def _measure(options: argparse.Namespace, name: str, settings: dict[str, Any], seed: int) -> dict[str, Any]:
    folder = options.work / f"{name.replace(' ', '-').replace(',', '')}-{seed}"
    config = PPOConfig(**{**BARE, **settings}, steps=options.steps, init=options.agent, seed=seed)
    path = folder / "score.json"
    asked = {
        "lesson": config.identity(options.hash),
        "steps": options.steps,
        "env": options.env,
        "seeds": [options.first, options.first + options.episodes - 1],
    }
    if not path.exists():
        print(f"{name}, seed {seed}", flush=True)
        learn(options.world, folder, config, quiet=not sys.stderr.isatty())
        real = score(folder, options.env, options.episodes, options.first)
        kwargs = {"horizon": options.horizon, "trust_floor": 0.0, "temperature": 1.0}
        dream = score(folder, options.world, options.episodes, options.first, env_kwargs=kwargs)
        found = {"real": real.returns, "dream": dream.returns, "real_frames": real.real_frames}
        write_json(path, {"asked": asked, **found})
    found = read_json(path)
    if found.pop("asked") != asked:
        raise ValueError(f"{path} is of another world, lesson or tracks: delete {folder}, or give another --work")
    return {"variant": name, "seed": seed, "settings": settings, **found}


def _write(options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    bare = _tracks([row for row in rows if row["variant"] == next(iter(VARIANTS))])
    table = [_row(name, [row for row in rows if row["variant"] == name], bare) for name in dict.fromkeys(_names(rows))]
    told = {
        **circumstances(),
        "world": options.hash,
        "real_frames": options.real_frames,
        "steps": options.steps,
        "episodes": options.episodes,
        "first_seed": options.first,
        "horizon": options.horizon,
        "table": table,
        "rows": rows,
    }
    write_json(options.out, told)
    lines = [
        "| lesson | real return (95 % over tracks) | gain over no defence, same tracks | dreamed return | lessons |",
        "|---|---|---|---|---|",
    ]
    for row in table:
        figures = [(row[key], *row[f"{key}_ci95"]) for key in ("real", "more")]
        real, more = (f"{mean:.0f} ({low:.0f} to {high:.0f})" for mean, low, high in figures)
        lines.append(f"| {row['variant']} | {real} | {more} | {row['dream']:.0f} | {len(row['lessons'])} |")
    with atomic_path(options.out.with_suffix(".md")) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(json.dumps(table[-1]), flush=True)


def _row(name: str, rows: list[dict[str, Any]], bare: np.ndarray) -> dict[str, Any]:
    """Means over lessons and tracks; the intervals are over tracks, the lessons' own means stand beside them."""
    tracks, dream = _tracks(rows), float(np.mean([row["dream"] for row in rows]))
    real, more = _mean(tracks), _mean(tracks - bare)
    return {
        "variant": name,
        "real": real[0],
        "real_ci95": real[1:],
        "more": more[0],
        "more_ci95": more[1:],
        "dream": dream,
        "lessons": [float(np.mean(row["real"])) for row in rows],
    }


def _tracks(rows: list[dict[str, Any]]) -> np.ndarray:
    """The return on each track (n,), averaged over lessons."""
    return np.mean([row["real"] for row in rows], 0)


def _mean(values: np.ndarray) -> list[float]:
    """The mean of values (n,), and its 95 % interval."""
    half = student_t95(len(values)) * float(np.std(values, ddof=1)) / len(values) ** 0.5
    mean = float(np.mean(values))
    return [mean, mean - half, mean + half]


def _names(rows: list[dict[str, Any]]) -> list[str]:
    return [row["variant"] for row in rows]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", type=Path, required=True, help="folder of the world to learn in")
    parser.add_argument("--agent", type=Path, help="folder of an agent to start from; from nothing without")
    parser.add_argument("--env", default="CarRacing-v3", help="the real simulator")
    parser.add_argument("--work", type=Path, default=Path("runs/ablation"), help="folder of agents and scores")
    parser.add_argument("--out", type=Path, default=Path("results/ablation.json"))
    parser.add_argument("--steps", type=int, default=400_000, help="dreamed steps of a lesson")
    parser.add_argument("--episodes", type=int, default=20, help="real tracks an agent")
    parser.add_argument("--first", type=int, default=990_000, help="reset seed of the first track")
    parser.add_argument("--seeds", type=int, default=1, help="lessons a variant")
    parser.add_argument("--variants", nargs="+", choices=[*VARIANTS][1:], help="besides no defence; all unless given")
    return parser.parse_args()


if __name__ == "__main__":
    tell(["scripts/ablation", *sys.argv[1:]])
    main()
