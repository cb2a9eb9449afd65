"""What scripts/augment judges by: boxes, hits, thresholds and averages that obey their laws, and labels that fit."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from augment_detector import ALARMS, Detector, Score, Targets, iou, precision, scored
from augment_frames import COLUMNS, Shots, filtered, joined, pasted, table_of

from gensim.envs.driving.source.labels import PERSON, ROAD, VEHICLE

BOX = st.tuples(*[st.floats(0, 90)] * 2, *[st.floats(1, 40)] * 2).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))


def shots(n: int = 6) -> Shots:
    """Streets with a vehicle and a person each, of colours of their own."""
    rng, some = np.random.default_rng(0), []
    for _ in range(n):
        frame = rng.integers(90, 110, size=(64, 96, 3)).astype(np.uint8)
        classes, instances = np.full((64, 96), ROAD, np.uint8), np.zeros((64, 96), np.uint8)
        for number, (kind, wide, high) in enumerate(((VEHICLE, 20, 12), (PERSON, 6, 16)), 1):
            x, y = int(rng.integers(1 + 45 * (number - 1), 20 + 45 * (number - 1))), int(rng.integers(34, 44))
            frame[y : y + high, x : x + wide] = 40 * number
            classes[y : y + high, x : x + wide], instances[y : y + high, x : x + wide] = kind, number
        depth = np.full((64, 96), 10.0, np.float32)
        some.append((frame, classes, instances, depth, table_of(classes, instances, [1, 2])))
    return joined(some)


@given(BOX, BOX, st.floats(-20, 20))
def test_overlaps_are_symmetric_shares(a: tuple, b: tuple, by: float) -> None:
    one, other = np.array([a]), np.array([b])
    share = iou(one, other)[0, 0]
    assert 0 <= share <= 1 and iou(other, one)[0, 0] == pytest.approx(share)
    assert iou(one, one)[0, 0] == pytest.approx(1.0)
    assert iou(one + by, other + by)[0, 0] == pytest.approx(share, abs=1e-6)


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=60), st.integers(1, 200))
def test_a_threshold_allows_so_many_alarms(alarms: list[float], frames: int) -> None:
    score = Score(np.ones(1), np.array(alarms), np.zeros(len(alarms)), frames)
    assert (score.alarm > score.threshold()).sum() <= ALARMS * frames


def test_average_precision_of_the_best_and_the_worst() -> None:
    person, sure = np.array([0.0, 0.0, 1.0]), np.array([0.9, 0.8, 0.7])
    assert precision(Score(sure, np.array([0.1]), np.array([0.0]), 2), person) == 1.0
    assert precision(Score(sure * 0, np.array([0.1]), np.array([0.0]), 2), person) == 0.0
    assert 0.5 < precision(Score(sure, np.array([0.85]), np.array([0.0]), 2), person) < 1.0


class Told(Detector):
    """Says what is to be learned."""

    def __init__(self, targets: Targets) -> None:
        super().__init__(False)
        self.targets = targets

    def forward(self, x):  # type: ignore[no-untyped-def]
        heat = self.targets.heat
        return (heat * 20 - 10), self.targets.boxes


def test_who_says_what_is_there_finds_all_of_it() -> None:
    some = shots()
    score = scored(Told(Targets.of(some)).eval(), some)
    assert (score.hit > 0.9).all() and (score.alarm < 0.5).all()


@pytest.mark.parametrize("made", [lambda some: pasted(some, 20, 0), lambda some: filtered(some, 20, 0)])
def test_boxes_of_what_is_made_fit_its_labels(made) -> None:  # type: ignore[no-untyped-def]
    found = made(shots())
    assert len(found) == 20 and found.things.shape[1] == len(COLUMNS)
    for (person, left, top, right, bottom, pixels, *_), i in zip(found.things, found.owner):
        inside = found.classes[i, int(top) : int(bottom), int(left) : int(right)] == (PERSON if person else VEHICLE)
        assert inside.sum() >= pixels > 0 and inside.any(1)[[0, -1]].all() and inside.any(0)[[0, -1]].all()
