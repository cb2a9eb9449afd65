"""The driving source: messages between processes, conditions, labels in episode files; with MetaDrive, its replays."""

from __future__ import annotations

import hashlib
import io
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gensim.envs.driving.simulator import MANNERS, MetaDrive, drawn, home
from gensim.envs.driving.source.wire import receive, send
from gensim.episodes.store import Episode, Layer, read_episode, write_episode

KINDS = st.sampled_from([np.uint8, np.uint16, np.int64, np.float32])
SOME = KINDS.flatmap(lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0)))


@given(st.dictionaries(st.text(max_size=5), SOME, max_size=3), st.integers())
def test_messages_arrive_as_they_were_sent(sent: dict[str, np.ndarray], number: int) -> None:
    pipe = io.BytesIO()
    send(pipe, {"number": number}, sent)
    pipe.seek(0)
    message, found = receive(pipe)
    assert message == {"number": number} and found.keys() == sent.keys()
    for name, one in sent.items():
        assert found[name].dtype == one.dtype and found[name].shape == one.shape
        assert found[name].tobytes() == one.tobytes()


@pytest.mark.parametrize("cut", [0, 10, -1])
def test_a_message_cut_short_is_an_end_of_file(cut: int) -> None:
    pipe = io.BytesIO()
    send(pipe, {"do": "step"}, {"act": np.zeros(2)})
    with pytest.raises(EOFError):
        receive(io.BytesIO(pipe.getvalue()[:cut]))


def test_arrays_of_objects_and_of_absurd_sizes_are_refused() -> None:
    for about in (["|O", [1]], ["<f8", [1 << 40]], ["<f8", [-1]]):
        line = f'{{"arrays": {{"x": {about}}}}}\n'.replace("'", '"').encode()
        with pytest.raises(ValueError):
            receive(io.BytesIO(line))


def test_conditions_are_those_of_the_seed_and_within_their_limits() -> None:
    found = [drawn(seed) for seed in range(300)]
    assert found == [drawn(seed) for seed in range(300)]
    assert all(0 <= one["traffic"] <= 0.4 and 0 <= one["people"] < 25 and one["manner"] in MANNERS for one in found)
    assert {one["manner"] for one in found} == {*MANNERS}
    assert len({one["traffic"] for one in found}) > 100


def test_without_metadrive_it_says_how_to_get_it(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENSIM_METADRIVE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="scripts/setup_metadrive"):
        MetaDrive()


@given(arrays.arrays(st.sampled_from([np.uint8, np.uint16]), (3, 5, 7)))
def test_layers_are_kept_as_they_are(labels: np.ndarray) -> None:
    layer = Layer.pack(labels)
    assert (np.stack([layer.at(i) for i in range(3)]) == labels).all()
    assert layer.at(0).dtype == labels.dtype
    with pytest.raises(IndexError):
        layer.at(3)


def _episode(**more: object) -> Episode:
    rng = np.random.default_rng(0)
    frames, end = rng.integers(0, 256, (4, 8, 12, 3), np.uint8), np.arange(3) == 2
    return Episode.pack(frames, np.zeros((3, 2)), np.zeros(3), end, ~end & end, {"real_frames": 3}, **more)  # type: ignore[arg-type]


def test_layers_and_tracks_go_through_a_file(tmp_path: object) -> None:
    labels = np.random.default_rng(1).integers(0, 1024, (4, 8, 12)).astype(np.uint16)
    episode = _episode(layers={"depth": labels}, tracks={"ego": np.arange(8.0).reshape(4, 2)})
    back = read_episode(write_episode(tmp_path, episode, "x"))  # type: ignore[arg-type]
    assert (np.stack([back.layers["depth"].at(i) for i in range(4)]) == labels).all()
    assert (back.tracks["ego"] == episode.tracks["ego"]).all()
    assert (back.frames() == episode.frames()).all()


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"layers": {"depth": np.zeros((3, 8, 12), np.uint8)}}, "layer depth"),
        ({"layers": {"depth": np.zeros((4, 8, 12))}}, "uint8 or uint16"),
        ({"tracks": {"ego": np.zeros((3, 2))}}, "track ego"),
        ({"tracks": {"ego": np.array(["a"] * 4)}}, "track ego"),
    ],
)
def test_labels_that_do_not_go_with_the_frames_are_named(more: dict, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        _episode(**more)


@pytest.mark.slow
@pytest.mark.skipif(not (home() / ".ready").exists(), reason="MetaDrive's own environment is not there")
def test_an_episode_is_its_seed_and_actions_in_any_process() -> None:
    def digest(before: int) -> str:
        env = MetaDrive(labels=True)
        for seed in range(before):
            env.reset(seed=seed)
            env.step(None)
        found = hashlib.sha256()
        obs, info = env.reset(seed=7, options={"traffic": 0.2, "people": 5, "manner": "hurried"})
        for _ in range(20):
            for part in (obs, info["classes"], info["instances"], info["depth"], info["ego"], info["actors"]):
                found.update(part.tobytes())
            obs, _, term, _, info = env.step(None)
            assert not term
        env.close()
        return found.hexdigest()

    assert digest(0) == digest(2)


def test_home_is_where_the_variable_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENSIM_METADRIVE", os.sep + "there")
    assert str(home()) == os.sep + "there"
