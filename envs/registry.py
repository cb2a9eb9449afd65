"""Which worlds are environments: each shipped world folder, and gensim/World-v0 for any other folder."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import gymnasium as gym

from gensim.envs.spec import IMITATIONS, WorldSpec

ANY_WORLD = "gensim/World-v0"
SHIPPED = "gensim:"
ENTRY_POINT = "gensim.envs.single:DreamEnv"
VECTOR_ENTRY_POINT = "gensim.envs.vector:DreamVectorEnv"


def register() -> None:
    """Registers every shipped world with Gymnasium under string entry points; a second call changes nothing."""
    _register(ANY_WORLD, {}, None)
    for module in IMITATIONS.values():
        spec: WorldSpec = import_module(module).SPEC
        if _name(module) in shipped():
            _register(f"gensim/{spec.name}-v0", {"world": SHIPPED + _name(module)}, spec.reward_threshold)


def registered() -> list[str]:
    """The ids of gensim's environments, sorted."""
    return sorted(id_ for id_, spec in gym.registry.items() if spec.namespace == "gensim")


def shipped() -> dict[str, Path]:
    """The folders of the worlds that come with gensim, by name: those in which a fitted world lies."""
    folders = {_name(module): Path(__file__).parent / _name(module) for module in IMITATIONS.values()}
    return {name: folder for name, folder in folders.items() if (folder / "world.json").is_file()}


def folder_of(world: str | Path | None) -> Path:
    """The folder of a world: a path, or "gensim:NAME" for a shipped one; ValueError for unknown names."""
    if world is None:
        raise ValueError(f'{ANY_WORLD} needs a world: gym.make("{ANY_WORLD}", world=FOLDER)')
    if not str(world).startswith(SHIPPED):
        return Path(world)
    name, known = str(world).removeprefix(SHIPPED), shipped()
    if name not in known:
        raise ValueError(f"gensim ships no world {name!r}: it has {', '.join(known)}; or give a folder")
    return known[name]


def anchored(world: str | Path | None) -> str:
    """The same world by an absolute path, or by its shipped name, so that it is found from any directory."""
    folder = folder_of(world)
    return str(world) if str(world).startswith(SHIPPED) else str(folder.resolve())


def _register(id_: str, kwargs: dict[str, str], threshold: float | None) -> None:
    if id_ not in gym.registry:
        gym.register(id_, ENTRY_POINT, threshold, kwargs=kwargs, vector_entry_point=VECTOR_ENTRY_POINT)


def _name(module: str) -> str:
    return module.rpartition(".")[2]
