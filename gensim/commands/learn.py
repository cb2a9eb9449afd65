"""gensim learn: an agent out of a dream."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated

import tyro

from gensim.agents.ppo import learn
from gensim.agents.ppo_config import PPOConfig


@dataclass(frozen=True)
class Learn(PPOConfig):
    """Learn an agent with PPO, all its experience dreamed; run again after a stop to go on."""

    world: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="WORLD")] = field(kw_only=True)
    """World folder, or an id that `gensim worlds` lists."""
    out: Path = field(kw_only=True)
    """Agent folder to write; a run that was stopped goes on from here."""
    json: bool = False
    """Print one JSON object and no progress."""


def run(options: Learn) -> int:
    """Learns, writes the agent and prints where it is."""
    config = PPOConfig(**{item.name: getattr(options, item.name) for item in fields(PPOConfig)})
    agent = learn(options.world, options.out, config, quiet=options.json)
    learning = agent.config.learning
    steps, seconds, dreamed = (learning[key] for key in ("steps", "seconds", "dreamed_return"))
    result = {"out": str(options.out), "steps": steps, "seconds": seconds, "dreamed_return": dreamed}
    line = f"{options.out}: {steps:,} dreamed steps in {seconds} s, {dreamed} a dream"
    print(json.dumps(result) if options.json else line)
    return 0
