"""Labels against labels: counts that add up, figures that are one for equals, boxes around what is there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gensim.world.labelling import (
    Labels,
    box_iou,
    boxes,
    confusion,
    far_error,
    instance_boxes,
    iou,
    matched,
    mean_iou,
    per_frame,
    valleys,
    voted,
)

CLASSES = arrays.arrays(np.uint8, (3, 6, 7), elements=st.integers(0, 3))


@given(CLASSES, CLASSES)
def test_every_pixel_is_counted_once(real: np.ndarray, said: np.ndarray) -> None:
    counts = confusion(real, said, 4)
    assert counts.shape == (3, 4, 4) and (counts.sum((1, 2)) == 42).all()
    for c in range(4):
        assert (counts[:, c].sum(1) == (real == c).sum((1, 2))).all()
        assert (counts[:, :, c].sum(1) == (said == c).sum((1, 2))).all()
    assert (confusion(said, real, 4) == counts.swapaxes(1, 2)).all()


@given(CLASSES, CLASSES)
def test_intersection_over_union_is_what_its_name_says(real: np.ndarray, said: np.ndarray) -> None:
    shares = iou(confusion(real, said, 4).sum(0))
    for c, share in enumerate(shares):
        either, both = (real == c) | (said == c), (real == c) & (said == c)
        assert np.isnan(share) if not either.any() else share == pytest.approx(both.sum() / either.sum())
    assert mean_iou(confusion(real, real, 4).sum(0)) == 1
    assert mean_iou(confusion(real, said, 4).sum(0)) == pytest.approx(np.nanmean(shares))


def test_labels_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="give as many"):
        confusion(np.zeros((1, 4, 4), np.uint8), np.zeros((1, 4, 5), np.uint8), 2)


def _labels(seed: int, m: int) -> Labels:
    rng = np.random.default_rng(seed)
    return Labels(rng.integers(0, 3, (2, m, 4, 5, 6)).astype(np.uint8), rng.random((2, m, 4, 5, 6), np.float32))


def test_samples_are_counted_each_against_what_was_recorded() -> None:
    real, said = _labels(0, 1), _labels(1, 3)
    counts = per_frame(real, said, 3)
    assert counts.shape == (2, 3, 4, 3, 3)
    one = confusion(real.classes[1, :, 2], said.classes[1, 2:, 2], 3)[0]
    assert (counts[1, 2, 2] == one).all()


def test_several_say_what_most_of_them_say() -> None:
    said = _labels(2, 5)
    told = voted(said, 3)
    assert told.classes.shape == told.far.shape == (2, 1, 4, 5, 6)
    votes = np.stack([(said.classes == c).sum(1) for c in range(3)])
    assert (np.take_along_axis(votes, told.classes[None, :, 0].astype(int), 0)[0] == votes.max(0)).all()
    np.testing.assert_allclose(told.far[:, 0], said.far.mean(1), rtol=1e-6)
    alone = said.some(slice(0, 1))
    assert (voted(alone, 3).classes == alone.classes).all()


def test_distances_count_where_there_is_something() -> None:
    real = np.full((1, 1, 1, 2, 2), 1.0, np.float32)
    real[..., 0, 0], said = 0.5, np.zeros((1, 3, 1, 2, 2), np.float32)
    said[0, :, 0, 0, 0] = (0.5, 0.6, 0.0)
    np.testing.assert_allclose(far_error(real, said)[0, :, 0], [0.0, 0.1, 0.5], atol=1e-6)
    assert np.isnan(far_error(np.ones_like(real), said)).all()


def test_what_hangs_together_is_one_thing_unless_its_distance_jumps() -> None:
    mask, far = np.zeros((20, 30), bool), np.full((20, 30), 0.5, np.float32)
    mask[4:12, 2:8], mask[6:10, 8:14], mask[15:17, 20:25] = True, True, True
    assert sorted(boxes(mask, far)) == [(2, 4, 14, 12), (20, 15, 25, 17)]
    far[6:10, 8:14] = 0.7
    assert sorted(boxes(mask, far)) == [(2, 4, 8, 12), (8, 6, 14, 10), (20, 15, 25, 17)]
    assert boxes(mask, far, high=8) == [(2, 4, 8, 12)]
    numbers = np.zeros(mask.shape, np.uint8)
    numbers[4:12, 2:8], numbers[6:10, 8:14] = 3, 9
    assert instance_boxes(numbers, mask) == [(2, 4, 8, 12), (8, 6, 14, 10)]
    assert boxes(np.zeros_like(mask), far) == instance_boxes(numbers, np.zeros_like(mask)) == []


def test_a_smeared_edge_between_near_and_far_parts_them_and_a_long_thing_stays_whole() -> None:
    mask, far = np.zeros((20, 40), bool), np.ones((20, 40), np.float32)
    mask[4:14, 2:30] = True
    far[4:14, 2:14], far[4:14, 17:30] = 0.40, 0.55
    far[4:14, 14:17] = np.linspace(0.43, 0.52, 3)
    assert len(boxes(mask, far, high=8)) == 2
    far[4:14, 2:30] = np.linspace(0.4, 0.55, 28)  # a wall along the road
    assert boxes(mask, far, high=8) == [(2, 4, 30, 14)]


@settings(deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=80))
def test_valleys_lie_in_order_between_values(values: list[float]) -> None:
    found = valleys(np.array(values, np.float32))
    assert found == sorted(set(found)) and all(min(values) < one < max(values) for one in found)


BOX = st.tuples(*[st.integers(0, 20)] * 2, *[st.integers(1, 9)] * 2).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


@settings(deadline=None)
@given(st.lists(BOX, max_size=5), st.lists(BOX, max_size=5), st.randoms())
def test_no_box_is_found_twice(real: list, said: list, random: object) -> None:
    count = matched(real, said)
    assert 0 <= count <= min(len(real), len(said))
    assert matched(said, real) == count
    assert matched(real, real) == len(real)
    assert all(box_iou(a, b) == pytest.approx(box_iou(b, a)) and 0 <= box_iou(a, b) <= 1 for a in real for b in said)
