"""gensim record: a simulator into episodes."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from gensim.commands.values import values
from gensim.core.files import sha256
from gensim.core.frames import check_side
from gensim.episodes import Dataset
from gensim.episodes.record import Maker, RecordConfig, record


@dataclass(frozen=True)
class Record:
    """Record any Gymnasium simulator that can be seen; run again to go on."""

    env_id: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ENV_ID")]
    """Gymnasium id of the simulator; "module:Name-v0" imports its module first."""
    frames: int = 100_000
    """Stop when the folder's episodes hold this many simulator frames, skipped ones included."""
    out: Path = Path("data")
    """Folder of the data set; one of the same kind is continued."""
    policy: Literal["random", "agent", "mixed"] = "random"
    """Who acts: time-correlated chance, an agent, or an agent with noise and bursts of chance."""
    agent: Path | None = None
    """Folder of the agent, for the policies agent and mixed."""
    size: int | None = None
    """Side of a stored frame in pixels, to which frames are resized by area; by default as the imitating world's, or
    64."""
    skip: int | None = None
    """Simulator frames for which an action is held; by default what the imitating world says, or 1."""
    seed: int = 0
    """Episode i starts from reset seed `seed + i`; seeds stay below 1,000,000."""
    round: int = 0
    """Which round of record, fit and learn this is; each keeps its own episode names."""
    processes: int = 2
    """Simulators stepped side by side."""
    max_episode_steps: int | None = None
    """Cut episodes after this many steps (each of `skip` simulator frames)."""
    env_kwargs: dict[str, str] = field(default_factory=dict)
    """Arguments of the simulator as NAME JSON-VALUE pairs, such as `lap_complete_percent 0.9`."""
    json: bool = False
    """Print one JSON object and no progress."""


def run(options: Record) -> dict[str, Any]:
    """Records and prints the data set's meter; returns it."""
    from gensim.agents.filter import driver
    from gensim.envs.real import make_real

    if options.size is not None:
        check_side(options.size)
    kwargs = values(options.env_kwargs)
    env = functools.partial(make_real, options.env_id, options.size, options.skip, kwargs)
    config = RecordConfig(
        out=options.out,
        frames=options.frames,
        policy=options.policy,
        agent=options.agent,
        seed=options.seed,
        round=options.round,
        processes=options.processes,
        max_episode_steps=options.max_episode_steps,
    )
    before = Dataset(options.out).meter() if (options.out / "data.json").is_file() else None
    meter = record(config, Maker(env, driver, _about(options.agent)), options.json)
    result = {"out": str(options.out), **meter}
    told = f"{options.out}: {meter['real_frames']:,} simulator frames"
    told += ", as before: --frames counts all that the folder holds" if meter == before else ""
    print(json.dumps(result) if options.json else told)
    return result


def _about(agent: Path | None) -> dict[str, str]:
    """The SHA-256 of the weights of the agent that acts."""
    if agent is None:
        return {}
    weights = agent / "policy.safetensors"
    if not weights.is_file():
        raise FileNotFoundError(f"{agent} is no agent's folder: it has no policy.safetensors")
    return {"agent": sha256(weights)}
