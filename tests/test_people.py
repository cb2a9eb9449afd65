"""Road users: persons and conditions, the GAN and its painter, the camera, and people in frames."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from gensim.agents.road_users.camera import DRIVING, MIDDLE, TALL, Camera
from gensim.agents.road_users.compositor import Cast, compose, resampled
from gensim.agents.road_users.fit import Fit, FitPeople
from gensim.agents.road_users.painter import Joints, Painter, latents
from gensim.agents.road_users.person import (
    BOTTOMS,
    CHOICES,
    GAITS,
    GENDERS,
    HAIRS,
    TOPS,
    WIDTH,
    Person,
    View,
    condition,
    slices,
)
from gensim.agents.road_users.pictures import Pictures, mirror
from gensim.models.gan import Critic, Generator, altered, doubled, penalised, relativistic, sizes_of

PERSONS = st.builds(
    Person,
    age=st.floats(4, 90),
    gender=st.sampled_from(GENDERS),
    build=st.floats(0, 1),
    height=st.none() | st.floats(0.9, 2.05),
    skin=st.floats(1, 10),
    top=st.sampled_from(TOPS),
    bottom=st.sampled_from(BOTTOMS[:2]),
    top_colour=st.tuples(*[st.integers(0, 255)] * 3),
    hair=st.sampled_from(HAIRS),
    gait=st.sampled_from(GAITS),
    identity=st.integers(0, 2**63),
)
VIEWS = st.builds(
    View,
    phase=st.floats(0, 1),
    azimuth=st.floats(-4, 4),
    elevation=st.floats(-0.05, 0.6),
    sun=st.floats(0, 1),
    sun_azimuth=st.floats(-4, 4),
)


def small(seed: int = 0) -> Painter:
    """People as no fit has made them: blobs."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = Generator(WIDTH, 8, (8, 8, 8, 8, 4), hidden=16)
        for out in net.outs:
            torch.nn.init.normal_(out.weight, std=0.3)  # type: ignore[arg-type]
            torch.nn.init.constant_(out.bias, 1.2)  # type: ignore[arg-type]
        return Painter(net, Joints(WIDTH, 16))


# -------------------------------------------------------------------- persons and conditions


@given(PERSONS, VIEWS)
@settings(max_examples=50, deadline=None)
def test_a_condition_tells_every_attribute_once(person: Person, view: View) -> None:
    told, at = condition(person, view), slices()
    assert told.shape == (WIDTH,) and told.dtype == np.float32 and np.abs(told).max() <= 1.001
    assert sorted(i for part in at.values() for i in range(part.start, part.stop)) == list(range(WIDTH))
    for name, accepted in CHOICES.items():
        assert told[at[name]].tolist() == [float(one == getattr(person, name)) for one in accepted]
    moves = person.gait != "stand"
    assert np.hypot(*told[at["phase"]]) == pytest.approx(float(moves), abs=1e-5)
    assert np.hypot(*told[at["azimuth"]]) == pytest.approx(1, abs=1e-5)


@given(PERSONS, VIEWS)
@settings(max_examples=50, deadline=None)
def test_a_mirrors_mirror_is_what_was_there(person: Person, view: View) -> None:
    told = torch.from_numpy(condition(person, view))
    assert torch.equal(mirror(mirror(told)), told)
    other = View(view.phase + 0.5, -view.azimuth, view.elevation, view.sun, -view.sun_azimuth)
    torch.testing.assert_close(mirror(told), torch.from_numpy(condition(person, other)), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"age": 2}, "age=2: give 4 to 90"),
        ({"gender": "man"}, "one of male, female"),
        ({"top": "hat"}, "t-shirt, shirt, coat, dress"),
        ({"temperament": 1.5}, "temperament=1.5"),
        ({"top_colour": (1, 2, 300)}, "top_colour"),
        ({"top": "dress", "bottom": "skirt"}, "trousers or shorts"),
    ],
)
def test_people_that_cannot_be_are_refused(wrong: dict, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Person(**wrong)


def test_height_goes_with_age() -> None:
    heights = [Person(age=age, gender="male").tall for age in (4, 10, 16, 30)]
    assert heights == sorted(heights) and Person(age=30, gender="female").tall < heights[-1]
    assert Person(age=30, height=1.5).tall == 1.5


# -------------------------------------------------------------------- the GAN


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 5), st.integers(1, 4), st.integers(0, 99))
def test_a_transposed_convolution_does_what_one_of_doubled_maps_does(ins: int, outs: int, h: int, w: int, seed: int):
    torch.manual_seed(seed)
    kernel, maps = torch.randn(outs, ins, 3, 3, dtype=torch.double), torch.randn(2, ins, h, w, dtype=torch.double)
    wanted = F.conv2d(F.interpolate(maps, scale_factor=2.0), kernel, padding=1)
    torch.testing.assert_close(F.conv_transpose2d(maps, doubled(kernel), stride=2, padding=1), wanted)


def test_a_frozen_generator_draws_the_same():
    net, _ = nets()
    told, who = torch.randn(3, 5), torch.randn(3, 3)
    with torch.no_grad():
        before = net(told, who, 128)
    for frozen, thawed in zip(net.freeze()(told, who, 128), before):
        torch.testing.assert_close(frozen, thawed, atol=1e-5, rtol=1e-4)
    assert not any(own.requires_grad for own in net.parameters())


def nets() -> tuple[Generator, Critic]:
    torch.manual_seed(0)
    return Generator(5, 3, (6, 6, 6, 6, 6), hidden=8), Critic(5, (4, 6, 6, 6, 6), hidden=8)


def test_all_sizes_come_from_one_pass_and_the_small_ones_do_not_depend_on_the_large() -> None:
    net, _ = nets()
    told, own = torch.randn(3, 5), torch.randn(3, 3)
    all_sizes = net(told, own, 128)
    assert [tuple(one.shape) for one in all_sizes] == [(3, 4, 128, 64), (3, 4, 64, 32), (3, 4, 32, 16)]
    for height, one in zip((64, 32), all_sizes[1:]):
        torch.testing.assert_close(net(told, own, height)[0], one)
    assert net.sizes == (32, 64, 128)


def test_the_game_reaches_every_weight() -> None:
    net, critic = nets()
    told, own = torch.randn(4, 10), torch.randn(4, 3)
    drawn = [torch.cat(one.chunk(2), 1) for one in net(torch.cat(told.chunk(2, 1)), own.repeat(2, 1), 128)]
    relativistic(critic(drawn, told), torch.zeros(4)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())
    real = sizes_of(torch.rand(4, 8, 128, 64), 3)
    critic.zero_grad()
    logits, slope = penalised(critic, real, told)
    (relativistic(logits, torch.zeros(4)) + slope).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in critic.parameters())


def test_the_penalty_is_the_squared_slope() -> None:
    _, critic = nets()
    critic = critic.double()
    told, real = torch.randn(1, 10).double(), [one.double() for one in sizes_of(torch.rand(1, 8, 128, 64), 3)]
    _, slope = penalised(critic, real, told)
    aim = [torch.randn_like(one) for one in real]
    step = 1e-6
    up, down = (critic([one + sign * step * way for one, way in zip(real, aim)], told) for sign in (1, -1))
    own = [one.clone().requires_grad_() for one in real]
    grads = torch.autograd.grad(critic(own, told).sum(), own)
    along = sum((g * way).sum() for g, way in zip(grads, aim))
    torch.testing.assert_close(((up - down) / (2 * step)).sum(), along, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(slope, sum(g.square().sum() for g in grads))


def test_real_and_drawn_pictures_are_altered_alike_at_all_sizes() -> None:
    pictures = sizes_of(torch.rand(6, 8, 64, 32), 2)
    state = torch.Generator().manual_seed(5)
    once = altered(pictures, state)
    again = altered([one.clone() for one in pictures], torch.Generator().manual_seed(5))
    assert all(torch.equal(a, b) for a, b in zip(once, again))
    held = torch.Generator().manual_seed(5)
    ones = altered(sizes_of(torch.ones(6, 8, 64, 32), 2), held)
    assert 0.7 < float(ones[0].mean()) <= 1
    torch.testing.assert_close(ones[1].mean((1, 2, 3)), ones[0].mean((1, 2, 3)), atol=0.05, rtol=0)


@given(st.integers(1, 70), st.integers(0, 2**32))
@settings(max_examples=8, deadline=None)
def test_nobodys_picture_depends_on_who_is_drawn_beside_them(count: int, seed: int) -> None:
    painter, rng = small(), np.random.default_rng(seed)
    told = rng.uniform(-1, 1, (count, WIDTH)).astype(np.float32)
    own = rng.integers(0, 2**63, count).astype(np.uint64)
    for height in painter.heights:
        all_drawn = painter.paint(told, own, height)
        assert all_drawn.shape == (count, height, height // 2, 4)
        one = rng.integers(count)
        assert np.array_equal(painter.paint(told[one : one + 1], own[one : one + 1], height)[0], all_drawn[one])
        assert (all_drawn[..., :3] <= all_drawn[..., 3:]).all() and all_drawn.min() >= 0 and all_drawn.max() <= 1


def test_identities_are_standard_normal_and_told_apart() -> None:
    z = latents(np.arange(4000, dtype=np.uint64), 8)
    assert float(z.mean().abs()) < 0.02 and float((z.std() - 1).abs()) < 0.02
    assert float(z.T.corrcoef().fill_diagonal_(0).abs().max()) < 0.06
    assert len(z.unique(dim=0)) == 4000


def test_a_painter_is_saved_and_read_and_refuses_other_files(tmp_path: Path) -> None:
    painter, path = small(), tmp_path / "people.safetensors"
    painter.save(path)
    again = Painter.load(path)
    pair = ([Person()], [View()])
    np.testing.assert_allclose(again.people(*pair), painter.people(*pair), atol=0.02)
    again.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    with pytest.raises(ValueError, match="give one of 32, 64, 128"):
        painter.people(*pair, height=50)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match="no whole safetensors"):
        Painter.load(path)


def some_pictures() -> Pictures:
    rng = np.random.default_rng(0)
    drawn = torch.from_numpy(rng.integers(0, 255, (6, 3, 4, 64, 32), np.uint8))
    told = torch.from_numpy(rng.uniform(-1, 1, (6, 3, WIDTH)).astype(np.float32))
    return Pictures(drawn, told, torch.zeros(6, 3, 17, 3))


def test_a_stopped_fit_goes_on_as_if_it_had_not(tmp_path: Path) -> None:
    config = FitPeople(tmp_path, tmp_path / "a", 3, steps=5, batch=2, identity=3, widths=(4,) * 4, judge=(4,) * 4)
    whole = Fit(config, some_pictures())
    for _ in range(8):
        whole.advance()
    for stop in (2, 3, 5):
        out = tmp_path / str(stop)
        begun = Fit(replace(config, out=out), some_pictures())
        for _ in range(stop):
            begun.advance()
        begun.save()
        on = Fit(replace(config, out=out), some_pictures())
        assert on.load() and on.step == stop
        while on.step < 8:
            on.advance()
        assert all(torch.equal(whole.average[name], value) for name, value in on.average.items())
    other = Fit(replace(config, out=tmp_path / "5", lr=1e-5), some_pictures())
    with pytest.raises(ValueError, match="other settings"):
        other.load()


def test_the_generator_is_drawn_to_what_is_asked_and_to_who_is_known(tmp_path: Path) -> None:
    config = FitPeople(tmp_path, tmp_path / "a", 0, steps=9, batch=4, identity=3, widths=(4,) * 4, judge=(4,) * 4)
    for part in ({"true": 0.0}, {"asked": 0.0}):
        run = Fit(replace(config, **part), some_pictures())
        untrue = lambda: run._both(torch.Generator().manual_seed(0))[3]()  # noqa: B023, E731
        before = untrue()
        slopes = torch.autograd.grad(before, list(run.net.parameters()))
        with torch.no_grad():
            for value, slope in zip(run.net.parameters(), slopes):
                value -= 0.01 * slope / (slope.norm() + 1e-9)
        assert float(before) > 0 and float(untrue()) < float(before)
    neither = Fit(replace(config, true=0.0, asked=0.0), some_pictures())
    assert float(neither._both(torch.Generator().manual_seed(0))[3]()) == 0


def test_what_identities_came_to_say_is_what_normal_latents_say(tmp_path: Path) -> None:
    config = FitPeople(tmp_path, tmp_path / "a", 1, steps=1, batch=2, identity=3, widths=(4,) * 4, judge=(4,) * 4)
    run = Fit(config, some_pictures())
    own = run.who.weight.detach().double()
    mean, spread = own.mean(0), torch.linalg.cholesky(own.T.cov() + 1e-4 * torch.eye(3))
    told, z = torch.randn(5, WIDTH), torch.randn(5, 3)
    before = run.net(told, (mean + z.double() @ spread.T).float())
    run._settle()
    for a, b in zip(before, run.net(told, z)):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)


def test_a_level_more_is_learned_without_touching_the_others(tmp_path: Path) -> None:
    config = FitPeople(tmp_path, tmp_path / "a", 1, steps=2, batch=2, identity=3, widths=(4,) * 4, judge=(4,) * 4)
    small_fit, large = Fit(config, some_pictures()), some_pictures()
    for _ in range(3):
        small_fit.advance()
    small_fit.save()
    drawn = torch.nn.functional.interpolate(large.drawn.float().flatten(0, 1), scale_factor=2.0)
    large = replace(large, drawn=drawn.unflatten(0, (6, 3)).to(torch.uint8))
    more = replace(config, out=tmp_path / "b", grown=tmp_path / "a", guess=0, widths=(4,) * 5, judge=(3, 4, 4, 4, 4))
    run = Fit(more, large)
    assert more.height == 128
    told, z = torch.randn(5, WIDTH), torch.randn(5, 3)
    known = Generator(WIDTH, 3, (4,) * 4)
    known.load_state_dict(small_fit.average)
    before = known(told, z, 64)
    real, pair = sizes_of(torch.rand(4, 8, 128, 64), 3), torch.randn(4, 2 * WIDTH)
    torch.testing.assert_close(run.critic(real, pair), small_fit.critic(real[1:], pair))
    for _ in range(2):
        run.advance()
    for net in (run.net, Generator(WIDTH, 3, (4,) * 5)):
        if net is not run.net:
            net.load_state_dict(run.average)
        now = net(told, z, 128)
        assert all(torch.equal(a, b) for a, b in zip(before, now[1:]))
    run.save()
    again = Fit(more, large)
    assert again.load() and again.step == 2
    assert all(torch.equal(value, again.net.state_dict()[name]) for name, value in run.net.state_dict().items())


# -------------------------------------------------------------------- camera and frames


@given(st.floats(2, 60), st.floats(-0.4, 0.4), st.floats(0, 2))
@settings(max_examples=60, deadline=None)
def test_a_camera_is_a_pinhole(far: float, side: float, up: float) -> None:
    camera = Camera((64, 96), 60.0, 1.5, 0.8, 0.1)
    a, b = (camera.project(np.array([0.8 + far * k, far * k * side, 1.5 + (up - 1.5) * k])) for k in (1, 2))
    np.testing.assert_allclose(a[:2], b[:2], atol=1e-9)  # what lies on one ray is one pixel
    assert b[2] == pytest.approx(2 * a[2])
    column, row, depth = camera.project(np.array([0.8 + np.cos(0.1) * far, 0.0, 1.5 - np.sin(0.1) * far]))
    assert (column, row, depth) == pytest.approx((48, 32, far))


def one_person(ahead: float, left: float = 0.0, frame: int = 0, identity: int = 1) -> Cast:
    told = condition(Person(gait="stand"), View())[None]
    return Cast(np.array([frame]), np.array([0]), np.array([[ahead, left]]), told, np.array([identity], np.uint64))


@given(st.floats(0, 50), st.floats(-30, 30), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_boxes_are_around_a_persons_own_pixels(ahead: float, left: float, seed: int) -> None:
    frames = np.full((1, 64, 96, 3), 90, np.uint8)
    out, shown = compose(frames, None, one_person(ahead, left), DRIVING, small(seed))
    assert out.shape == frames.shape and out.dtype == np.uint8
    for one in shown[0]:
        rows, columns = np.flatnonzero(one.mask.any(1)), np.flatnonzero(one.mask.any(0))
        assert 0 <= one.visible <= 1
        if one.visible == 1:
            assert one.box == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        elif len(rows):
            assert one.box[0] <= columns[0] and columns[-1] + 1 <= one.box[2] and one.box[1] <= rows[0]


def test_nobody_changes_nothing_and_who_is_behind_is_hidden() -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (2, 64, 96, 3), np.uint8)
    nobody = Cast(
        np.zeros(0, int), np.zeros(0, int), np.zeros((0, 2)), np.zeros((0, WIDTH), np.float32), np.zeros(0, np.uint64)
    )
    out, shown = compose(frames, None, nobody, DRIVING, small())
    assert np.array_equal(out, frames) and shown == [[], []]
    behind = compose(frames, None, one_person(-5.0), DRIVING, small())
    assert np.array_equal(behind[0], frames)
    wall = np.full((2, 64, 96), 3.0, np.float32)
    out, shown = compose(frames, wall, one_person(10.0), DRIVING, small())
    assert np.array_equal(out, frames) and shown[0][0].visible == 0
    out, shown = compose(frames, wall + 30, one_person(10.0, frame=1), DRIVING, small())
    assert np.array_equal(out[0], frames[0]) and not np.array_equal(out[1], frames[1]) and shown[1][0].visible == 1


def test_who_is_nearer_hides_who_is_farther_in_any_order() -> None:
    frames, painter = np.full((1, 64, 96, 3), 90, np.uint8), small()
    near, far = one_person(6.0, identity=1), one_person(12.0, identity=2)
    both = [
        Cast(*(np.concatenate(parts) for parts in zip(*(vars(a).values(), vars(b).values()))))
        for a, b in ((near, far), (far, near))
    ]
    (one, first), (other, second) = (compose(frames, None, cast, DRIVING, painter) for cast in both)
    assert np.array_equal(one, other)
    assert [s.identity for s in first[0]] == [s.identity for s in second[0]] == [2, 1]
    assert not (first[0][0].mask & first[0][1].mask).any() and first[0][0].visible < 1 == first[0][1].visible


@given(st.floats(3, 40), st.floats(-3, 3), st.floats(-3, 3))
@settings(max_examples=40, deadline=None)
def test_a_picture_keeps_its_mass_and_its_place_when_it_is_drawn_smaller(scale: float, left: float, top: float) -> None:
    y, x = np.mgrid[0:64, 0:32]
    blob = np.exp(-(((y - 40) / 8) ** 2) - ((x - 12) / 4) ** 2)[..., None].repeat(4, 2).astype(np.float32)
    patch, column, row = resampled(blob, left, top, scale)
    assert patch.sum() / scale**2 == pytest.approx(blob.sum() / (64 / TALL) ** 2, rel=0.05 + 0.5 / scale)
    weights = patch[..., 3] / patch[..., 3].sum()
    rows, columns = np.arange(patch.shape[0]) + row + 0.5, np.arange(patch.shape[1]) + column + 0.5
    assert (weights.sum(1) * rows).sum() == pytest.approx(top + 40.5 / 64 * TALL * scale, abs=0.03 * scale + 0.1)
    assert (weights.sum(0) * columns).sum() == pytest.approx(left + 12.5 / 64 * TALL * scale, abs=0.03 * scale + 0.1)


def test_feet_are_on_the_ground() -> None:
    """A picture's point 0.1 m over its lower edge lies where the camera sees the ground that somebody stands on."""
    for far in (4.0, 9.0, 25.0):
        middle = DRIVING.project(np.array([far, 0.0, MIDDLE]))
        foot = DRIVING.project(np.array([far, 0.0, 0.0]))
        assert middle[1] + MIDDLE * DRIVING.focal / middle[2] == pytest.approx(foot[1], abs=0.12 * DRIVING.focal / far)


def test_the_command_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from gensim.commands import people

    monkeypatch.setattr("gensim.agents.road_users.painter.shipped", small)
    out = tmp_path / "people.png"
    assert people.run(people.People(out=out, age=70.0, gender="female", count=6)) == 0 and out.stat().st_size > 500
    capsys.readouterr()
    assert people.run(people.People(out=out, age=70.0, count=2, json=True)) == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["age"] for one in told["people"]] == [70, 70] and "azimuth" in told["people"][0]
    for sweep in ("age", "top", "azimuth", "top_colour"):
        assert people.run(people.People(out=out, sweep=sweep, count=2)) == 0
    with pytest.raises(ValueError, match="give one of gender"):
        people.run(people.People(out=out, sweep="mood"))
    video = tmp_path / "walk.mp4"
    assert people.run(people.People(out=video, seconds=0.4, gait="walk")) == 0 and video.stat().st_size > 500


def test_drawing_people_loads_nothing_that_renders_them() -> None:
    code = "import sys, gensim.agents.road_users.wrapper; print({'anny', 'embreex', 'jupedsim'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
