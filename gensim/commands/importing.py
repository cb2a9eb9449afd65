"""gensim import: logs into episodes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from gensim.core.frames import check_side
from gensim.episodes.logs import ImportConfig, import_logs


@dataclass(frozen=True)
class Import:
    """Import logs without a simulator: Minari data sets, or videos with a table of actions."""

    source: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """A Minari data set (id or folder), a video beside its table (A.mp4, A.csv), or a folder of such."""
    out: Path = Path("data")
    """Folder of the data set; one of the same kind is added to."""
    size: int = 64
    """Side of a stored frame in pixels; frames are resized by area."""
    skip: int = 1
    """Simulator frames for each logged step, for the meter."""
    fps: int | None = None
    """Logged steps for each second; by default what the log says, or 30."""
    env_id: str | None = None
    """What the log is of; by default what the log says."""
    json: bool = False
    """Print one JSON object and no progress."""


def run(options: Import) -> dict[str, Any]:
    """Imports and prints the data set's meter; returns it."""
    check_side(options.size)
    config = ImportConfig(options.source, options.out, options.size, options.skip, options.fps, options.env_id)
    meter = import_logs(config, options.json)
    result = {"out": str(options.out), **meter}
    print(json.dumps(result) if options.json else f"{options.out}: {meter['real_frames']:,} logged frames")
    return result
