"""How a detector is fitted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from gensim.ood.evidence import KINDS, Kind


@dataclass(frozen=True)
class DetectorConfig:
    """How a detector is fitted, and how its alarms sum evidence."""

    seed: int = 0
    """Of the split into parts, of first weights and of batches."""
    steps: int = 4000
    """Training steps of the small VAE, with 64 frames each."""
    ahead: int = 3000
    """Training steps of the predictor of features, with 256 moments each."""
    frames: int = 40_000
    """Frames at most that the VAE is fitted to; 64x64 ones take 12 kB of memory each."""
    shape: float = 0.2
    """Share of the episodes that scores are scaled on."""
    calibration: float = 0.3
    """Share of the episodes that p-values and alarms are set on; at least 8 episodes."""
    kind: Kind = "shiryaev-roberts"
    """How alarms sum evidence: shiryaev-roberts, cusum or martingale."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.ahead < 1 or self.frames < 64:
            raise ValueError("give at least 1 of steps and ahead, and 64 frames")
        if min(self.shape, self.calibration) <= 0 or self.shape + self.calibration >= 1:
            raise ValueError(
                f"shape={self.shape}, calibration={self.calibration}: give shares above 0 that leave some to fit"
            )
        if self.kind not in KINDS or self.seed < 0:
            raise ValueError(f"kind={self.kind!r}, seed={self.seed}: give one of {', '.join(KINDS)}, and a seed >= 0")

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON."""
        return asdict(self)
