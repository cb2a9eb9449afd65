"""gensim fit: episodes into a world."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated

import tyro

from gensim.world.config import FitConfig


@dataclass(frozen=True)
class Fit(FitConfig):
    """Fit a world to recorded episodes; run again after a stop to go on."""

    data: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")]
    """Folder of recorded episodes."""
    json: bool = False
    """Print one JSON object and no progress."""


def run(options: Fit) -> int:
    """Fits, writes the world and prints where it is."""
    from gensim.envs.spec import spec_of
    from gensim.episodes import Dataset
    from gensim.world.fit import fit

    config = FitConfig(**{field.name: getattr(options, field.name) for field in fields(FitConfig)})
    spec = Dataset(config.data).spec
    known = spec_of(spec["env_id"])
    if known is not None:
        own = {name: value for name, value in known.fit.items() if getattr(config, name) is None}
        if spec["action"] != known.action.to_dict():  # such as logs whose actions are others
            own.pop("mirror", None)
        config = replace(config, **own)
    world = fit(config, quiet=options.json)
    result = {"out": str(options.out), "hash": world.hash, **world.spec}
    line = f"{options.out}: a world of {result.get('env_id')}, {world.hash[:12]}"
    print(json.dumps(result) if options.json else line)
    return 0
