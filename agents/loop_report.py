"""The loop's report for people: a table in Markdown, and a plot of real return against real frames."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gensim.core.files import atomic_path
from gensim.core.frames import encode

WIDTH, HEIGHT, EDGE = 720, 440, 70  # pixels
INK, REAL = (40, 40, 40), (20, 90, 200)


def write_table(path: Path, told: Mapping[str, Any]) -> None:
    """Writes a row a round: real frames so far, real return with its 95 % interval, dreamed return."""
    head = [
        "round",
        "real frames",
        "real return (95 %)",
        "episodes",
        "dreamed, as learned",
        "played for being the best",
    ]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in told["rounds"]:
        chosen = row.get("chosen")
        cells = [row["round"], f"{row['real_frames']:,}", _mean(row), len(row["returns"]), row["dreamed"]]
        lines.append("| " + " | ".join(map(str, [*cells, _mean(chosen) if chosen else ""])) + " |")
    spent = told["meter"].get("real_frames", 0)
    lines += ["", f"{told['env_id']}: {spent:,} real frames in all; best: round {told['best']}.", ""]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")


def write_plot(path: Path, told: Mapping[str, Any]) -> None:
    """Draws real return and its interval against real frames, as a PNG."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(encode(plot(told), 9))


def plot(told: Mapping[str, Any]) -> np.ndarray:
    """The same as an image, uint8 (440, 720, 3)."""
    canvas = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    rows = [row for row in told["rounds"] if row["mean"] is not None]
    ends = [end for row in rows for end in (row["ci95"] or [row["mean"]])]
    top = _round(max([1.0, *ends]))
    right = _round(max([1, *(row["real_frames"] for row in told["rounds"])]))
    low = min([0.0, *ends])

    def at(frames: float, value: float) -> tuple[int, int]:
        x = EDGE + (WIDTH - 2 * EDGE) * frames / right
        return round(x), round(HEIGHT - EDGE - (HEIGHT - 2 * EDGE) * (value - low) / (top - low))

    _axes(canvas, at, right, top, told["env_id"])
    points = [(row["real_frames"], row["mean"], row["ci95"]) for row in rows]
    _curve(canvas, [at(frames, mean) for frames, mean, _ in points], REAL)
    for frames, _, ci95 in points:
        if ci95 is not None:
            _line(canvas, at(frames, ci95[0]), at(frames, ci95[1]), REAL, 2)
    return canvas


def _axes(canvas: np.ndarray, at: Any, right: float, top: float, name: str) -> None:
    _line(canvas, at(0, 0), at(right, 0), INK)
    _line(canvas, at(0, 0), at(0, top), INK)
    for share in (0.25, 0.5, 0.75, 1.0):
        x, y = at(share * right, 0)
        _text(canvas, f"{share * right:,.0f}", (x - 24, y + 18))
        x, y = at(0, share * top)
        _text(canvas, f"{share * top:,.0f}", (x - 50, y + 4))
        _line(canvas, (x, y), at(right, share * top), (225, 225, 225))
    _text(canvas, f"{name}: real return of each round's agent (bars: 95 % of the mean)", (EDGE, 28))
    _text(canvas, "real frames", (WIDTH // 2 - 40, HEIGHT - 16))


def _curve(canvas: np.ndarray, points: list[tuple[int, int]], colour: tuple[int, int, int]) -> None:
    for a, b in zip(points, points[1:]):
        _line(canvas, a, b, colour)
    for a in points:
        _line(canvas, a, a, colour, 7)


def _line(canvas: np.ndarray, a: Any, b: Any, colour: tuple[int, int, int], width: int = 1) -> None:
    import cv2

    cv2.line(canvas, a, b, colour, width, cv2.LINE_AA)


def _text(canvas: np.ndarray, text: str, at: tuple[int, int]) -> None:
    import cv2

    cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.42, INK, 1, cv2.LINE_AA)


def _mean(row: Mapping[str, Any]) -> str:
    if row["mean"] is None:
        return "not played"
    ends = row["ci95"]
    return f"{row['mean']:.0f}" + (f" ({ends[0]:.0f} to {ends[1]:.0f})" if ends else "")


def _round(value: float) -> float:
    """The least of 1, 2, 2.5, 5 times a power of ten that is not below a value."""
    scale = 10.0 ** np.floor(np.log10(value))
    return float(next(step * scale for step in (1, 2, 2.5, 5, 10) if step * scale >= value))
