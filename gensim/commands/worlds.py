"""gensim worlds: the worlds that are there."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro


@dataclass(frozen=True)
class Worlds:
    """List worlds: those that come with gensim, and those in folders."""

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """World folders to list besides."""
    json: bool = False
    """Print one JSON object."""


def run(options: Worlds) -> int:
    """Prints a line a world: id or folder, size, frames it was made from, gap."""
    import gymnasium as gym

    from gensim.envs.registry import ANY_WORLD, folder_of, registered

    places = {id_: folder_of(gym.spec(id_).kwargs["world"]) for id_ in registered() if id_ != ANY_WORLD}
    places |= {str(folder): folder for folder in options.folders}
    rows = [describe(name, folder) for name, folder in places.items()]
    print(json.dumps({"worlds": rows}) if options.json else _table(rows))
    return 0


def describe(name: str, folder: Path) -> dict[str, Any]:
    """What is known of a world without loading it; a world whose files are not there says so."""
    from gensim.core.files import read_json

    if not (folder / "world.json").is_file():
        return {"id": name, "folder": str(folder), "mb": None, "real_frames": None, "gap": "not there"}
    spec = read_json(folder / "world.json").get("spec", {})
    size = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    gap = read_json(folder / "gap.json") if (folder / "gap.json").is_file() else {}
    return {
        "id": name,
        "folder": str(folder),
        "mb": round(size / 1e6, 1),
        "real_frames": spec.get("real_frames"),
        "gap": gap.get("summary", "not measured"),
    }


def _table(rows: list[dict[str, Any]]) -> str:
    width = max([len(row["id"]) for row in rows] + [5])
    lines = [f"{'world':<{width}}  {'MB':>6}  {'frames':>9}  gap"]
    for row in rows:
        mb, frames = row["mb"], row["real_frames"]
        shown = f"{'-' if mb is None else mb:>6}  {'-' if frames is None else format(frames, ','):>9}"
        lines.append(f"{row['id']:<{width}}  {shown}  {row['gap']}")
    return "\n".join(lines)
