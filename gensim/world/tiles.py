"""Rows are computed in tiles of one fixed shape, each on one thread, so that no row feels its neighbours."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import Tensor

TILE = 32


def map_tiles(f: Callable[..., Sequence[Tensor]], *rows: Tensor, size: int = TILE) -> list[Tensor]:
    """Applies f to tiles of `size` rows, the last one padded, and joins what it returns.

    f maps tensors (size, ...) to tensors (size, ...). Results do not depend on the number of rows.
    """
    n = len(rows[0])
    padded = [_pad(x, -n % size) for x in rows]
    tiles = [[x[i : i + size] for x in padded] for i in range(0, n, size)]
    with one_thread(), torch.no_grad():
        if len(tiles) == 1:
            results = [f(*tiles[0])]
        else:
            results = list(_pool(os.getpid()).map(lambda tile: _on_one_thread(f, tile), tiles))
        return [torch.cat(parts)[:n] if len(parts) > 1 else parts[0][:n].clone() for parts in zip(*results)]


@contextmanager
def one_thread() -> Iterator[None]:
    """Every operation of the block runs on the thread that calls it."""
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _on_one_thread(f: Callable[..., Sequence[Tensor]], tile: Sequence[Tensor]) -> Sequence[Tensor]:
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
    with torch.no_grad():
        return f(*tile)


def _pad(x: Tensor, extra: int) -> Tensor:
    if extra == 0:
        return x.contiguous()
    return torch.cat([x, x[-1:].expand(extra, *x.shape[1:])])


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
