"""What the benchmark measures, on which recordings."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from gensim.ood.config import DetectorConfig
from gensim.ood.pairs import PAIRS, Pair


@dataclass(frozen=True)
class BenchConfig:
    """What to measure, on which recordings."""

    data: Path = Path("runs/pairs")
    """Folder that scripts/record_pairs wrote."""
    out: Path = Path("runs/ood-bench")
    """Folder of detectors, flows and figures; what is there is kept."""
    part: Literal["all", "choosing", "reporting"] = "all"
    """Which half of the families; look at reporting once, when nothing is chosen any more."""
    pairs: tuple[str, ...] = ()
    """Names of pairs, such as carracing/fog; all of the part by default."""
    frames: int = 600
    """Frames of a source that are scored one by one."""
    every: int = 300
    """Frames between false alarms that delays are measured at; what the recordings' calibration supports."""
    draws: int = 1000
    """Bootstrap samples of episodes behind each interval."""
    seed: int = 0
    """Of shifts and of the bootstrap."""
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    """How the detectors are fitted."""
    flow_steps: int = 2000
    """Training steps of the flows whose raw likelihood is the one to beat."""
    flow_batch: int = 16
    """Frames in such a step."""

    def __post_init__(self) -> None:
        if min(self.frames, self.draws, self.flow_steps, self.flow_batch) < 1 or self.seed < 0:
            raise ValueError("frames, draws, flow_steps and flow_batch are at least 1, seed at least 0")
        unknown = sorted({*self.pairs} - {pair.name for pair in PAIRS})
        if unknown:
            raise ValueError(f"no pair {', '.join(unknown)}: gensim.ood.pairs lists them")

    @property
    def chosen(self) -> list[Pair]:
        """The pairs to measure, in their order."""
        half = [pair for pair in PAIRS if self.part in ("all", pair.part)]
        return [pair for pair in half if not self.pairs or pair.name in self.pairs]
