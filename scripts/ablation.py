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
from gensim.agents.score import score, student_t95
from gensim.core.circumstances import circumstances
from gensim.core.files import atomic_path, read_json, write_json
from gensim.world import World

BARE: dict[str, Any] = {"temperature": 1.0, "dropout": False, "trust_floor": 0.0, "pessimism": 0.0}
VARIANTS: dict[str, dict[str, Any]] = {
    "no defence": {},
    "temperature 1.15": {"temperature": 1.15},
    "temperature 1.3": {"temperature": 1.3},
    "one dropout mask an episode": {"dropout": True},
    "cut at trust 0.05": {"trust_floor": 0.05},
    "cut at trust 0.15, worthless after": {"trust_floor": 0.15, "lost_is_worthless": True},
    "pessimism 0.3": {"pessimism": 0.3},
    "pessimism 1": {"pessimism": 1.0},
    "dropout mask, cut at trust 0.05": {"dropout": True, "trust_floor": 0.05},
    "dropout mask, pessimism 0.3": {"dropout": True, "pessimism": 0.3},
}


def main() -> None:
    """Learns, plays and writes what is missing."""
    options = _options()
    rows = []
    for name, settings in VARIANTS.items():
        for seed in range(options.seeds):
            rows.append(_measure(options, name, settings, seed))
            _write(options, rows)


def _measure(options: argparse.Namespace, name: str, settings: dict[str, Any], seed: int) -> dict[str, Any]:
    folder = options.work / f"{name.replace(' ', '-').replace(',', '')}-{seed}"
    path = folder / "score.json"
    if not path.exists():
        print(f"{name}, seed {seed}", flush=True)
        config = PPOConfig(**{**BARE, **settings}, steps=options.steps, init=options.agent, seed=seed)
        learn(options.world, folder, config, quiet=not sys.stderr.isatty())
        real = score(folder, options.env, options.episodes, options.first)
        length = max(real.lengths)
        kwargs = {"horizon": length, "trust_floor": 0.0, "temperature": 1.0}
        dream = score(folder, options.world, options.episodes, options.first, env_kwargs=kwargs)
        write_json(path, {"real": real.returns, "dream": dream.returns, "real_frames": real.real_frames})
    return {"variant": name, "seed": seed, "settings": settings, **read_json(path)}


def _write(options: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    table = [_row(name, [row for row in rows if row["variant"] == name]) for name in dict.fromkeys(_names(rows))]
    world = World.load(options.world)
    told = {
        **circumstances("scripts/ablation"),
        "world": world.hash,
        "real_frames": world.spec["real_frames"],
        "steps": options.steps,
        "episodes": options.episodes,
        "first_seed": options.first,
        "table": table,
        "rows": rows,
    }
    write_json(options.out, told)
    lines = ["| lesson | real return (95 %) | dreamed return | real episodes |", "|---|---|---|---|"]
    for row in table:
        low, high = row["ci95"]
        lines.append(
            f"| {row['variant']} | {row['real']:.0f} ({low:.0f} to {high:.0f}) | {row['dream']:.0f} | {row['n']} |"
        )
    with atomic_path(options.out.with_suffix(".md")) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(json.dumps(table[-1]), flush=True)


def _row(name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean over all seeds' episodes; the interval is of episodes, the seeds' own means stand beside it."""
    real, dream = ([x for row in rows for x in row[side]] for side in ("real", "dream"))
    half = student_t95(len(real)) * float(np.std(real, ddof=1)) / len(real) ** 0.5
    mean = float(np.mean(real))
    seeds = [float(np.mean(row["real"])) for row in rows]
    ends = [mean - half, mean + half]
    return {"variant": name, "real": mean, "ci95": ends, "dream": float(np.mean(dream)), "n": len(real), "seeds": seeds}


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
    return parser.parse_args()


if __name__ == "__main__":
    main()
