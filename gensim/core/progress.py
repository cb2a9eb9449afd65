"""Progress for people: a bar on standard error, silent for machines."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def bar(work: Iterable[Any] | int | None, desc: str, json: bool = False, unit: str = "it") -> tqdm:
    """A tqdm bar over an iterable or towards a total; silent with `json` or without a terminal."""
    silent = json or not sys.stderr.isatty()
    if work is None or isinstance(work, int):
        return tqdm(total=work, desc=desc, unit=unit, disable=silent, dynamic_ncols=True)
    return tqdm(work, desc=desc, unit=unit, disable=silent, dynamic_ncols=True)
