"""Lossless codecs of pictures: how many bytes each takes for a frame."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np


def png(frame: np.ndarray) -> int:
    """Bytes of a frame uint8 (h, w, 3) as PNG, packed as tightly as it can be."""
    return len(_imagecodecs().png_encode(frame, level=9))


def webp(frame: np.ndarray) -> int:
    """Bytes of a frame as lossless WebP, at the highest effort."""
    return len(_imagecodecs().webp_encode(frame, lossless=True, level=100, method=6))


def jpegxl(frame: np.ndarray) -> int:
    """Bytes of a frame as lossless JPEG XL without a container, at the highest effort."""
    return len(_imagecodecs().jpegxl_encode(frame, lossless=True, effort=10, usecontainer=False))


CODECS: dict[str, Callable[[np.ndarray], int]] = {"PNG": png, "WebP lossless": webp, "JPEG XL lossless": jpegxl}


def codec_bits(frames: np.ndarray, name: str) -> np.ndarray:
    """Bits per dimension (n,) of frames uint8 (n, h, w, 3) by a codec of `CODECS`, headers included.

    Raises ValueError for another codec, ModuleNotFoundError without the extra `ood-bench`.
    """
    if name not in CODECS:
        raise ValueError(f"codec={name!r}: give one of {', '.join(CODECS)}")
    sizes = [CODECS[name](np.ascontiguousarray(frame)) for frame in frames]
    return 8 * np.array(sizes, np.float64) / np.prod(frames.shape[1:])


def _imagecodecs() -> ModuleType:
    try:
        import imagecodecs
    except ModuleNotFoundError as fault:
        raise ModuleNotFoundError("codecs need imagecodecs: pip install 'gensim-worlds[ood-bench]'") from fault
    return imagecodecs
