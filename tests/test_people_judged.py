"""Judges of drawn people, and their labels as COCO has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools.coco import COCO

from gensim.agents.road_users.camera import DRIVING
from gensim.agents.road_users.coco import counted, write_coco
from gensim.agents.road_users.compositor import Cast, compose
from gensim.agents.road_users.judge import autoencoder, reader
from gensim.agents.road_users.judge.autoencoder import Autoencoder
from gensim.agents.road_users.judge.realism import Whitened, frechet, precision_recall
from gensim.agents.road_users.learner import learn
from gensim.agents.road_users.person import CHOICES, WIDTH, Person, View, condition, slices, to_dict
from gensim.agents.road_users.pictures import Pictures
from tests.test_people import small, some_pictures

# -------------------------------------------------------------------- how like two sets are


@given(st.integers(0, 2**32), st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_the_distance_between_normal_laws_is_what_theory_says(seed: int, d: int) -> None:
    """Of commuting covariances: squared distances of means and of standard deviations."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(400, d))
    x = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T).reshape(d, d))).T  # spread exactly one
    scale, shift = rng.uniform(0.3, 3, d), rng.normal(size=d)
    a, b = torch.from_numpy(x), torch.from_numpy(x * scale + shift)
    assert frechet(a, b) == pytest.approx(((scale - 1) ** 2).sum() + (shift**2).sum(), rel=1e-6, abs=1e-8)
    assert frechet(a, b) == pytest.approx(frechet(b, a), rel=1e-6, abs=1e-8)
    assert frechet(a, a) == pytest.approx(0, abs=1e-8)


def test_precision_falls_with_what_is_not_there_and_recall_with_what_is_missing() -> None:
    torch.manual_seed(0)
    left, right = torch.randn(600, 4) - 6, torch.randn(600, 4) + 6
    both, more = torch.cat([left, right]), torch.cat([torch.randn(300, 4) - 6, torch.randn(300, 4) + 6])
    precision, recall = precision_recall(both, more)
    assert precision > 0.8 and recall > 0.8
    precision, recall = precision_recall(both, torch.randn(600, 4) - 6)
    assert precision > 0.8 and 0.35 < recall < 0.55
    precision, recall = precision_recall(torch.randn(600, 4) - 6, both)
    assert 0.35 < precision < 0.55 and recall > 0.8
    assert precision_recall(left, right) == (0.0, 0.0)
    with pytest.raises(ValueError, match="more than nearest=3"):
        precision_recall(left[:3], right)


def test_precision_is_the_share_within_anybodys_ball() -> None:
    rng = np.random.default_rng(1)
    real, drawn = (torch.from_numpy(rng.normal(size=(n, 2)).astype(np.float32)) for n in (30, 40))
    gaps = np.linalg.norm(real[:, None] - real[None], axis=-1)
    radius = np.sort(gaps, 1)[:, 3]  # themself is the nearest
    inside = (np.linalg.norm(drawn[:, None] - real[None], axis=-1) <= radius).any(1)
    assert precision_recall(real, drawn)[0] == pytest.approx(inside.mean())


def test_features_are_seen_along_their_main_directions() -> None:
    torch.manual_seed(0)
    real = torch.randn(500, 3) @ torch.randn(3, 20) + 7
    seen = Whitened(real, 3)
    x = seen(real)
    assert x.shape == (500, 3) and float(x.mean(0).abs().max()) < 1e-3
    assert float(x.T.corrcoef().fill_diagonal_(0).abs().max()) < 1e-3
    whole = ((real - real.mean(0)) / real.std(0)).square().sum(1)
    torch.testing.assert_close(x.square().sum(1), whole, rtol=1e-3, atol=1e-3)  # three directions are all there is


# -------------------------------------------------------------------- what is read


def truly(told: torch.Tensor) -> dict[str, torch.Tensor]:
    """What a reader without fault would say."""
    at = slices()
    return {name: told[:, at[name]] for name in reader.ATTRIBUTES}


def test_what_is_read_without_fault_is_recognised_and_does_not_move() -> None:
    told = torch.from_numpy(np.stack([condition(Person(age=a, skin=s), View(azimuth=a)) for a, s in ((9, 2), (70, 9))]))
    found = truly(told)
    assert all(hit.all() for hit in reader.recognised(found, told).values())
    assert all((part == 0).all() for part in reader.moved(found, found).values())
    swapped = {name: value.flip(0) for name, value in found.items()}
    hits = {name for name, hit in reader.recognised(swapped, told).items() if not hit.any()}
    assert hits == {"age", "height", "skin", "azimuth"}
    moved = reader.moved(found, swapped)
    assert {name for name, part in moved.items() if (part > 0).all()} == hits
    assert float(moved["age"][0]) == pytest.approx(61 / 86, abs=1e-5)
    assert float(moved["skin"][0]) == pytest.approx(7 / 9, abs=1e-5)


def test_a_reader_learns_what_pictures_say_and_who_it_is(tmp_path: Path) -> None:
    """Pictures whose colours say gender and who it is: both are read; what they do not say is not."""
    rng = np.random.default_rng(0)
    at, persons = slices(), 40
    told = np.stack([[condition(Person(gender=str(g)), View())] * 4 for g in rng.choice(CHOICES["gender"], persons)])
    shade = rng.integers(0, 255, (persons, 1, 1, 1, 1))
    drawn = np.broadcast_to(shade, (persons, 4, 4, 64, 32)).copy()
    drawn[:, :, 0] = 200 * told[:, :, at["gender"].start, None, None]
    pictures = Pictures(
        torch.from_numpy(drawn.astype(np.uint8)), torch.from_numpy(told), torch.zeros(persons, 4, 17, 3)
    )
    torch.manual_seed(0)
    net = reader.Reader((8, 8, 8, 8), 8)
    path = tmp_path / "reader.safetensors"
    learn(net, lambda _, chance: reader.loss(net, pictures, 16, chance), path, 150, 4e-3, "reader")
    found, own, features = reader.said(net, pictures.drawn.flatten(0, 1))
    assert reader.recognised(found, pictures.conditions.flatten(0, 1))["gender"].float().mean() > 0.95
    alike = own.unflatten(0, (persons, 4))
    same = (alike[:, 0] * alike[:, 1]).sum(-1).mean()
    assert same > 0.9 > 0.5 > (alike[:-1, 0] * alike[1:, 0]).sum(-1).mean()
    assert features.shape == (160, 48)


def test_a_stopped_fit_of_a_judge_goes_on_as_if_it_had_not(tmp_path: Path) -> None:
    def fitted(path: Path, stop: int | None) -> Autoencoder:
        torch.manual_seed(0)
        net = Autoencoder(WIDTH, 3, (4, 4, 4, 4))

        def costs(step: int, chance: torch.Generator) -> torch.Tensor:
            if step == stop:
                raise KeyboardInterrupt
            return autoencoder.loss(net, some_pictures(), 4, chance)

        learn(net, costs, path, 6, 1e-3, "vae")
        return net

    whole = fitted(tmp_path / "a", None)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("gensim.agents.road_users.learner.SAVE", 0.0)
        fitted(tmp_path / "b", 3)
    again = fitted(tmp_path / "b", None)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in whole.state_dict().items())
    with pytest.raises(ValueError, match="is of 'vae, 6 steps"):
        learn(whole, lambda *_: torch.zeros(()), tmp_path / "a", 7, 1e-3, "vae")


@pytest.mark.slow
def test_a_changed_person_is_asked_for_otherwise_in_one_thing_and_what_it_takes_along() -> None:
    pytest.importorskip("anny")
    from gensim.agents.road_users.source.crowd import CHANGES, Crowd

    crowd, at = Crowd(), slices()
    for seed in range(3):
        shots = crowd.changed(seed)
        assert len(shots.rgba) == 1 + len(CHANGES)
        for name, told, picture in zip(CHANGES, shots.conditions[1:], shots.rgba[1:]):
            differ = {part for part, where in at.items() if not np.array_equal(told[where], shots.conditions[0, where])}
            along = {"age", "gender", "build", "height", "identity"}  # a body of other numbers is of another height
            allowed = {name, "height"} if name in along else {name}
            allowed |= {"phase"} if name == "gait" else set()  # who stands has none
            assert differ <= allowed, (name, differ)
            assert differ >= {name} - {"identity"}
            assert not np.array_equal(picture, shots.rgba[0]) or name in ("bottom", "bottom_colour", "hair")
        again = crowd.changed(seed)
        assert all(np.array_equal(a, b) for a, b in zip(shots, again))


# -------------------------------------------------------------------- labels


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
@settings(max_examples=100, deadline=None)
def test_runs_are_counted_as_pycocotools_reads_them(mask: np.ndarray) -> None:
    from pycocotools import mask as codes

    runs = counted(mask)
    assert sum(runs) == mask.size
    code = codes.frPyObjects({"size": list(mask.shape), "counts": runs}, *mask.shape)
    assert np.array_equal(codes.decode(code).astype(bool), mask)


def test_cocos_own_reader_reads_back_what_was_drawn(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    n, frames = 12, np.full((4, *DRIVING.shape, 3), 90, np.uint8)
    persons = [Person(gait="stand", identity=int(i)) for i in rng.integers(0, 2**62, n)]
    told = np.stack([condition(person, View()) for person in persons])
    place = np.stack([rng.uniform(3, 25, n), rng.uniform(-6, 6, n)], -1)
    cast = Cast(np.arange(n) % 4, np.arange(n), place, told, np.array([one.identity for one in persons], np.uint64))
    _, shown = compose(frames, None, cast, DRIVING, small())
    people = [[vars(one) | {"attributes": to_dict(persons[one.who])} for one in some] for some in shown]
    path = tmp_path / "people.json"
    write_coco(path, people, [f"{i}.png" for i in range(4)], DRIVING.shape)
    coco, count = COCO(str(path)), 0
    for image, some in enumerate(people):
        assert coco.loadImgs([image + 1])[0]["file_name"] == f"{image}.png"
        own = coco.loadAnns(coco.getAnnIds(imgIds=[image + 1], catIds=coco.getCatIds(["person"])))
        for told_one, one in zip(own, [one for one in some if one["mask"].any()], strict=True):
            count += 1
            assert np.array_equal(coco.annToMask(told_one).astype(bool), one["mask"])
            assert told_one["area"] == one["mask"].sum()
            x, y, w, h = told_one["bbox"]
            rows, columns = np.nonzero(one["mask"])
            assert (x, y, x + w, y + h) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            x, y, w, h = told_one["amodal_bbox"]
            assert (x, y, x + w, y + h) == pytest.approx(one["box"])
            assert int(told_one["identity"]) == one["identity"] and told_one["attributes"]["gait"] == "stand"
            points = np.array(told_one["keypoints"]).reshape(17, 3)
            assert told_one["num_keypoints"] == (points[:, 2] > 0).sum()
            inside = points[:, 2] > 0
            np.testing.assert_allclose(points[inside, :2], one["joints"][inside, :2], atol=0.01)
    assert count >= 6
    with pytest.raises(ValueError, match="one name a frame"):
        write_coco(path, people, ["a.png"], DRIVING.shape)
