"""Frames of rare events as data sets that detectors learn from: COCO, KITTI and YOLO."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gensim.core.files import atomic_path, write_json
from gensim.core.frames import write_png

FORMATS = ("coco", "kitti", "yolo")


@dataclass(frozen=True)
class Labelled:
    """Something in a frame.

    Arguments:
        kind: its category.
        box: left, top, right and bottom in pixels; right and bottom lie one beyond.
        distance: metres along the view.
        mask: bool (h, w), its pixels.
    """

    kind: str
    box: tuple[float, float, float, float]
    distance: float
    mask: np.ndarray


@dataclass(frozen=True)
class Picture:
    """A frame uint8 (h, w, 3), what is in it, and how much it counts under the reference law: nats, None if nothing."""

    name: str
    frame: np.ndarray
    things: Sequence[Labelled]
    log_weight: float | None = 0.0
    case: str = ""


def export(pictures: Iterable[Picture], out: Path, format: str, kinds: Sequence[str]) -> int:
    """Writes pictures and their labels, and weights.json beside them; returns how many.

    Raises:
        ValueError: for an unknown format, or a thing of no listed kind.
    """
    if format not in FORMATS:
        raise ValueError(f"format={format!r}: give one of {', '.join(FORMATS)}")
    some = [_checked(one, kinds) for one in pictures]
    WRITERS[format](some, out, list(kinds))
    write_json(out / "weights.json", {one.name: {"log_weight": one.log_weight, "case": one.case} for one in some})
    return len(some)


def _checked(one: Picture, kinds: Sequence[str]) -> Picture:
    for thing in one.things:
        if thing.kind not in kinds:
            raise ValueError(f"{one.name} shows a {thing.kind}: give kinds= with it; they are {', '.join(kinds)}")
    return one


def _coco(pictures: list[Picture], out: Path, kinds: list[str]) -> None:
    """images/ and annotations.json: boxes from the left, top corner, width and height."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, one in enumerate(pictures, 1):
        h, w = one.frame.shape[:2]
        write_png(out / "images" / f"{one.name}.png", one.frame)
        images.append({"id": number, "file_name": f"{one.name}.png", "height": h, "width": w})
        for thing in one.things:
            a, b, c, d = (float(part) for part in thing.box)
            about: dict[str, Any] = {"id": len(annotations) + 1, "image_id": number}
            about |= {"category_id": 1 + kinds.index(thing.kind)}
            about |= {"bbox": [a, b, c - a, d - b], "area": float(thing.mask.sum()), "iscrowd": 0}
            about |= {"segmentation": _runs(thing.mask), "distance": float(thing.distance)}
            annotations.append(about)
    categories = [{"id": i + 1, "name": kind} for i, kind in enumerate(kinds)]
    told: dict[str, Any] = {"info": {"description": "gensim"}, "images": images, "annotations": annotations}
    write_json(out / "annotations.json", told | {"categories": categories})


def _runs(mask: np.ndarray) -> dict[str, Any]:
    from gensim.agents.road_users.coco import counted

    return {"size": list(mask.shape), "counts": counted(mask)}


def _kitti(pictures: list[Picture], out: Path, kinds: list[str]) -> None:
    """training/image_2 and training/label_2, a line a thing; what is not known of it in three dimensions is so marked.

    Reference: Are we ready for Autonomous Driving? The KITTI Vision Benchmark Suite (Geiger et al., 2012),
    doi:10.1109/CVPR.2012.6248074.
    """
    for one in pictures:
        write_png(out / "training" / "image_2" / f"{one.name}.png", one.frame)
        lines = [
            f"{_kitti_name(thing.kind)} -1.00 -1 -10.00 {' '.join(f'{part:.2f}' for part in thing.box)} "
            "-1.00 -1.00 -1.00 -1000.00 -1000.00 -1000.00 -10.00"
            for thing in one.things
        ]
        _write(out / "training" / "label_2" / f"{one.name}.txt", lines)


def _kitti_name(kind: str) -> str:
    return {"person": "Pedestrian", "vehicle": "Car"}.get(kind, "Misc")


def _yolo(pictures: list[Picture], out: Path, kinds: list[str]) -> None:
    """images/, labels/ and data.yaml: middles and sizes of boxes as shares of the frame's."""
    for one in pictures:
        h, w = one.frame.shape[:2]
        write_png(out / "images" / f"{one.name}.png", one.frame)
        lines = []
        for thing in one.things:
            a, b, c, d = thing.box
            numbers = ((a + c) / 2 / w, (b + d) / 2 / h, (c - a) / w, (d - b) / h)
            lines.append(f"{kinds.index(thing.kind)} " + " ".join(f"{part:.6f}" for part in numbers))
        _write(out / "labels" / f"{one.name}.txt", lines)
    names = [f"  {i}: {kind}" for i, kind in enumerate(kinds)]
    _write(out / "data.yaml", ["path: .", "train: images", "val: images", f"nc: {len(kinds)}", "names:", *names])


def _write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as part:
        part.write_text("".join(f"{line}\n" for line in lines))


WRITERS: dict[str, Callable[[list[Picture], Path, list[str]], None]] = {"coco": _coco, "kitti": _kitti, "yolo": _yolo}
