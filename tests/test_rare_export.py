"""Data sets of rare frames are read back equal by loaders of others."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from elsewhere import printed, python_with
from pycocotools import mask as coding
from pycocotools.coco import COCO

from gensim.rare.export import FORMATS, Labelled, Picture, export

KINDS = ("vehicle", "person", "object")


def drawn(count: int = 3) -> list[Picture]:
    rng, found = np.random.default_rng(0), []
    for number in range(count):
        frame, things = rng.integers(0, 256, (64, 96, 3), dtype=np.uint8), []
        for kind in KINDS[: number + 1]:
            left, top = int(rng.integers(0, 70)), int(rng.integers(0, 40))
            mask = np.zeros((64, 96), bool)
            mask[top : top + 9, left : left + 14] = True
            things.append(Labelled(kind, (left, top, left + 14, top + 9), 12.5, mask))
        found.append(Picture(f"case-{number:04d}", frame, things, -3.0 - number, "case"))
    return found


def test_coco_reads_what_was_written(tmp_path: Path) -> None:
    some = drawn()
    assert export(some, tmp_path, "coco", KINDS) == 3
    coco = COCO(str(tmp_path / "annotations.json"))
    assert [coco.cats[i]["name"] for i in sorted(coco.cats)] == list(KINDS)
    for one, image in zip(some, coco.loadImgs(sorted(coco.getImgIds())), strict=True):
        frame = cv2.imread(str(tmp_path / "images" / image["file_name"]))
        assert np.array_equal(frame[..., ::-1], one.frame)
        told = coco.loadAnns(coco.getAnnIds(image["id"]))
        for thing, about in zip(one.things, told, strict=True):
            a, b, c, d = thing.box
            assert about["bbox"] == [a, b, c - a, d - b] and coco.cats[about["category_id"]]["name"] == thing.kind
            assert np.array_equal(coding.decode(coco.annToRLE(about)).astype(bool), thing.mask)
    assert json.loads((tmp_path / "weights.json").read_text())["case-0001"]["log_weight"] == -4.0


def test_yolo_reads_what_was_written(tmp_path: Path) -> None:
    supervision = pytest.importorskip("supervision")
    some = drawn()
    export(some, tmp_path, "yolo", KINDS)
    told = supervision.DetectionDataset.from_yolo(
        str(tmp_path / "images"), str(tmp_path / "labels"), str(tmp_path / "data.yaml")
    )
    assert told.classes == list(KINDS) and len(told) == 3
    for path, frame, found in told:
        one = next(one for one in some if one.name == Path(path).stem)
        assert np.array_equal(frame[..., ::-1], one.frame)
        assert found.class_id.tolist() == [KINDS.index(thing.kind) for thing in one.things]
        assert found.xyxy == pytest.approx(np.array([thing.box for thing in one.things]), abs=0.01)


def test_kitti_has_its_fifteen_columns(tmp_path: Path) -> None:
    some = drawn()
    export(some, tmp_path, "kitti", KINDS)
    names = dict(zip(KINDS, ("Car", "Pedestrian", "Misc")))
    for one in some:
        frame = cv2.imread(str(tmp_path / "training" / "image_2" / f"{one.name}.png"))
        assert np.array_equal(frame[..., ::-1], one.frame)
        lines = (tmp_path / "training" / "label_2" / f"{one.name}.txt").read_text().splitlines()
        for thing, line in zip(one.things, lines, strict=True):
            columns = line.split()
            assert len(columns) == 15 and columns[0] == names[thing.kind]
            assert tuple(map(float, columns[4:8])) == thing.box


READS = """
import json, sys
import numpy as np
from datumaro import Dataset
data = Dataset.import_from(sys.argv[1], format="kitti")
names = [one.name for one in data.categories()[next(iter(data.categories()))]]
boxes = lambda item: [[names[one.label], *one.points] for one in item.annotations]
print(json.dumps({item.id: [boxes(item), np.asarray(item.media.data).astype(int).tolist()] for item in data}))
"""


@pytest.mark.slow
def test_datumaro_reads_kitti_as_it_was_written(tmp_path: Path) -> None:
    some = drawn()
    export(some, tmp_path / "data", "kitti", KINDS)
    python = python_with(tmp_path / "own", "datumaro>=1.10")
    told = json.loads(printed(python, "-c", READS, tmp_path / "data").splitlines()[-1])
    assert sorted(told) == [one.name for one in some]
    names = dict(zip(KINDS, ("Car", "Pedestrian", "Misc")))
    for one in some:
        boxes, frame = told[one.name]
        assert boxes == [[names[thing.kind], *thing.box] for thing in one.things]
        assert np.array_equal(np.array(frame)[..., ::-1], one.frame)


def test_unknown_formats_and_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give one of coco"):
        export([], tmp_path, "voc", KINDS)
    with pytest.raises(ValueError, match="shows a person"):
        export(drawn(2), tmp_path, FORMATS[0], ("vehicle",))
