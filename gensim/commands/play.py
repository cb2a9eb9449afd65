"""gensim play: a person drives."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro


@dataclass(frozen=True)
class Play:
    """Drive a dream, its simulator, or both side by side, by keyboard or gamepad; F1 shows the keys.

    What a person drives in the simulator can be recorded for the next fit. Dreams are not: they are no data. A dream is
    not cut where its trust is low; the trust is shown.
    """

    world: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="WORLD")]
    """World folder, or an id that `gensim worlds` lists."""
    agent: Path | None = None
    """Agent folder; the key H hands over to it and takes over from it."""
    side: Literal["dream", "real", "both"] = "dream"
    """What is driven first."""
    record: Path | None = None
    """Data set for the simulator's episodes in which a person drove; `gensim fit` takes it."""
    seed: int = 0
    """Of the first episode; N goes on to the next."""
    fps: float | None = None
    """Steps a second; None takes the world's own, so that a second is one of the simulator's."""
    height: int = 512
    """Pixels of a picture, each way."""
    steps: int | None = None
    """Close after so many beats of the clock; None waits for Esc."""
    json: bool = False
    """Print one JSON object and no progress."""


def run(options: Play) -> int:
    """Opens the window and, when it is closed, prints what was driven and what was recorded."""
    from gensim.envs.play import Screen, Session, Side, play

    if options.fps is not None and not 0 < options.fps <= 1000:
        raise ValueError(f"fps {options.fps}: give more than 0 and at most 1000")
    dream = _dream(options)
    hand = None if options.agent is None else _hand(options.agent, dream)
    keeper = _keeper(options)
    with Screen(f"gensim play {options.world}", options.height) as screen:
        session = Session(dream, lambda: _simulator(dream), hand, keeper, Side(options.side), options.seed)
        try:
            play(session, screen, options.fps or dream.fps, options.steps)
        finally:
            session.close()
    _report(options, session)
    return 0


def _dream(options: Play) -> Any:
    """One row of the world that never ends for want of trust."""
    from gensim.agents import world_folder
    from gensim.envs.engine import Dream, DreamConfig

    return Dream(DreamConfig(str(world_folder(options.world)), trust_floor=0.0), 1)


def _hand(folder: Path, dream: Any) -> Any:
    """The agent's pilot, which is shown the world's own latents where it learned on them."""
    from gensim.agents import Agent, Pilot, load

    learned_in = Agent.load(folder).config.world
    own = learned_in is not None and learned_in.hash == dream.world.hash
    agent = load(folder, dream.world if own else None)
    if agent.config.action != dream.controls.action:
        raise ValueError(f"the world takes actions {dream.controls.action}, the agent gives {agent.config.action}")
    return Pilot(agent, filtered=not own)


def _keeper(options: Play) -> Any:
    """Keeps what a person drives, with the agent's weights beside it where one may have driven too."""
    from gensim.core.files import sha256
    from gensim.envs.play import Keeper

    if options.record is None:
        return None
    about = {} if options.agent is None else {"agent": sha256(options.agent / "policy.safetensors")}
    return Keeper(options.record, about)


def _simulator(dream: Any) -> Any:
    """The simulator that the world was made from; ValueError where there is none here."""
    from gensim.core.frames import shape_of
    from gensim.envs.real import make_real

    spec = dream.world.spec
    try:
        env = make_real(spec["env_id"], shape_of(spec), int(spec["skip"]), spec.get("env_kwargs", {}))
    except (ValueError, ImportError, KeyError) as error:
        raise ValueError(f"the simulator {spec.get('env_id')} is not to be had: {error}") from error
    if env.spec_dict["action"] != spec["action"]:
        raise ValueError(f"{spec['env_id']} takes actions {env.spec_dict['action']}, the world takes {spec['action']}")
    return env


def _report(options: Play, session: Any) -> None:
    recorded = [] if session.keeper is None else [str(path) for path in session.keeper.paths]
    result = {
        "world": options.world,
        "steps": session.steps,
        "seed": session.seed,
        "real_frames": session.real_frames,
        "recorded": recorded,
    }
    lines = [f"{session.steps} steps, {session.real_frames:,} simulator frames"]
    if options.record is not None:
        lines.append(f"recorded {len(recorded)} episodes in {options.record} (dreams are not recorded)")
    print(json.dumps(result) if options.json else "\n".join(lines))
