"""Messages between two processes: a line of JSON, and the bytes of the arrays that it names. Either side reads it."""

from __future__ import annotations

import json
from typing import IO, Any

import numpy as np

LONGEST = 1 << 20  # bytes of a line
LARGEST = 1 << 28  # bytes of an array


def send(pipe: IO[bytes], message: dict[str, Any], arrays: dict[str, np.ndarray] | None = None) -> None:
    """Writes a message and its arrays."""
    whole = {name: np.asarray(one, order="C") for name, one in (arrays or {}).items()}
    told = {name: [one.dtype.str, list(one.shape)] for name, one in whole.items()}
    pipe.write(json.dumps({**message, "arrays": told}).encode() + b"\n")
    for one in whole.values():
        pipe.write(one.tobytes())
    pipe.flush()


def receive(pipe: IO[bytes]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The next message and its arrays; EOFError when the other side is gone, ValueError for what is no message."""
    line = pipe.readline(LONGEST)
    if not line.endswith(b"\n"):
        raise EOFError("the other side is gone") if len(line) < LONGEST else ValueError("a line without end")
    message = json.loads(line)
    arrays = {name: _array(pipe, *about) for name, about in message.pop("arrays").items()}
    return message, arrays


def _array(pipe: IO[bytes], kind: str, shape: list[int]) -> np.ndarray:
    dtype = np.dtype(kind)
    size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    if dtype.hasobject or not 0 <= size <= LARGEST:
        raise ValueError(f"an array of {kind} {shape}: give numbers, at most {LARGEST:,} bytes")
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError("the other side is gone")
    return np.frombuffer(data, dtype).reshape(shape)
