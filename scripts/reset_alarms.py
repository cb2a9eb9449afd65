#!/usr/bin/env python
"""Sets a shipped detector's alarms anew on the frames of a count of false alarms, which hold more than it was made on.

`scripts/false_alarms` keeps the scores of what it counts. The rate that it found stands for the detector as it was; the
next count, of the detector as it is, takes other seeds. What the detector looks at and its scores stay as they are.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

sys.path.insert(0, str(Path(__file__).parent))
from false_alarms import SIMULATORS, FalseAlarms, nominal

import gensim.ood
from gensim.ood.alarm import Calibration
from gensim.ood.detector import Detector

ENVS = Path(__file__).parents[1] / "envs"


@dataclass(frozen=True)
class Reset:
    """Which detector, and which count's frames."""

    name: str
    """carracing or takecover."""
    first: int
    """Reset seed of the count's first episode."""
    frames: int = 1_000_000
    """Frames of the count."""
    work: Path = Path("runs/false-alarms")
    """Folder of its scores."""

    def __post_init__(self) -> None:
        if self.name not in SIMULATORS:
            raise ValueError(f"name={self.name!r}: give {' or '.join(SIMULATORS)}")


def main(config: Reset) -> None:
    """Reads the scores, sets the alarms and writes the detector, and the dreamed one that shares its numbers."""
    count = FalseAlarms(names=(config.name,), frames=config.frames, first=config.first, work=config.work, processes=1)
    folder = ENVS / config.name / "detector"
    old, dreamed = gensim.ood.load(folder), gensim.ood.load(ENVS / config.name / "detector-dreamed")
    made, frames = reset(old, count)
    made.save(folder)
    told = {**dreamed.about["recalibrated"], "from": made.hash}
    dreamed.about = {**dreamed.about, "recalibrated": told}
    dreamed.save(ENVS / config.name / "detector-dreamed", base=folder)
    print(f"{folder}: {made.hash[:12]}, alarms set on {frames:,} frames")


def reset(old: Detector, count: FalseAlarms) -> tuple[Detector, int]:
    """The same detector, its alarms set on a count's scores, and how many these are."""
    scores = [*nominal(count, count.names[0])]
    kind = old.calibration.kind if old.calibration else "shiryaev-roberts"
    about = {"episodes": len(scores), "rescaled": False, "from": old.hash, "first_seed": count.first}
    about = {**old.about, "recalibrated": about}
    made = Detector(old.eye, old.surprise, old.scales, old.blends, Calibration.of(scores, kind), about)
    return made, sum(map(len, scores))


if __name__ == "__main__":
    main(tyro.cli(Reset, description=__doc__))
