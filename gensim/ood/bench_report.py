"""The benchmark's report: what its bars come to, a table in Markdown, and ROC curves of each family as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gensim.core.files import atomic_path, write_json
from gensim.core.frames import write_png
from gensim.ood.judge import RAW
from gensim.ood.pairs import LEVEL

BARS = {
    "mean": 0.98,  # AUROC of the default over pairs
    "visible": 0.90,  # of each shift that a person sees, and of each change of dynamics
    "below": 0.01,  # AUROC that the default may lack to raw likelihood
    "trap": 0.2,  # AUROC of raw likelihood at which a pair is a trap
    "sure": 0.95,  # frame AUROC from which on an alarm must be quick
    "delay": 2,  # frames
    "parameters": 3_000_000,
    "ms": 5.0,
}
CELL, ROW, EDGE, COLUMNS = 132, 168, 14, 6  # pixels, and pictures in a row
INK, PALE, DEFAULT, LIKELIHOOD = (40, 40, 40), (225, 225, 225), (20, 90, 200), (200, 60, 30)
TOLD = ("default", "frame", "time", RAW, "copod", "ecod")  # scores that are kept by pair
Row = Mapping[str, Any]


def write_report(out: Path, told: Mapping[str, Any]) -> dict[str, Any]:
    """Writes bench.json, bench.md and roc-FAMILY.png; returns what bench.json says."""
    rows = told["pairs"]
    parts = {part: [row for row in rows if row["part"] == part] for part in ("choosing", "reporting")}
    summary = {part: summed(some, told["detectors"]) for part, some in {**parts, "all": rows}.items() if some}
    whole = {**told, "bars": BARS, "summary": summary, "pairs": [_slim(row) for row in rows]}
    write_json(out / "bench.json", whole)
    with atomic_path(out / "bench.md") as temporary:
        temporary.write_text(table(whole), encoding="utf-8")
    for family in dict.fromkeys(row["family"] for row in rows):
        write_png(out / f"roc-{family}.png", picture([row for row in told["pairs"] if row["family"] == family]))
    return whole


def figure(row: Row, name: str = "default", strength: int = LEVEL) -> float | None:
    """A pair's AUROC: by window where single frames look usual, else by frame; None where it was not measured."""
    found = row[row["by"]].get(str(strength), {}).get(name)
    return None if found is None else float(found["value"])


def summed(rows: Sequence[Row], detectors: Mapping[str, Any]) -> dict[str, Any]:
    """What the bars come to over some pairs, figures at strength 3 unless they say otherwise."""
    values = {row["name"]: figure(row) for row in rows}
    known = {name: value for name, value in values.items() if value is not None}
    seen = _visible(rows)
    lacking = {row["name"]: lack for row in rows if (lack := _lacking(row)) is not None}
    raws = {row["name"]: raw for row in rows if (raw := figure(row, RAW)) is not None}
    caught = sorted(name for name, raw in raws.items() if raw <= BARS["trap"])
    listed = [row["name"] for row in rows if row["trap"]]
    slow = {row["name"]: row["delay"]["median"] for row in rows if _must_be_quick(row)}
    return {
        "pairs": len(rows),
        "unmeasured": sorted(values.keys() - known.keys()),
        "mean": float(np.mean([*known.values()])) if known else None,
        "means": _means(rows),
        "least": _least(known),
        "visible": {"measured": len(seen), "least": _least(seen), "under": _under(seen, BARS["visible"])},
        "below_likelihood": {
            "pairs": len(lacking),
            "most": max(lacking.values(), default=None),
            "over": sorted(name for name, lack in lacking.items() if lack > BARS["below"]),
        },
        "traps": {
            "listed": len(listed),
            "true": caught,
            "foreseen": sorted({*caught} & {*listed}),
            "default": float(np.mean([known[name] for name in caught])) if caught else None,
        },
        "delay": {
            "pairs": len(slow),
            "over": sorted(name for name, median in slow.items() if median is None or median > BARS["delay"]),
        },
        "parameters": max((one["parameters"] for one in detectors.values()), default=None),
        "ms": max((one["ms"]["median"] for one in detectors.values()), default=None),
    }


def _visible(rows: Sequence[Row]) -> dict[str, float]:
    """AUROC by pair and strength of what must be seen: shifts from strength 3 on, and changes of dynamics."""
    found: dict[str, float] = {}
    for row in rows:
        levels = [s for s in row[row["by"]] if int(s) >= LEVEL]
        if row["kind"] in ("camera", "weather", "time", "dynamics"):
            found |= {
                f"{row['name']} at {s}": value for s in levels if (value := figure(row, strength=int(s))) is not None
            }
    return found


def _lacking(row: Row) -> float | None:
    """How far the default is below raw likelihood; None where either was not measured."""
    mine, raw = figure(row), figure(row, RAW)
    return None if mine is None or raw is None else raw - mine


def _must_be_quick(row: Row) -> bool:
    """Whether the alarm must come within the bar's frames: where single frames tell nearly surely."""
    value = row["frame"].get(str(LEVEL), {}).get("default", {}).get("value", 0.0)
    return value >= BARS["sure"] and bool(row["delay"])


def _means(rows: Sequence[Row]) -> dict[str, float]:
    """Mean AUROC by score over the pairs that are told by single frames, the best first."""
    frames = [row["frame"].get(str(LEVEL), {}) for row in rows if row["by"] == "frame"]
    names = {name for one in frames for name in one}
    means = {n: float(np.mean([one[n]["value"] for one in frames])) for n in names if all(n in one for one in frames)}
    return dict(sorted(means.items(), key=lambda pair: (-pair[1], pair[0])))


def _least(values: Mapping[str, float]) -> dict[str, Any] | None:
    name = min(values, key=lambda key: values[key], default=None)
    return None if name is None else {"pair": name, "auroc": values[name]}


def _under(values: Mapping[str, float], bar: float) -> dict[str, float]:
    return {name: round(value, 4) for name, value in sorted(values.items()) if value < bar}


def _slim(row: Row) -> dict[str, Any]:
    """A pair without its curves, which the pictures show, and of all scores those in `TOLD`; the others' means stay."""
    told = {key: value for key, value in row.items() if key not in ("curves", "asked")}
    return told | {by: {level: _rounded(found) for level, found in row[by].items()} for by in ("frame", "window")}


def _rounded(found: Mapping[str, Any]) -> dict[str, Any]:
    """AUROC and interval by name, to four digits."""
    kept = {name: found[name] for name in TOLD if name in found}
    return {
        name: {"value": round(one["value"], 4), "ci95": one["ci95"] and [round(end, 4) for end in one["ci95"]]}
        for name, one in kept.items()
    }


# -------------------------------------------------------------------- in words


def table(told: Mapping[str, Any]) -> str:
    """All pairs in Markdown, by family; what it comes to stands above."""
    lines = ["# Unusual frames and how they are told", ""]
    for part, s in told["summary"].items():
        lines += [f"**{part}**: {_sentence(s)}", ""]
    lines += [
        "AUROC at strength 3 (95 % by bootstrap over episodes). By window where single frames look usual: the mean"
        " score of 50 frames in a row. Delay: median number of unusual frames up to the alarm, early alarms and"
        " episodes without one in brackets. A trap is a pair of which raw likelihood has at most 0.2; some were"
        " foreseen (in brackets: in vain).",
        "",
    ]
    head = ["pair", "kind", "trap", "part", "by", "default", "raw likelihood of a flow", "strengths 1 to 5", "delay"]
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in told["pairs"]:
        at = row[row["by"]].get(str(LEVEL), {})
        cells = [row["name"], row["kind"], _trap(row), row["part"], row["by"]]
        cells += [_cell(at.get("default")), _cell(at.get(RAW)), _strengths(row), _waited(row["delay"])]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _sentence(s: Mapping[str, Any]) -> str:
    seen, traps = s["visible"], s["traps"]
    words = [f"{s['pairs']} pairs, mean AUROC {_number(s['mean'])}, least {_named(s['least'])}"]
    words += [f"{len(seen['under'])} of {seen['measured']} visible shifts and changes under {BARS['visible']:.2f}"]
    words += [f"{len(s['below_likelihood']['over'])} pairs more than {BARS['below']} below raw likelihood"]
    words += [f"{len(traps['true'])} traps ({len(traps['foreseen'])} of {traps['listed']} foreseen), where the default"]
    words[-1] += f" has a mean of {_number(traps['default'])}"
    words += [f"{len(s['delay']['over'])} of {s['delay']['pairs']} sure pairs whose median delay is over 2 frames"]
    words += [f"at most {s['parameters']:,} parameters and {s['ms']} ms a frame" if s["ms"] is not None else "no times"]
    return "; ".join(words) + "."


def _trap(row: Row) -> str:
    raw = figure(row, RAW)
    if raw is not None and raw <= BARS["trap"]:
        return "trap"
    return "(trap)" if row["trap"] else ""


def _cell(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    ends = found["ci95"]
    return f"{found['value']:.3f}" + (f" ({ends[0]:.3f} to {ends[1]:.3f})" if ends else "")


def _strengths(row: Row) -> str:
    levels = sorted(row[row["by"]], key=int)
    return ", ".join(_number(figure(row, strength=int(s))) for s in levels) if len(levels) > 1 else ""


def _waited(delay: Mapping[str, Any]) -> str:
    if not delay:
        return ""
    median = "none" if delay["median"] is None else f"{delay['median']:g}"
    return f"{median} ({delay['early']} early, {delay['missed']} of {delay['episodes']} without)"


def _number(value: float | None) -> str:
    return "?" if value is None else f"{value:.3f}"


def _named(found: Mapping[str, Any] | None) -> str:
    return "?" if found is None else f"{found['auroc']:.3f} ({found['pair']})"


# -------------------------------------------------------------------- in pictures


def picture(rows: Sequence[Row]) -> np.ndarray:
    """ROC curves of pairs side by side, default in blue and raw likelihood in red, uint8 (h, w, 3)."""
    columns = min(COLUMNS, max(1, len(rows)))
    lines = -(-len(rows) // columns)
    canvas = np.full((max(1, lines) * ROW, columns * (CELL + EDGE) + EDGE, 3), 255, np.uint8)
    for i, row in enumerate(rows):
        _roc(canvas, row, EDGE + i % columns * (CELL + EDGE), i // columns * ROW + 24)
    return canvas


def _roc(canvas: np.ndarray, row: Row, left: int, top: int) -> None:
    """One pair's curves in a square."""
    import cv2

    def at(point: Sequence[float]) -> tuple[int, int]:
        return round(left + point[0] * CELL), round(top + (1 - point[1]) * CELL)

    cv2.rectangle(canvas, at((0, 0)), at((1, 1)), PALE, 1)
    cv2.line(canvas, at((0, 0)), at((1, 1)), PALE, 1, cv2.LINE_AA)
    for name, colour in ((RAW, LIKELIHOOD), ("default", DEFAULT)):
        points = row["curves"].get(name, [])
        for a, b in zip(points, points[1:]):
            cv2.line(canvas, at(a), at(b), colour, 1, cv2.LINE_AA)
    words = row["name"].split("/")[-1] + (" *" if row["trap"] else "") + f" {_number(figure(row))}"
    cv2.putText(canvas, words, (left, top - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.36, INK, 1, cv2.LINE_AA)
