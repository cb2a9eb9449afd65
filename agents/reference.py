"""Which world an agent belongs to, and where to find it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import gymnasium as gym

from gensim.envs.registry import ANY_WORLD, folder_of, registered

if TYPE_CHECKING:
    from gensim.world import World


@dataclass(frozen=True)
class WorldRef:
    """A world as an agent remembers it: the hash decides, the id or the folder finds it."""

    hash: str
    """SHA-256 of the world's weights."""
    id: str | None = None
    """Registered id, such as gensim/CarRacing-v0."""
    folder: str | None = None
    """World folder, relative to the agent's own; None for a world that has an id."""
    real_frames: int = 0
    """Simulator frames that the world was made from."""

    def folders(self, agent: Path | None) -> list[Path]:
        """Where the world may be, seen from the agent's folder."""
        places = [world_folder(self.id)] if self.id in world_ids() else []
        if self.folder is not None:
            places.append((agent or Path()) / self.folder)
        return places


def world_ids() -> list[str]:
    """The ids of the worlds that come with gensim."""
    return [id_ for id_ in registered() if id_ != ANY_WORLD]


def world_folder(name: str | Path) -> Path:
    """The folder of a world, given that folder, a registered id or gensim:NAME; FileNotFoundError if none."""
    known = world_ids()
    name = str(name)
    folder = folder_of(gym.spec(name).kwargs["world"] if name in known else name)
    if not (folder / "world.json").is_file():
        raise FileNotFoundError(
            f"{name} is no world ({folder / 'world.json'} is not there): "
            f"give a folder that `gensim fit` wrote, or one of {', '.join(known)}"
        )
    return folder


def refer(world: World, agent: Path) -> WorldRef:
    """How an agent in a folder remembers a loaded world; ValueError when that was never saved."""
    if world.folder is None:
        raise ValueError("the world has no folder that an agent could find it in: save it first")
    real_frames = int(world.spec.get("real_frames", 0))
    for id_ in world_ids():
        if folder_of(gym.spec(id_).kwargs["world"]).resolve() == world.folder.resolve():
            return WorldRef(world.hash, id=id_, real_frames=real_frames)
    folder = os.path.relpath(world.folder.resolve(), agent.resolve())
    return WorldRef(world.hash, folder=folder, real_frames=real_frames)


def resolve(ref: WorldRef, agent: Path | None, world: World | str | Path | None = None) -> World:
    """An agent's world, found by its reference or given; ValueError when it is not the one it learned in."""
    from gensim.world import World

    if not isinstance(world, World):
        world = World.load(_place(ref, agent) if world is None else world_folder(world))
    if world.hash != ref.hash:
        raise ValueError(
            f"{world.folder or 'this'} is the world {world.hash[:12]}, the agent learned in {ref.hash[:12]}: "
            "give that world, or learn in this one"
        )
    return world


def _place(ref: WorldRef, agent: Path | None) -> Path:
    places = ref.folders(agent)
    for folder in places:
        if (folder / "world.json").is_file():
            return folder
    looked = ", ".join(map(str, places)) or "nowhere"
    raise FileNotFoundError(f"the agent's world {ref.hash[:12]} is not in {looked}: name its folder")
