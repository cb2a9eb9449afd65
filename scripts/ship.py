#!/usr/bin/env python
"""Ships a round of `gensim loop`: its world to envs/NAME and its agent to agents/NAME, which remembers the world by id.

The card must be made again afterwards (`gensim gap`): a test holds it against the weights' hash.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from gensim.agents import Agent
from gensim.agents.reference import refer
from gensim.core.files import read_json
from gensim.world import World


def main() -> None:
    """Writes both folders from the round that the loop found best, or from the one that is named."""
    options = _options()
    index = _best(options.loop) if options.round is None else options.round
    folder = options.loop / f"round-{index:02d}"
    world, agent = World.load(folder / "world"), Agent.load(folder / "agent")
    envs, agents = Path("envs") / options.name, Path("agents") / options.name
    world.save(envs)
    shipped = World.load(envs)
    learning = {**agent.config.learning, "init": ""}
    agent.config = replace(agent.config, world=refer(shipped, agents), learning=learning)
    agent.save(agents)
    print(f"round {index}: world {shipped.hash[:12]} in {envs}, its agent in {agents}")


def _best(loop: Path) -> int:
    """The round that a finished loop found best; ValueError for one that is not finished."""
    told = read_json(loop / "loop.json")
    if not told.get("done", True):
        raise ValueError(f"{loop} is not finished: run `gensim loop` again, or give --round")
    return told["best"]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("loop", type=Path, help="folder of the loop")
    parser.add_argument("name", help="the world's folder in envs/ and the agent's in agents/, such as carracing")
    parser.add_argument("--round", type=int, help="which round; by default the best")
    return parser.parse_args()


if __name__ == "__main__":
    main()
