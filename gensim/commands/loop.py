"""gensim loop: from a simulator to a world and an agent, round after round."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from typing import Annotated, Any

import tyro

from gensim.agents import loop as rounds
from gensim.agents.loop import LoopConfig, simulator
from gensim.agents.ppo_config import PPOConfig
from gensim.commands.values import values
from gensim.envs.spec import spec_of
from gensim.world.config import FitConfig

_FIT = ("data", "out", "minutes", "steps", "init", "seed")  # the loop says these of every fit,
_LEARN = ("minutes", "steps", "init", "seed", "deterministic")  # and these of every lesson


@dataclass(frozen=True)
class Loop(LoopConfig):
    """Record, fit, learn, and again with the agent so far, within a budget of real frames; run again to go on."""

    env_id: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ENV_ID")] = field(kw_only=True)
    """Gymnasium id of the simulator."""
    fit: dict[str, str] = field(default_factory=dict)
    """Settings of `gensim fit` as NAME JSON-VALUE pairs, such as `hidden 256`."""
    learn: dict[str, str] = field(default_factory=dict)
    """Settings of `gensim learn` as NAME JSON-VALUE pairs, such as `horizon 100`."""
    json: bool = False
    """Print one JSON object and no progress."""


def run(options: Loop) -> int:
    """Runs the loop and prints its table."""
    config = LoopConfig(**{item.name: getattr(options, item.name) for item in fields(LoopConfig)})
    known = spec_of(options.env_id)
    own = known.fit if known else {}
    fitting = FitConfig(data=config.out, out=config.out, **{**own, **_settings(options.fit, FitConfig, _FIT)})
    learning = PPOConfig(**_settings(options.learn, PPOConfig, _LEARN))
    say = (lambda text: None) if options.json else (lambda text: print(text, flush=True))
    loop = rounds.Loop(options.env_id, simulator(options.env_id), config, fitting, learning, say, options.json)
    told = loop.run()
    print(json.dumps(told) if options.json else (config.out / "loop.md").read_text(encoding="utf-8"))
    return 0


def _settings(given: dict[str, str], kind: Any, taken: tuple[str, ...]) -> dict[str, Any]:
    """Settings from JSON values; ValueError for one that there is not, or that the loop decides."""
    known = sorted({item.name for item in fields(kind)} - set(taken))
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: the loop decides that, or there is no such setting; give {known}")
    return values(given)
