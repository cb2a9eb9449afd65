"""Measures a world on held-out episodes and writes its card: heldout.npz, gap.json, card.md and a picture.

Nothing that is measured here chooses anything. Real scores are read from what `gensim score --json` wrote; without
any, a few episodes are played.
"""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import torch
import tyro

from gensim.agents.score import score
from gensim.core.files import read_json, sha256
from gensim.envs.spec import IMITATIONS, spec_of
from gensim.episodes import Dataset
from gensim.episodes.sample import is_heldout
from gensim.world import World
from gensim.world.card import write_card
from gensim.world.heldout import Heldout
from gensim.world.quality import CONTEXT, HORIZONS, Futures, Pool, by_horizon, ends, futures, rewards

PACKAGES = ("gensim-worlds", "gymnasium", "numpy", "torch", "Box2D", "pygame", "opencv-python")
LENGTH = CONTEXT + max(HORIZONS) + 1


@dataclass(frozen=True)
class Card:
    """Measure a world and write its card into its folder."""

    world: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="WORLD")]
    """World folder."""
    data: Path
    """Data set that the world was fitted to; its held-out episodes are measured on."""
    agent: Path | None = None
    """Agent folder whose return is compared, dreamed and real."""
    scores: tuple[Path, ...] = ()
    """What `gensim score AGENT --json` wrote, of the simulator or of this world; what is missing is played here."""
    segments: int = 96
    """Held-out segments that figures are made from."""
    kept: int = 10
    """Held-out segments of the world's own file."""
    samples: int = 4
    """Dreams of each segment."""
    dreams: int = 32
    """Dreamed episodes of the agent."""
    real: int = 2
    """Real episodes of the agent, where no score is given."""
    simulated: int = 6
    """Starts and segments that are replayed in the simulator; 0 for none."""
    moments: int = 20_000
    """Moments of the training data that the nearest one is looked up among."""
    holdout: float = 0.05
    """Share of the episodes that the fit was told to hold out."""
    seed: int = 0
    """Of the segments, the dreams and the bootstrap; dreamed and real episodes count up from it."""

    def __post_init__(self) -> None:
        if self.seed < 0 or self.seed + max(self.dreams, self.real) > 1_000_000:
            raise ValueError(f"seed={self.seed}: give 0 to 999,000; seeds from 1,000,000 on are for final scores alone")


def main(card: Card) -> None:
    """Measures, writes the card and prints the gap in one line."""
    world, data = World.load(card.world), Dataset(card.data)
    apart = [header for header in data.episodes if is_heldout(header, card.holdout)]
    others = [header for header in data.episodes if not is_heldout(header, card.holdout)]
    returned = returns(world, card)  # first: what is wrong with the agent shows at once
    length = min(LENGTH, max((header.length + 1 for header in apart), default=LENGTH))
    heldout = Heldout.gather(apart, card.segments, length, card.seed)
    pool = Pool(others, length - CONTEXT, card.moments)
    told = futures(world, heldout, pool, samples=card.samples, seed=card.seed)
    figures = {
        "quality": quality(told, heldout, card),
        "rewards": rewards(told, card.seed),
        "ends": ends(world, heldout, seed=card.seed),
        **returned,
    }
    gap: dict[str, Any] = {**circumstances(world, data, card), "figures": figures, "limits": []}
    measures, text = measures_of(world), ""
    if measures is not None:
        figures["alive"] = alive(measures, world, heldout, told, card)
        gap["limits"], text = list(measures.LIMITS), measures.describe(figures["alive"], world.spec["fps"])
    kept = Heldout.gather(apart, card.kept, length, card.seed).within()
    write_card(card.world, gap, kept, told, text)
    print(read_json(card.world / "gap.json")["summary"])


def quality(told: Futures, heldout: Heldout, card: Card) -> dict[str, Any]:
    """PSNR and SSIM by horizon, and on what."""
    about = {"samples": card.samples, "episodes": len({*heldout.episode.tolist()})}
    return by_horizon(told, card.seed) | about


def measures_of(world: World) -> ModuleType | None:
    """The module with measures of the world's own simulator, where there is one."""
    module = IMITATIONS.get(world.spec["env_id"])
    return import_module(f"{module}.alive") if module and find_spec(f"{module}.alive") else None


def alive(measures: ModuleType, world: World, heldout: Heldout, told: Futures, card: Card) -> dict[str, Any]:
    """What those measures say."""
    figures = measures.by_horizon(told, card.seed)
    figures["steering"] = measures.steering(world, heldout, card.simulated, seed=card.seed)
    figures["instruments"] = measures.instruments(heldout, card.simulated, card.seed)
    return figures | {"summary": measures.summary(figures)}


def returns(world: World, card: Card) -> dict[str, Any]:
    """The agent's return in the dream and in the simulator; ValueError when a score is of another agent."""
    if card.agent is None:
        return {}
    spec = spec_of(world.spec["env_id"])
    horizon = spec.max_steps if spec else 500
    weights = sha256(card.agent / "policy.safetensors")
    ref = read_json(card.agent / "agent.json").get("world") or {}
    own = card.world if ref.get("hash") == world.hash else None  # the agent may know its world by another place
    found = dict(_read(path, world, weights) for path in card.scores)
    if "dream" not in found:
        how = {"horizon": horizon, "temperature": 1.0, "trust_floor": 0.0}
        told = score(card.agent, card.world, card.dreams, card.seed, world=own, env_kwargs=how)
        found["dream"] = _row(told.to_dict())
    if "real" not in found and card.real:
        kwargs = world.spec.get("env_kwargs", {})
        played = score(card.agent, world.spec["env_id"], card.real, card.seed, 1, world=own, env_kwargs=kwargs)
        found["real"] = _row(played.to_dict())
    return {"returns": {"agent": card.agent.name, "weights": weights, "horizon": horizon, **found}}


def _read(path: Path, world: World, weights: str) -> tuple[str, dict[str, Any]]:
    one = read_json(path)
    missing = {"env", "weights", "mean", "ci95", "returns", "seeds"} - one.keys()
    if missing or one["weights"] != weights:
        wrong = f"has no {', '.join(sorted(missing))}" if missing else "is of another agent's weights"
        raise ValueError(f"{path} {wrong}: give what `gensim score AGENT --json` wrote of this agent")
    return ("real" if one["env"] == world.spec["env_id"] else "dream"), _row(one)


def _row(one: Mapping[str, Any]) -> dict[str, Any]:
    ends_of = [min(one["seeds"]), max(one["seeds"])]
    names = ("env", "mean", "std", "ci95", "deterministic", "real_frames", "returns")
    return {name: one.get(name) for name in names} | {"episodes": len(one["returns"]), "seeds": ends_of}


def circumstances(world: World, data: Dataset, card: Card) -> dict[str, Any]:
    """What was measured, from what it was made, by which command, and where."""
    spec, net = world.spec, world.config
    about = {key: spec.get(key) for key in ("env_id", "size", "skip", "fps", "real_frames", "fit_steps", "fit_seconds")}
    about |= {"hash": world.hash, "groups": net.groups, "classes": net.classes}
    about["megabytes"] = round((card.world / "world.safetensors").stat().st_size / 1e6, 1)
    machine = {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()}
    return {
        "world": about,
        "meter": data.meter(),
        "policies": sorted({str(header.meta.get("policy", "unknown")) for header in data.episodes}),
        "seeds": {"all": card.seed},
        "command": shlex.join(["scripts/card", *sys.argv[1:]]),
        "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
        "machine": machine | {"capability": torch.backends.cpu.get_cpu_capability()},
    }


if __name__ == "__main__":
    main(tyro.cli(Card))
