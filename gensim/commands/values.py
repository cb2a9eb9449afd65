"""Settings on the command line: NAME JSON-VALUE pairs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def values(given: Mapping[str, str]) -> dict[str, Any]:
    """Each text as the JSON value that it is, or as itself where it is none; lists become tuples."""
    return {name: _value(text) for name, text in given.items()}


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return tuple(value) if isinstance(value, list) else value
