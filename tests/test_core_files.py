"""Core: files that are whole or absent, frames, and videos."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gensim.core import files
from gensim.core.files import atomic_path, load_tensors, read_json, save_tensors, sha256, write_json
from gensim.core.frames import decode, encode, mosaic, resize, to_frames, to_model
from gensim.core.progress import bar
from gensim.core.video import VideoWriter, read_video, video_fps


def test_what_a_killed_writer_left_goes_and_what_a_living_one_writes_stays(tmp_path: Path) -> None:
    path = tmp_path / "a-[1].json"
    code = "import os, sys; from gensim.core.files import atomic_path\n"
    code += "with atomic_path(sys.argv[1]) as temporary: os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code, str(path)]).returncode == -9
    assert len(list(tmp_path.iterdir())) == 1
    with atomic_path(path) as slow:
        slow.write_text("{}")
        write_json(path, {"quick": 1})
        assert sorted(tmp_path.iterdir()) == sorted([path, slow])
    assert list(tmp_path.iterdir()) == [path] and path.read_text() == "{}"


def test_a_sweep_between_making_and_locking_a_file_harms_no_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, make, made = tmp_path / "a.json", tempfile.mkstemp, []

    def slow(**kwargs: str) -> tuple[int, str]:
        made.append(make(**kwargs))
        if len(made) == 1:
            files._sweep(path)
        return made[-1]

    monkeypatch.setattr(tempfile, "mkstemp", slow)
    write_json(path, {"whole": 1})
    assert len(made) == 2 and list(tmp_path.iterdir()) == [path] and read_json(path) == {"whole": 1}


def test_an_atomic_write_is_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.txt"
    with atomic_path(path) as temporary:
        temporary.write_text("one")
        assert not path.exists() and temporary.parent == path.parent
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("two")
        raise RuntimeError
    assert path.read_text() == "one" and [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_a_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    with atomic_path(tmp_path / "atomic") as temporary:
        temporary.touch()
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_json_comes_back_and_says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": [1, 2.5, None, "ü"]})
    assert read_json(path) == {"a": [1, 2.5, None, "ü"]}
    with pytest.raises(ValueError, match=r"not JSON compliant|Out of range"):
        write_json(path, {"a": float("nan")})
    assert read_json(path)["a"][1] == 2.5
    for text, fault in [('{"a": 1', "valid JSON"), ("[1]", "list"), ("\xff", "valid JSON")]:
        path.write_bytes(text.encode("latin-1"))
        with pytest.raises(ValueError, match=fault) as caught:
            read_json(path)
        assert str(path) in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"no\.json"):
        read_json(tmp_path / "no.json")


def test_sha256_is_the_known_one(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc").startswith("ba7816bf8f01cfea414140de5dae2223b00361a3")


@pytest.mark.parametrize("cut", [0, 4, 30, -1])
def test_tensors_come_back_and_half_a_file_does_not(tmp_path: Path, cut: int) -> None:
    path, tensors = tmp_path / "a.safetensors", {"w": torch.randn(3, 4).T, "n": torch.arange(3)}
    save_tensors(path, tensors, {"kind": "test"})
    again, metadata = load_tensors(path)
    assert all(torch.equal(again[k], tensors[k]) for k in tensors) and metadata == {"kind": "test"}
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"a\.safetensors"):
        load_tensors(path)
    with pytest.raises(FileNotFoundError):
        load_tensors(tmp_path / "b.safetensors")


@settings(deadline=None, max_examples=30)
@given(st.dictionaries(st.text(), st.text(), max_size=6))
def test_equal_tensors_and_metadata_are_equal_bytes(tmp_path_factory: pytest.TempPathFactory, metadata: dict) -> None:
    """The library writes metadata in an order that it draws anew each time."""
    folder, tensors = tmp_path_factory.mktemp("equal"), {"w": torch.randn(3, 4), "n": torch.arange(3)}
    for i in range(4):
        save_tensors(folder / f"{i}.safetensors", tensors, dict(reversed(metadata.items())) if i % 2 else metadata)
    assert len({(folder / f"{i}.safetensors").read_bytes() for i in range(4)}) == 1
    again, told = load_tensors(folder / "0.safetensors")
    assert told == metadata and all(torch.equal(again[k], tensors[k]) for k in tensors)


sides = st.integers(1, 24)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), sides, sides, st.integers(0, 9))
def test_a_frame_survives_png(seed: int, h: int, w: int, level: int) -> None:
    frame = np.random.default_rng(seed).integers(0, 256, (h, w, 3), np.uint8)
    again = decode(np.frombuffer(encode(frame, level), np.uint8))
    assert again.dtype == np.uint8 and np.array_equal(again, frame)


def test_resize_averages_areas() -> None:
    blocks = np.random.default_rng(0).integers(0, 256, (2, 8, 12, 3), np.uint8)
    means = blocks.reshape(2, 4, 2, 4, 3, 3).mean((2, 4))
    assert np.abs(resize(blocks, 4).astype(float) - means).max() <= 0.51
    assert resize(blocks[:, :8, :8], 8).base is not blocks and resize(blocks, 5).shape == (2, 5, 5, 3)


def test_mosaic_puts_frames_in_reading_order() -> None:
    frames = np.arange(5, dtype=np.uint8)[:, None, None, None] + np.ones((1, 2, 3, 3), np.uint8)
    sheet = mosaic(frames, 3)
    assert sheet.shape == (4, 9, 3)
    assert sheet[::2, ::3, 0].tolist() == [[1, 2, 3], [4, 5, 0]]


def test_models_see_minus_one_to_one() -> None:
    frames = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).repeat(2, 1, 1, 3)
    inside = to_model(frames)
    assert inside.shape == (2, 3, 16, 16) and inside.min() == -1 and inside.max() == 1
    assert torch.equal(to_frames(inside), frames)
    assert to_frames(torch.full((3, 1, 1), 9.0)).tolist() == [[[255, 255, 255]]]


@pytest.mark.parametrize("bad", [np.zeros((4, 4, 3)), np.zeros((4, 4), "u1"), np.zeros((4, 4, 4), "u1")])
def test_what_is_no_frame_is_refused(bad: np.ndarray) -> None:
    for use in (encode, lambda frame: resize(frame, 2), lambda frame: mosaic(frame[None], 1)):
        with pytest.raises(ValueError, match="frames are uint8"):
            use(bad)
    with pytest.raises(ValueError, match="no PNG"):
        decode(np.zeros(9, np.uint8))


def test_a_video_shows_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    levels = [30, 90, 200, 140]
    with VideoWriter(path, 25, (32, 48)) as video:
        for level in levels:
            video.write(np.full((32, 48, 3), level, np.uint8))
        assert not path.exists()
    frames = list(read_video(path))
    assert [frame.shape for frame in frames] == [(32, 48, 3)] * 4 and video_fps(path) == 25
    assert np.allclose([frame.mean() for frame in frames], levels, atol=4)


def test_a_broken_video_leaves_nothing_and_is_named(tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "a.mp4", 25, (32, 48))
    with pytest.raises(ValueError, match="this video takes"), writer as video:
        video.write(np.zeros((48, 32, 3), np.uint8))
    assert not list(tmp_path.iterdir())
    for name, size in [("a.mp4", (31, 48)), ("a.gif", (32, 48))]:
        with pytest.raises(ValueError, match="video"):
            VideoWriter(tmp_path / name, 25, size)
    (tmp_path / "foreign.mp4").write_bytes(b"no video" * 100)
    with pytest.raises(ValueError, match=r"foreign\.mp4"):
        list(read_video(tmp_path / "foreign.mp4"))


def test_a_bar_is_silent_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(bar(range(3), "three", json=True)) == [0, 1, 2]
    with bar(3, "three", json=True) as progress:
        progress.update(3)
    assert capsys.readouterr() == ("", "")
