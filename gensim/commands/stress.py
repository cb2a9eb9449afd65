"""gensim stress: what does a perception model miss in corner cases, and in the population?"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class Stress:
    """Show generated corner cases of the street to a perception model, and count what it misses."""

    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """MODULE:NAME of a function from frames (n, h, w, 3) to boxes, a file of TorchScript or ONNX, or hog."""
    out: Path = Path("stress")
    """Folder of stress.json, stress.md, stress.html and worst.png."""
    world: str = "driving"
    """World whose scenes are shown; driving."""
    scenes: int = 512
    """How many."""
    seed: int = 0
    """Of all scenes."""
    people: int = 2
    """Put into each."""
    rows: int = 8
    """Scenes that share weather and people, dreamed side by side."""
    kinds: tuple[str, ...] = ("person",)
    """What is counted: vehicle, person, object."""
    iou: float = 0.5
    """Overlap from which on a box stands for something."""
    score: float = 0.5
    """Boxes below are left out."""
    scale: float = 1.0
    """Frames are made so much larger for the model."""
    json: bool = False
    """Print one JSON object and no progress."""


def run(options: Stress) -> int:
    """Dreams, asks, counts and writes."""
    from gensim.core.circumstances import circumstances
    from gensim.core.files import writable
    from gensim.stress import judge, load, scenes
    from gensim.stress.judge import told
    from gensim.stress.page import said, write

    if options.world not in ("driving", "gensim/Driving-v0"):
        raise ValueError(f"world={options.world!r}: only driving tells labels; give that")
    writable(options.out)
    model = load(options.model, options.scale)
    drawn = scenes(options.scenes, options.seed, people=options.people, rows=options.rows)
    report = judge(model, drawn, options.iou, options.score, options.rows, options.kinds, options.scenes, options.json)
    settings = {name: value for name, value in vars(options).items() if name not in ("out", "json")}
    write(report, options.out, {**settings, **circumstances()})
    text = f"{said(report)}\n{options.out / 'stress.html'} has all of it"
    print(json.dumps({"out": str(options.out), **told(report)}) if options.json else text)
    return 0
