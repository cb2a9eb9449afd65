#!/usr/bin/env python
"""Ships a round of `gensim loop`: its world to envs/NAME and its agent to agents/NAME, which remembers the world by id.

With --dreams the agent's habit, actions that are drawn or the likeliest ones, is the one that returns more in so many
whole dreams of that world. They cost no real frame; agent.json keeps what both returned. The card must be made again
afterwards (`gensim gap`): a test holds it against the weights' hash.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from gensim.agents import Agent
from gensim.agents.reference import refer
from gensim.agents.score import score
from gensim.core.files import read_json
from gensim.envs.registry import register
from gensim.envs.spec import spec_of
from gensim.world import World


def main() -> None:
    """Writes both folders from the round that the loop found best, or from the one that is named."""
    options = _options()
    index = _best(options.loop) if options.round is None else options.round
    folder = options.loop / f"round-{index:02d}"
    world, agent = World.load(folder / "world"), Agent.load(folder / "agent")
    envs, agents = Path("envs") / options.name, Path("agents") / options.name
    world.save(envs)
    register()  # a world that was not there before has an id from now on
    shipped = World.load(envs)
    learning = {**agent.config.learning, "init": ""}
    habit = agent.config.deterministic
    if options.dreams:
        learning["habits"] = told = _habits(folder, world, options.dreams)
        habit = told["likeliest"]["mean"] > told["drawn"]["mean"]
    agent.config = replace(agent.config, world=refer(shipped, agents), learning=learning, deterministic=habit)
    agent.save(agents)
    print(f"round {index}: world {shipped.hash[:12]} in {envs}, its agent in {agents}")


def _best(loop: Path) -> int:
    """The round that a finished loop found best; ValueError for one that is not finished."""
    told = read_json(loop / "loop.json")
    if not told.get("done", True):
        raise ValueError(f"{loop} is not finished: run `gensim loop` again, or give --round")
    return told["best"]


def _habits(folder: Path, world: World, dreams: int) -> dict[str, Any]:
    """What whole dreams return, seeds 0 to dreams - 1, when actions are drawn and when the likeliest are taken."""
    known = spec_of(world.spec["env_id"])
    kwargs = {"horizon": known.max_steps if known else 1000, "trust_floor": 0.0}
    found = {}
    for name, calm in (("drawn", False), ("likeliest", True)):
        told = score(folder / "agent", folder / "world", dreams, 0, deterministic=calm, env_kwargs=kwargs)
        found[name] = {"mean": told.mean, "ci95": told.ci95, "dreams": dreams}
        print(f"{name} actions: {told.mean:.0f} ({told.ci95[0]:.0f} to {told.ci95[1]:.0f}) a dream", flush=True)
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("loop", type=Path, help="folder of the loop")
    parser.add_argument("name", help="the world's folder in envs/ and the agent's in agents/, such as carracing")
    parser.add_argument("--round", type=int, help="which round; by default the best")
    parser.add_argument("--dreams", type=int, default=0, help="dreams that choose the agent's habit; 0 leaves it")
    return parser.parse_args()


if __name__ == "__main__":
    main()
