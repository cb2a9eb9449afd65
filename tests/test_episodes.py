"""Episodes: lossless, checked, costing no more than themselves; samples that follow from (seed, step)."""

from __future__ import annotations

import functools
import json
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulators import CHOOSING, COUNTING

from gensim.core.video import VideoWriter
from gensim.envs.real import make_real
from gensim.episodes.actions import ActionSpec
from gensim.episodes.logs import ImportConfig, import_logs, read_table, to_minari
from gensim.episodes.record import Maker, RecordConfig, record
from gensim.episodes.sample import Sampler
from gensim.episodes.store import Dataset, Episode, read_episode, read_header, write_episode

SPEC: dict[str, Any] = {"env_id": "test", "env_kwargs": {}, "size": 8, "skip": 1, "fps": 10}
BOX: dict[str, Any] = {**SPEC, "action": {"type": "box", "dim": 2}}


def made(seed: int, t: int = 5, discrete: bool = False, size: int = 8, end: str = "term") -> Episode:
    """An episode of noise; frame 0's first pixel is (seed, t, 0), frame i's ends in i."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 256, (t + 1, size, size, 3), np.uint8)
    frames[:, 0, 0] = [(seed % 256, t % 256, i % 256) for i in range(t + 1)]
    act = rng.integers(0, 3, t) if discrete else rng.uniform(-1, 1, (t, 2)).astype(np.float32)
    last = np.arange(t) == t - 1
    flags = {"term": (last, last & False), "trunc": (last & False, last)}[end]
    meta = {"seed": seed, "real_frames": t, "note": "é"}
    return Episode.pack(frames, act, rng.normal(size=t), *flags, meta)


def same(a: Episode, b: Episode) -> bool:
    arrays = ("png", "offsets", "act", "rew", "term", "trunc")
    pairs = [(getattr(a, name), getattr(b, name)) for name in arrays]
    return a.meta == b.meta and all(x.dtype == y.dtype and np.array_equal(x, y) for x, y in pairs)


def dataset(folder: Path, lengths: list[int], spec: dict[str, Any] | None = None) -> Dataset:
    data = Dataset.create(folder, spec or BOX)
    for seed, t in enumerate(lengths):
        write_episode(folder, made(seed, t, data.action.type == "discrete"), f"{seed:04d}")
    return data


# files


@settings(deadline=None, max_examples=25)
@given(
    st.integers(0, 2**31),
    st.integers(1, 9),
    st.booleans(),
    st.integers(1, 17),
    st.sampled_from(["term", "trunc"]),
)
def test_an_episode_comes_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, seed: int, t: int, discrete: bool, size: int, end: str
) -> None:
    folder = tmp_path_factory.mktemp("data")
    frames = np.random.default_rng(seed).integers(0, 256, (t + 1, size, size, 3), np.uint8)
    episode = made(seed, t, discrete, size, end)
    episode = Episode.pack(frames, episode.act, episode.rew, episode.term, episode.trunc, episode.meta)
    path = write_episode(folder, episode, "a")
    again = read_episode(path)
    assert same(episode, again) and np.array_equal(again.frames(), frames) and len(again) == t
    assert np.array_equal(again.frame(-1), frames[-1]) and np.array_equal(again.frames(1), frames[1:])
    assert (read_header(path).length, read_header(path).real_frames) == (t, t)
    assert write_episode(folder, again, "b").read_bytes() == path.read_bytes()


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_a_damaged_episode_is_named_or_unharmed(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("data")
    episode = made(1, 3)
    path = write_episode(folder, episode, "a")
    blob = bytearray(path.read_bytes())
    if data.draw(st.booleans(), label="cut"):
        path.write_bytes(blob[: data.draw(st.integers(0, len(blob) - 1))])
    else:
        near_end = st.integers(len(blob) - 1200, len(blob) - 1)  # the archive's directory
        blob[data.draw(st.integers(0, len(blob) - 1) | near_end)] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(blob)
    try:
        assert same(read_episode(path), episode)
    except ValueError as error:
        assert str(path) in str(error)


def foreign(path: Path, kind: str) -> None:
    """Writes something that is no episode."""
    if kind in ("empty", "noise", "text"):
        path.write_bytes({"empty": b"", "noise": bytes(range(256)) * 9, "text": b"steer,gas\n"}[kind])
    elif kind == "numbers":
        np.savez(path, a=np.zeros(3))
    elif kind == "pickle":
        names: list[str] = ["png", "offsets", "act", "rew", "term", "trunc", "meta"]
        np.savez(path, **{name: np.array([{}]) for name in names})  # type: ignore[arg-type]
    elif kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("rew.npy", "hello")
    else:
        disagree(path, kind)


def disagree(path: Path, kind: str) -> None:
    """Writes arrays of the right names that cannot be one episode."""
    with np.load(write_episode(path.parent, made(1), "x")) as whole:
        arrays = dict(whole)
    (path.parent / "ep-x.npz").unlink()
    wrong: dict[str, dict[str, np.ndarray]] = {
        "short act": {"act": arrays["act"][1:]},
        "double rew": {"rew": arrays["rew"].astype(np.float64)},
        "dead in the middle": {"term": np.ones(5, bool)},
        "frames missing": {"offsets": arrays["offsets"][:-1]},
        "offsets": {"offsets": arrays["offsets"][::-1].copy()},
        "no meta": {"meta": np.frombuffer(b"[]", np.uint8)},
        "meta cut": {"meta": arrays["meta"][:-1]},
        "scalar rew": {"rew": np.float32(1)},  # type: ignore[dict-item]
    }
    np.savez(path, **{**arrays, **wrong[kind]})  # type: ignore[arg-type]


KINDS = [
    "empty",
    "noise",
    "text",
    "numbers",
    "pickle",
    "zip",
    "short act",
    "double rew",
    "dead in the middle",
]
KINDS += ["frames missing", "offsets", "no meta", "meta cut", "scalar rew"]


@pytest.mark.filterwarnings("ignore:skipped")
@pytest.mark.parametrize("kind", KINDS)
def test_a_foreign_file_costs_only_itself(tmp_path: Path, kind: str) -> None:
    data = dataset(tmp_path, [4, 5, 6])
    foreign(tmp_path / "ep-0001.npz", kind)
    with pytest.raises(ValueError, match=r"ep-0001\.npz"):
        read_episode(tmp_path / "ep-0001.npz")
    sampler = Sampler(data, 3, 8, 0, holdout=0)
    assert [header.path.name for header in sampler.episodes] == ["ep-0000.npz", "ep-0002.npz"]
    assert sampler.batch(0).frames.shape == (8, 3, 8, 8, 3)


def test_a_bad_file_is_warned_of_by_name(tmp_path: Path) -> None:
    data = dataset(tmp_path, [4, 5])
    foreign(tmp_path / "ep-0001.npz", "noise")
    with pytest.warns(UserWarning, match=r"skipped: .*ep-0001\.npz") as caught:
        assert len(data.episodes) == 1 and len(data.episodes) == 1
    assert len(caught) == 1


def test_a_picture_that_is_none_is_named(tmp_path: Path) -> None:
    data, whole = dataset(tmp_path, [4, 4]), made(9, 4)
    png = whole.png.copy()
    png[whole.offsets[2] : whole.offsets[3]] = 0
    damaged = Episode(png, whole.offsets, whole.act, whole.rew, whole.term, whole.trunc, whole.meta)
    write_episode(tmp_path, damaged, "0001")
    with pytest.raises(ValueError, match=r"ep-0001\.npz"):
        Sampler(data, 5, 16, 0, holdout=0).batch(0)


def test_a_frame_of_another_size_costs_its_episode(tmp_path: Path) -> None:
    data = dataset(tmp_path, [4, 4])
    write_episode(tmp_path, made(1, 4, size=9), "0001")
    with pytest.warns(UserWarning, match=r"ep-0001\.npz holds"):
        assert len(Sampler(data, 5, 4, 0, holdout=0).episodes) == 1


def test_what_cannot_be_an_episode_is_not_packed() -> None:
    e = made(0)
    for steps, frames in [(4, 6), (5, 5), (0, 1)]:
        with pytest.raises(ValueError, match="T >= 1 steps need"):
            Episode.pack(e.frames(0, frames), e.act[:steps], e.rew[:steps], e.term[:steps], e.trunc[:steps], e.meta)


# folders


def test_a_folder_says_what_it_holds(tmp_path: Path) -> None:
    data = dataset(tmp_path, [4, 5])
    assert data.spec == {**BOX, "format": 1} and data.action == ActionSpec("box", 2)
    assert [header.length for header in data.episodes] == [4, 5]
    assert Dataset.create(tmp_path, BOX).spec == data.spec
    with pytest.raises(ValueError, match="skip"):
        Dataset.create(tmp_path, {**BOX, "skip": 2})
    with pytest.raises(FileNotFoundError, match=r"no data\.json"):
        Dataset(tmp_path / "elsewhere")
    (tmp_path / "data.json").write_text(json.dumps({**BOX, "format": 99}))
    with pytest.raises(ValueError, match="format 99"):
        _ = Dataset(tmp_path).spec


def test_the_meter_counts_files_and_what_left_none(tmp_path: Path) -> None:
    data = dataset(tmp_path, [4, 5])
    assert data.meter() == {"real_frames": 9, "episodes": 9, "others": {}}
    data.charge("checkpoint selection", 100)
    data.charge("checkpoint selection", 20)
    write_episode(tmp_path, made(2, 6), "0002")
    assert data.write_meter() == {"real_frames": 135, "episodes": 15, "others": {"checkpoint selection": 120}}
    assert json.loads((tmp_path / "meter.json").read_text()) == data.meter()
    with pytest.raises(ValueError, match="upwards"):
        data.charge("x", -1)


@pytest.mark.parametrize("action", [ActionSpec("box", 3), ActionSpec("discrete", 4)])
def test_an_action_space_comes_back_from_json(action: ActionSpec) -> None:
    assert ActionSpec.from_dict(json.loads(json.dumps(action.to_dict()))) == action
    assert ActionSpec.of(action.space) == action and action.encode(action.space.sample()).shape == (action.dim,)
    for bad in ({}, {"type": "box"}, {"type": "tuple", "n": 2}, {"type": "box", "dim": 0}):
        with pytest.raises(ValueError, match="action"):
            ActionSpec.from_dict(bad)


# samples


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.integers(1, 12), min_size=1, max_size=4),
    st.integers(1, 9),
    st.booleans(),
    st.integers(0, 2**31),
    st.integers(0, 2**31),
)
def test_a_window_shows_what_was_recorded(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[int],
    length: int,
    discrete: bool,
    seed: int,
    step: int,
) -> None:
    action = ActionSpec("discrete", 3) if discrete else ActionSpec("box", 2)
    folder = tmp_path_factory.mktemp("data")
    data = dataset(folder, lengths, {**SPEC, "action": action.to_dict()})
    sampler = Sampler(data, length, 6, seed, holdout=0)
    batch = sampler.batch(step)
    assert batch.frames.shape == (6, length, 8, 8, 3) and batch.act.shape == (6, length, action.dim)
    assert {batch.act.dtype, batch.rew.dtype} == {np.dtype("f4")}
    for row in range(6):
        episode, start = (
            made(int(batch.episode[row]), lengths[batch.episode[row]], discrete),
            int(batch.start[row]),
        )
        for i in range(length):
            at, there = start + i, start + i <= len(episode)
            assert batch.valid[row, i] == there and batch.first[row, i] == (at == 0)
            assert np.array_equal(batch.frames[row, i], episode.frame(at) if there else 0 * batch.frames[row, i])
            led = there and at > 0
            assert np.array_equal(
                batch.act[row, i], action.encode(episode.act)[at - 1] if led else np.zeros(action.dim)
            )
            assert batch.rew[row, i] == (episode.rew[at - 1] if led else 0)
            if led:
                assert np.allclose(batch.tally[row, i], [episode.rew[: at - 1].sum(), at - 1], rtol=1e-5, atol=1e-4)
            assert batch.term[row, i] == (led and episode.term[at - 1])


def test_a_batch_follows_from_seed_and_step_alone(tmp_path: Path) -> None:
    data = dataset(tmp_path, [9, 30, 4])
    here, there = Sampler(data, 5, 7, 3, holdout=0), Sampler(Dataset(tmp_path), 5, 7, 3, holdout=0, threads=1)
    for step in (4, 0, 4, 2):
        assert equal(here.batch(step), there.batch(step))
    assert not equal(here.batch(0), here.batch(1))
    assert not equal(here.batch(0), Sampler(data, 5, 7, 4, holdout=0).batch(0))
    ahead = here.prefetch(2)
    assert all(equal(next(ahead), there.batch(step)) for step in (2, 3, 4))
    ahead.close()


def equal(a: Any, b: Any) -> bool:
    return all(np.array_equal(value, getattr(b, name)) for name, value in vars(a).items())


@pytest.mark.parametrize("discrete", [True, False])
def test_half_of_the_windows_are_mirrored_and_a_mirrored_mirror_is_none(tmp_path: Path, discrete: bool) -> None:
    action, image = (ActionSpec("discrete", 3), (0, 2, 1)) if discrete else (ActionSpec("box", 2), (-1, 1))
    data = dataset(tmp_path, [40, 25], {**SPEC, "action": action.to_dict()})
    plain, mirrored = (Sampler(data, 5, 400, 1, holdout=0, mirror=m).batch(3) for m in (None, image))
    assert np.array_equal(plain.start, mirrored.start) and np.array_equal(plain.episode, mirrored.episode)
    turned = (plain.frames != mirrored.frames).any((1, 2, 3, 4))
    assert 0.4 < turned.mean() < 0.6
    assert np.array_equal(plain.frames[~turned], mirrored.frames[~turned])
    assert np.array_equal(plain.frames[turned], mirrored.frames[turned][..., ::-1, :])
    assert np.array_equal(plain.act[~turned], mirrored.act[~turned])
    assert np.array_equal(plain.act[turned], action.mirror(mirrored.act[turned], image))
    assert not np.array_equal(plain.act[turned], mirrored.act[turned])
    rest = {"rew", "term", "first", "valid", "tally"}
    assert all(np.array_equal(getattr(plain, name), getattr(mirrored, name)) for name in rest)


@pytest.mark.parametrize(
    ("action", "image"),
    [("discrete", (0, 1)), ("discrete", (1, 2, 0)), ("discrete", (0, 0, 1)), ("box", (-1,)), ("box", (2, 1))],
)
def test_a_mirror_that_does_not_fit_is_refused(tmp_path: Path, action: str, image: tuple[int, ...]) -> None:
    spec = ActionSpec("discrete", 3) if action == "discrete" else ActionSpec("box", 2)
    data = dataset(tmp_path, [5], {**SPEC, "action": spec.to_dict()})
    with pytest.raises(ValueError, match="mirror="):
        Sampler(data, 3, 2, 0, holdout=0, mirror=image)


def test_some_frames_are_drawn_from_all_alike(tmp_path: Path) -> None:
    data = dataset(tmp_path, [9, 3])
    sampler = Sampler(data, 3, 2, 0, holdout=0)
    frames = [sampler.episodes[e] for e in range(2)]
    every = [tape.frame(i).tobytes() for tape in (read_episode(h.path) for h in frames) for i in range(len(tape) + 1)]
    drawn = [frame.tobytes() for frame in sampler.some(2800)]
    assert np.array_equal(sampler.some(7), sampler.some(7)) and set(drawn) == set(every)
    counts = np.array([drawn.count(one) for one in every]) / [every.count(one) for one in every]
    assert counts.min() > 140 and counts.max() < 260


def test_windows_begin_anywhere_and_often_at_the_start(tmp_path: Path) -> None:
    data = dataset(tmp_path, [40, 3])
    sampler = Sampler(data, 8, 4000, 0, holdout=0)
    episode, start, _ = sampler._draw(0)
    assert set(start[episode == 0]) == set(range(41)) and set(start[episode == 1]) == set(range(4))
    assert (start[episode == 0] == 0).mean() > 0.15
    seen = np.zeros(48)
    for begin in start[episode == 0]:
        seen[begin : begin + 8] += 1
    seen = seen[:41]
    middle = np.median(seen[10:30])
    assert seen[0] > middle and seen.min() > 0.8 * middle
    assert 0.8 * middle < (episode == 1).sum() < 1.8 * middle, "frames count alike, whatever their episode's length"


def test_an_end_comes_at_every_place_of_a_window_alike(tmp_path: Path) -> None:
    """Else a world that counts its steps foretells ends by the count, and none of its dreams outlives a window."""
    episode, start, _ = Sampler(dataset(tmp_path, [40, 25]), 8, 40_000, 0, holdout=0)._draw(0)
    last = np.array([40, 25])[episode]
    place = (last - start)[(start > 0) & (last - start < 8)]
    counts = np.bincount(place, minlength=8)
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 24.3, counts  # chi-square of 7 degrees, 0.1 %


def test_held_out_episodes_stay_so_and_are_never_drawn(tmp_path: Path) -> None:
    data = dataset(tmp_path, [3] * 60)
    sampler = Sampler(data, 3, 16, 0, holdout=0.2)
    out = {header.path for header in sampler.heldout}
    assert 3 <= len(out) <= 25 and not out & {header.path for header in sampler.episodes}
    drawn = {sampler.episodes[i].path for step in range(40) for i in sampler.batch(step).episode}
    assert len(drawn | out) == 60 and not drawn & out
    for seed in range(60, 90):
        write_episode(tmp_path, made(seed, 3), f"{seed:04d}")
    more = Sampler(Dataset(tmp_path), 3, 16, 1, holdout=0.2)
    assert {header.path for header in more.heldout if header.path.name < "ep-0060"} == out
    aside = Sampler(Dataset(tmp_path), 3, 16, 1, holdout=0.2, part="heldout")
    assert [header.path for header in aside.episodes] == [header.path for header in more.heldout]


def test_a_sampler_without_episodes_says_so(tmp_path: Path) -> None:
    data = Dataset.create(tmp_path, BOX)
    with pytest.raises(ValueError, match="no train episode"):
        Sampler(data, 3, 2, 0)
    wrong: list[dict[str, Any]] = [{"length": 0}, {"batch": 0}, {"holdout": 1.0}]
    for bad in wrong:
        with pytest.raises(ValueError, match="at least 1"):
            Sampler(data, **{"length": 3, "batch": 2, "seed": 0, **bad})


def test_sampling_outruns_training(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    smooth = np.kron(rng.integers(0, 256, (65, 8, 8, 3)), np.ones((1, 8, 8, 1))).astype(np.uint8)
    flags = np.zeros(64, bool)
    episode = Episode.pack(smooth, np.zeros((64, 2)), np.zeros(64), flags, flags, {"real_frames": 64})
    data = Dataset.create(tmp_path, {**BOX, "size": 64})
    write_episode(tmp_path, episode, "a")
    sampler = Sampler(data, 32, 16, 0, holdout=0, threads=1)
    sampler.batch(0)
    began = time.process_time()
    for step in range(3):
        sampler.batch(step)
    assert 3 * 16 * 32 / (time.process_time() - began) > 2000


@pytest.mark.parametrize("env_id", [COUNTING, CHOOSING])
def test_any_simulator_is_recorded_and_sampled(tmp_path: Path, env_id: str) -> None:
    maker = Maker(functools.partial(make_real, env_id, 16, 1))
    record(RecordConfig(tmp_path, 60), maker, json=True)
    batch = Sampler(Dataset(tmp_path), 4, 32, 0, holdout=0).batch(0)
    steps = batch.frames[..., 0, 0, 0].astype(int)
    inside = batch.valid[:, 1:]
    assert (np.diff(steps)[inside] == 1).all() and ((steps == 0) & batch.valid == batch.first).all()
    assert batch.act.shape == (32, 4, 2 if env_id == COUNTING else 4)
    led = batch.valid & ~batch.first
    act = 2 * batch.act[..., 0] if env_id == COUNTING else batch.act.argmax(-1) + 3
    assert np.allclose(batch.rew[led], (1000 * steps + act)[led], atol=1e-2)


# logs


@pytest.mark.parametrize("discrete", [False, True])
def test_minari_takes_and_gives_back_every_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, discrete: bool) -> None:
    pytest.importorskip("minari")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    action = ActionSpec("discrete", 3) if discrete else ActionSpec("box", 2)
    data = dataset(tmp_path / "a", [4, 7], {**SPEC, "action": action.to_dict()})
    write_episode(tmp_path / "a", made(2, 5, discrete, end="trunc"), "0002")
    to_minari(Dataset(tmp_path / "a"), "test/noise-v0")
    source = str(tmp_path / "minari" / "test" / "noise-v0") if discrete else "test/noise-v0"
    meter = import_logs(ImportConfig(source, tmp_path / "b", size=8, skip=2), json=True)
    back = Dataset(tmp_path / "b")
    assert meter["real_frames"] == 32 and back.spec["action"] == data.spec["action"]
    assert back.spec["env_id"] == "test/noise-v0" and len(back.episodes) == 3
    for old, new in zip(Dataset(tmp_path / "a").paths(), back.paths()):
        a, b = read_episode(old), read_episode(new)
        assert same(Episode(**{**vars(a), "meta": {}}), Episode(**{**vars(b), "meta": {}}))
        assert b.meta["source"].startswith("minari:test/noise-v0#")


def film(folder: Path, name: str, rows: str, frames: int = 4) -> Path:
    with VideoWriter(folder / f"{name}.mp4", 12, (32, 48)) as video:
        for i in range(frames):
            video.write(np.full((32, 48, 3), 40 + 30 * i, np.uint8))
    (folder / f"{name}.csv").write_text(rows)
    return folder / f"{name}.mp4"


TABLE = "act_0,act_1,rew,term\n0.5,-1,1,0\n0.25,0,2.5,0\n1,1,-3,1\n"


def test_a_video_with_a_table_is_an_episode(tmp_path: Path) -> None:
    path = film(tmp_path, "drive one", TABLE)
    meter = import_logs(ImportConfig(str(path), tmp_path / "a", size=16, skip=2), json=True)
    data = Dataset(tmp_path / "a")
    assert meter["real_frames"] == 6 and data.spec["fps"] == 12 and data.spec["env_id"] == "video"
    episode = read_episode(data.paths()[0])
    assert episode.act.tolist() == [[0.5, -1], [0.25, 0], [1, 1]] and episode.rew.tolist() == [1, 2.5, -3]
    assert episode.term.tolist() == [False, False, True] and not episode.trunc.any()
    assert np.allclose(episode.frames().mean((1, 2, 3)), [40, 70, 100, 130], atol=4)


def test_a_folder_of_videos_goes_on_and_ends_where_it_stops(tmp_path: Path) -> None:
    film(tmp_path, "a", "act\n2\n0\n3\n")
    config = ImportConfig(str(tmp_path), tmp_path / "out", size=16, env_id="street")
    import_logs(config, json=True)
    film(tmp_path, "b", "act,trunc\n1,0\n3,1\n", frames=3)
    meter = import_logs(config, json=True)
    data = Dataset(tmp_path / "out")
    assert meter["real_frames"] == 5 and data.spec["env_id"] == "street"
    assert data.action == ActionSpec("discrete", 4)
    assert [read_episode(path).trunc.tolist()[-1] for path in data.paths()] == [True, True]


def test_a_log_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    def fails(source: Path | str, match: str) -> None:
        with pytest.raises((ValueError, FileNotFoundError), match=match):
            import_logs(ImportConfig(str(source), tmp_path / "out", size=16), json=True)

    fails(film(tmp_path, "long", TABLE, frames=6), "6 frames and its table 3 rows")
    fails(film(tmp_path, "short", TABLE, frames=3), "3 frames and its table 3 rows")
    assert not list((tmp_path / "out").glob("ep-*"))
    fails(film(tmp_path, "early", TABLE.replace("1,0\n0.25", "1,1\n0.25")), "first terminated")
    video = film(tmp_path, "gone", TABLE)
    video.with_suffix(".csv").unlink()
    fails(video, r"gone\.csv is not there")
    (tmp_path / "noise.mp4").write_bytes(b"noise" * 99)
    (tmp_path / "noise.csv").write_text(TABLE)
    fails(tmp_path / "noise.mp4", r"noise\.mp4")
    pytest.importorskip("minari")
    fails("nothing/here-v0", "neither a Minari data set")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "needs rows"),
        ("act_0\n", "needs rows"),
        ("act_1\n0\n", "needs rows"),
        ("act_0\n2\n", "row 1"),
        ("act_0\nnan\n", "row 1"),
        ("act_0\n0\nleft\n", "row 2"),
        ("act_0,act_1\n0\n", "row 1"),
        ("act\n-1\n", "row 1"),
        ("act\n0.5\n", "row 1"),
        ("act,term\n0,maybe\n", "row 1"),
        ("act,rew\n0,inf\n", "row 1"),
    ],
)
def test_a_table_names_its_faults(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=rf"a\.csv.*{match}"):
        read_table(tmp_path / "a.csv")
