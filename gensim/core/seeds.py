"""Counter-based randomness: a draw is a pure function of (seed, stream, step, slot)."""

from __future__ import annotations

from enum import IntEnum

import numpy as np

_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


class Stream(IntEnum):
    """What a draw is for; draws of two streams never share a counter."""

    PRIOR = 0
    TERM = 1
    MASK = 2
    START = 3
    ACTION = 4
    POSTERIOR = 5
    FIT = 6
    BRANCH = 7


def philox(counter: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Philox4x32-10 of counters (..., 4) under keys (..., 2), 32-bit words in uint64.

    Reference: Parallel Random Numbers: As Easy as 1, 2, 3 (Salmon et al., 2011), doi:10.1145/2063384.2063405.
    """
    c0, c1, c2, c3 = (counter[..., i].astype(np.uint64) for i in range(4))
    k0, k1 = key[..., 0].astype(np.uint64), key[..., 1].astype(np.uint64)
    for i in range(10):
        r0, r1 = np.uint64(i * _W0 & 0xFFFFFFFF), np.uint64(i * _W1 & 0xFFFFFFFF)
        p0, p1 = c0 * _M0, c2 * _M1
        c0, c2 = (p1 >> _HALF) ^ c1 ^ ((k0 + r0) & _LOW), (p0 >> _HALF) ^ c3 ^ ((k1 + r1) & _LOW)
        c1, c3 = p1 & _LOW, p0 & _LOW
    return np.stack([c0, c1, c2, c3], -1)


def uniform(seed: np.ndarray, stream: int, step: np.ndarray, slots: int) -> np.ndarray:
    """Uniform draws in (0, 1) of shape (n, slots) for seeds (n,) uint64 at steps (n,) of one stream."""
    blocks = -(-slots // 4)
    words = philox(_counters(stream, step, blocks), _keys(seed)[:, None])  # (n, blocks, 4)
    return ((words.reshape(len(seed), -1)[:, :slots]).astype(np.float64) + 0.5) * 2.0**-32


def fold(seed: np.ndarray, index: np.ndarray | int) -> np.ndarray:
    """A new key (n,) uint64 for each seed and index, e.g. of a branch or an episode."""
    seed = np.atleast_1d(np.asarray(seed, np.uint64))
    index = np.broadcast_to(np.asarray(index, np.int64), seed.shape)
    words = philox(_counters(Stream.BRANCH, index, 1)[:, 0], _keys(seed))  # (n, 4)
    return words[:, 0] | (words[:, 1] << _HALF)


def _keys(seed: np.ndarray) -> np.ndarray:
    seed = np.asarray(seed).astype(np.uint64)
    return np.stack([seed & _LOW, seed >> _HALF], -1)  # (n, 2)


def _counters(stream: int, step: np.ndarray, blocks: int) -> np.ndarray:
    step = np.asarray(step).astype(np.uint64)
    counter = np.empty((len(step), blocks, 4), np.uint64)
    counter[..., 0] = np.arange(blocks, dtype=np.uint64)
    counter[..., 1] = np.uint64(stream)
    counter[..., 2] = (step & _LOW)[:, None]
    counter[..., 3] = (step >> _HALF)[:, None]
    return counter
