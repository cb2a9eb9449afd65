"""Bits per dimension: what a log-probability would cost a codec, for each number of a frame."""

from __future__ import annotations

import math

from torch import Tensor


def bits_per_dim(log_prob: Tensor, frames: Tensor) -> Tensor:
    """Bits (n,) for each of the h w 3 numbers of frames (n, h, w, 3), from their log-probabilities (n,) in nats."""
    return -log_prob / (math.log(2) * math.prod(frames.shape[1:]))


def check_frames(frames: Tensor, size: int, shades: int = 256) -> None:
    """ValueError unless frames are uint8 (n, size, size, 3) with values below `shades`."""
    shape = (size, size, 3)
    if frames.dtype.is_floating_point or frames.ndim != 4 or frames.shape[1:] != shape:
        raise ValueError(f"frames are uint8 (n, {size}, {size}, 3), not {frames.dtype} {tuple(frames.shape)}: resize")
    if shades < 256 and len(frames) and int(frames.max()) >= shades:
        raise ValueError(f"a frame holds {int(frames.max())}: this model knows values below {shades} only")
