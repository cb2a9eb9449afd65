"""gensim score: what an agent is worth."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from gensim.commands.values import values


@dataclass(frozen=True)
class Score:
    """Play whole episodes with an agent, in a simulator or in a dream, and sum the rewards."""

    agent: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="AGENT")]
    """Agent folder."""
    env: str
    """Gymnasium id of a simulator, such as CarRacing-v3; or the id or folder of a world to dream in."""
    episodes: int = 10
    """How many."""
    seed: int = 900_000
    """Reset seed of the first episode; the others follow it. No loop records seeds from 900,000 on."""
    processes: int = 2
    """Simulators side by side, each on one thread."""
    deterministic: bool | None = None
    """The agent's likeliest actions, not drawn ones; by default as agent.json says."""
    world: Path | None = None
    """Folder of the agent's world, where agent.json does not find it."""
    env_kwargs: dict[str, str] = field(default_factory=dict)
    """Arguments of the simulator or of the dream as NAME JSON-VALUE pairs, such as `horizon 250`."""
    charge: Path | None = None
    """Data set whose meter is charged with these episodes' frames: for scores that choose a checkpoint."""
    json: bool = False
    """Print one JSON object and no progress."""


def run(options: Score) -> int:
    """Scores and prints the mean return with its interval."""
    from gensim.agents.score import score
    from gensim.core.circumstances import circumstances
    from gensim.episodes import Dataset
    from gensim.episodes.record import SEED_LIMIT

    data = None if options.charge is None else Dataset(options.charge)
    if data is not None and options.seed + options.episodes > SEED_LIMIT:
        last = options.seed + options.episodes - 1
        raise ValueError(f"seeds up to {last:,}: with --charge, which is for choosing, they stay below {SEED_LIMIT:,}")
    result = score(
        options.agent,
        options.env,
        options.episodes,
        options.seed,
        options.processes,
        options.deterministic,
        options.world,
        values(options.env_kwargs),
        quiet=options.json,
    )
    if data is not None:
        data.charge("checkpoint selection", result.real_frames)
    print(json.dumps(result.to_dict() | circumstances()) if options.json else _text(result))
    return 0


def _text(result: Any) -> str:
    low, high = result.ci95 or (result.mean, result.mean)
    spread = "" if result.std is None else f" ± {result.std:.1f} (95 % of the mean: {low:.1f} to {high:.1f})"
    played = f"{len(result.returns)} episodes of {result.env}, {result.real_frames:,} frames"
    return f"{result.mean:.1f}{spread} over {played}"
