"""gensim gap: how far a dream is from its simulator."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated

import tyro

from gensim.gap.config import GapConfig
from gensim.gap.measure import gap


@dataclass(frozen=True)
class Gap(GapConfig):
    """Measure a world against its simulator and write its card; run again after a stop to go on."""

    world: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="WORLD")] = field(kw_only=True)
    """World folder, or an id that `gensim worlds` lists."""
    data: Path = field(kw_only=True)
    """Data set that the world was fitted to; its held-out episodes are measured on."""
    json: bool = False
    """Print one JSON object and no progress."""


def run(options: Gap) -> int:
    """Measures, writes the card and prints the gap in one line."""
    from gensim.agents import world_folder

    given = {item.name: getattr(options, item.name) for item in fields(GapConfig)}
    given["world"] = world_folder(options.world)
    found = gap(GapConfig(**given), quiet=options.json)
    print(json.dumps(found) if options.json else found["summary"])
    return 0
