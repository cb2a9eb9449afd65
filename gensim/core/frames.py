"""Frames: uint8 (h, w, 3) RGB outside a model, float (3, h, w) in -1..1 inside one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gensim.core.files import atomic_path

if TYPE_CHECKING:
    import torch


def check_side(size: int) -> None:
    """ValueError unless a world can be fitted to frames of this side."""
    if size % 16 or size < 32:
        raise ValueError(f"size={size}: give a multiple of 16 from 32 up, such as 64")


def shape_of(spec: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width of the frames that a spec describes; one without a width has square ones."""
    height = int(spec["size"])
    return height, int(spec.get("width") or height)


def resize(frames: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """Frames by averaging areas: uint8 (..., h, w, 3) to a height and width, or to a square's side."""
    _check(frames)
    height, width = (size, size) if isinstance(size, int) else size
    if frames.shape[-3:-1] == (height, width):
        return np.array(frames)
    import cv2

    flat = frames.reshape(-1, *frames.shape[-3:])  # (n, h, w, 3)
    small = [cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in flat]
    return np.array(small, np.uint8).reshape(*frames.shape[:-3], height, width, 3)


def mosaic(frames: np.ndarray, columns: int) -> np.ndarray:
    """One picture of n frames in rows of `columns`, black where frames run out: (n, h, w, 3) to (H, W, 3)."""
    _check(frames)
    if frames.ndim != 4 or not len(frames) or columns < 1:
        raise ValueError(f"mosaic takes frames (n, h, w, 3) and columns >= 1, not {frames.shape}, {columns}")
    n, h, w, c = frames.shape
    rows = -(-n // columns)
    sheet = np.zeros((rows * columns, h, w, c), np.uint8)
    sheet[:n] = frames
    sheet = sheet.reshape(rows, columns, h, w, c).swapaxes(1, 2)  # (rows, h, columns, w, 3)
    return sheet.reshape(rows * h, columns * w, c)


def to_model(frames: torch.Tensor) -> torch.Tensor:
    """uint8 (..., h, w, 3) to float32 (..., 3, h, w) in -1..1."""
    return frames.movedim(-1, -3).float().div(127.5).sub(1.0)


def to_frames(x: torch.Tensor) -> torch.Tensor:
    """float (..., 3, h, w) in -1..1, clipped, to uint8 (..., h, w, 3)."""
    levels = x.detach().float().add(1.0).mul(127.5).round().clamp(0, 255)
    return levels.byte().movedim(-3, -1).contiguous()


def encode(frame: np.ndarray, level: int = 2) -> bytes:
    """One uint8 (h, w, 3) RGB frame as a lossless PNG; `level` 0..9 trades time for bytes."""
    import cv2

    _check(frame)
    done, blob = cv2.imencode(".png", frame[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, level])
    if not done:
        raise ValueError(f"a frame of shape {frame.shape} could not be written as PNG")
    return blob.tobytes()


def encode_layer(layer: np.ndarray, level: int = 2) -> bytes:
    """One label a pixel, uint8 or uint16 (h, w), as a lossless PNG."""
    import cv2

    if layer.dtype not in (np.uint8, np.uint16) or layer.ndim != 2:
        raise ValueError(f"a layer is uint8 or uint16 (h, w), not {layer.dtype} {layer.shape}")
    done, blob = cv2.imencode(".png", layer, [cv2.IMWRITE_PNG_COMPRESSION, level])
    if not done:
        raise ValueError(f"a layer of shape {layer.shape} could not be written as PNG")
    return blob.tobytes()


def decode_layer(blob: np.ndarray) -> np.ndarray:
    """The uint8 or uint16 (h, w) layer of a PNG held as uint8 (bytes,); ValueError when it is none."""
    import cv2

    layer = cv2.imdecode(blob, cv2.IMREAD_UNCHANGED) if len(blob) else None
    if layer is None or layer.ndim != 2:
        raise ValueError(f"{len(blob)} bytes are no PNG of a layer (h, w)")
    return layer


def write_png(path: str | Path, frame: np.ndarray) -> None:
    """Writes one uint8 (h, w, 3) RGB picture, as small as it goes, all or nothing."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(encode(frame, 9))


def decode(blob: np.ndarray) -> np.ndarray:
    """The uint8 (h, w, 3) RGB frame of a PNG held as uint8 (bytes,); ValueError when it is none."""
    import cv2

    frame = cv2.imdecode(blob, cv2.IMREAD_COLOR) if len(blob) else None
    if frame is None:
        raise ValueError(f"{len(blob)} bytes are no PNG frame")
    return frame[..., ::-1]


def _check(frames: np.ndarray) -> None:
    if frames.dtype != np.uint8 or frames.ndim < 3 or frames.shape[-1] != 3:
        raise ValueError(f"frames are uint8 (..., h, w, 3), not {frames.dtype} {frames.shape}")
