"""A report for people: tables in Markdown, and one self-contained page with the worst scenes."""

from __future__ import annotations

import base64
import html
from pathlib import Path

import cv2
import numpy as np

from gensim.core.files import atomic_path, write_json
from gensim.core.frames import encode, mosaic
from gensim.stress.judge import Judged, Rate, Report, told

SCALE = 4  # of the pictures
COLUMNS = 3
MISSED, FOUND, FALSE = (230, 40, 40), (60, 190, 90), (250, 200, 40)  # boxes of things missed and found; of nothing
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222;"
    "background:#fff}table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .8rem;text-align:right;"
    "border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}img{max-width:100%}"
    "@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}td,th{border-color:#444}}"
)
Tables = dict[str, list[tuple[str, str, str]]]  # rows of value, share with interval, and how many, by name


def write(report: Report, out: Path, about: dict[str, object]) -> None:
    """Writes stress.json, stress.md, stress.html and worst.png into a folder."""
    write_json(out / "stress.json", {**about, **told(report)})
    picture, tables = bytes(encode(worst(report), 9)), _tables(report)
    title = f"{about.get('model', 'model')} in corner cases"
    with atomic_path(out / "worst.png") as part:
        part.write_bytes(picture)
    with atomic_path(out / "stress.md") as part:
        part.write_text(_markdown(report, tables, title))
    with atomic_path(out / "stress.html") as part:
        part.write_text(_page(report, tables, title, picture))


def worst(report: Report) -> np.ndarray:
    """The worst scenes, with boxes, uint8 (h, w, 3)."""
    return mosaic(np.stack([boxed(one) for one in report.worst]), min(COLUMNS, len(report.worst)))


def boxed(one: Judged) -> np.ndarray:
    """A scene, larger, with boxes: of what was missed and found, and of what is not there."""
    picture = one.scene.frame.repeat(SCALE, 0).repeat(SCALE, 1)
    boxes = [(np.array(thing.box), MISSED if gone else FOUND) for thing, gone in zip(one.scene.things, one.missed)]
    for box, colour in [*boxes, *((row[:4], FALSE) for row in one.false)]:
        a, b, c, d = (round(SCALE * float(part)) for part in box)
        cv2.rectangle(picture, (a, b), (c - 1, d - 1), colour, 1)
    return picture


def said(report: Report) -> str:
    """The report in two sentences."""
    whole, pop = report.missed, report.population
    text = (
        f"{whole.missed} of {whole.many} missed in {report.scenes} corner cases: {_share(whole)}. In the population: "
    )
    text += f"{100 * pop.value:.1f} % ({100 * pop.low:.1f} to {100 * pop.high:.1f})"
    return text + (f", not to be believed: {'; '.join(pop.doubts)}." if pop.doubts else ".")


def _share(one: Rate) -> str:
    return f"{100 * one.value:.1f} % ({100 * one.low:.1f} to {100 * one.high:.1f})"


def _tables(report: Report) -> Tables:
    found = {
        f"missed, by {name}": [(value, _share(one), f"{one.missed} of {one.many}") for value, one in some.items()]
        for name, some in report.by.items()
    }
    alarms = [(name, _share(one), f"{one.missed} of {one.many}") for name, one in report.alarms.items()]
    return found | {"frames with false alarms, by weather": alarms}


def _markdown(report: Report, tables: Tables, title: str) -> str:
    lines = [f"# {title}", "", said(report), "", "![The worst](worst.png)"]
    for name, rows in tables.items():
        lines += ["", f"| {name} | share (95 % interval) | count |", "|---|---:|---:|"]
        lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def _page(report: Report, tables: Tables, title: str, picture: bytes) -> str:
    parts = [f"<h1>{html.escape(title)}</h1><p>{html.escape(said(report))}</p>"]
    parts.append("<p>The worst scenes. Red: missed. Green: found. Yellow: nothing is there.</p>")
    parts.append(f'<img alt="The worst scenes" src="data:image/png;base64,{base64.b64encode(picture).decode()}">')
    for name, rows in tables.items():
        body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        parts.append(f"<table><tr><th>{html.escape(name)}</th><th>share (95 %)</th><th>count</th></tr>{body}</table>")
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
    head += f"<title>{html.escape(title)}</title>"
    return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(parts)}</body></html>"
