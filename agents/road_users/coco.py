"""People in frames as COCO's JSON has them: boxes, masks, keypoints, and what was ordered.

Reference: Microsoft COCO: Common Objects in Context (Lin et al., 2014), arXiv:1405.0312; its format of detections and
keypoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gensim.core.files import write_json

SIDED = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
KEYPOINTS = ("nose", *(f"{side}_{part}" for part in SIDED for side in ("left", "right")))
SKELETON = [[16, 14], [14, 12], [17, 15], [15, 13], [12, 13], [6, 12], [7, 13], [6, 7], [6, 8], [7, 9], [8, 10]]
SKELETON += [[9, 11], [2, 3], [1, 2], [1, 3], [2, 4], [3, 5], [4, 6], [5, 7]]
PERSON = {"id": 1, "name": "person", "supercategory": "person", "keypoints": list(KEYPOINTS), "skeleton": SKELETON}


def to_coco(
    people: Sequence[Sequence[Mapping[str, Any]]], names: Sequence[str], shape: tuple[int, int]
) -> dict[str, Any]:
    """The people of frames as COCO's JSON; who cannot be seen at all is left out.

    `bbox` is around what can be seen, left, top, width and height; `amodal_bbox` around all of them. Beside COCO's own
    keys each has `visible` 0..1, `distance` in metres, `identity`, as text, for numbers beyond 2^53 are not safe in
    JSON, `who` and `attributes`.

    Arguments:
        people: of each frame, `info["people"]` of `RoadUsers`.
        names: of the frames' files.
        shape: rows and columns of a frame.

    Raises:
        ValueError: if there are not as many names as frames.
    """
    if len(people) != len(names):
        raise ValueError(f"{len(people)} frames and {len(names)} names: give one name a frame")
    images = [{"id": i + 1, "file_name": name, "height": shape[0], "width": shape[1]} for i, name in enumerate(names)]
    found = [_annotated(one, i + 1) for i, some in enumerate(people) for one in some if one["mask"].any()]
    annotations = [{"id": i + 1} | one for i, one in enumerate(found)]
    return {"info": {"description": "gensim"}, "images": images, "annotations": annotations, "categories": [PERSON]}


def write_coco(
    path: Path, people: Sequence[Sequence[Mapping[str, Any]]], names: Sequence[str], shape: tuple[int, int]
) -> None:
    """Writes `to_coco`'s JSON, all or nothing."""
    write_json(path, to_coco(people, names, shape))


def counted(mask: np.ndarray) -> list[int]:
    """Lengths of a mask's runs (h, w), down its columns, those outside first: COCO's uncompressed run-length code."""
    flat = np.concatenate([[False], mask.T.ravel(), [False]])  # begins outside
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    ends = np.concatenate([[0], edges, [mask.size]])
    runs = np.diff(ends)
    return [int(run) for run in (runs if runs[-1] else runs[:-1])]


def _annotated(one: Mapping[str, Any], image: int) -> dict[str, Any]:
    mask = np.asarray(one["mask"], bool)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    seen = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    points = _keypoints(np.asarray(one["joints"]), mask.shape)
    return {
        "image_id": image,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": _wide(seen),
        "amodal_bbox": _wide(one["box"]),
        "area": float(mask.sum()),
        "segmentation": {"size": list(mask.shape), "counts": counted(mask)},
        "keypoints": [value for point in points for value in point],
        "num_keypoints": sum(point[2] > 0 for point in points),
        "visible": float(one["visible"]),
        "distance": float(one["distance"]),
        "identity": str(one["identity"]),
        "who": int(one["who"]),
        "attributes": dict(one["attributes"]),
    }


def _keypoints(joints: np.ndarray, shape: tuple[int, ...]) -> list[list[float]]:
    """Column, row and COCO's 2 for seen, 1 for hidden, of each joint; zeros for who lies beyond the frame."""
    inside = np.all((joints[:, :2] >= 0) & (joints[:, :2] < (shape[1], shape[0])), axis=1)
    return [
        [round(float(x), 2), round(float(y), 2), 2 if seen >= 0.5 else 1] if within else [0, 0, 0]
        for (x, y, seen), within in zip(joints, inside)
    ]


def _wide(box: Sequence[float]) -> list[float]:
    return [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]
