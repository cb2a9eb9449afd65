"""Settings that must be equal for stopped work to go on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def differing(its: Mapping[str, Any], mine: Mapping[str, Any]) -> str:
    """What differs, as "name=its value (now my value), ...", or ""; what an earlier version did not know was off."""
    names = sorted(k for k in its.keys() | mine.keys() if its.get(k) != mine.get(k) and (k in its or mine[k]))
    return ", ".join(f"{name}={its.get(name)} (now {mine.get(name)})" for name in names)
