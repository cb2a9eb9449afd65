"""Detectors: what they find unusual, that they say the same everywhere, and what they do not take."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from rink import SIZE, film, films, fitted

import gensim.ood as ood
from gensim.core.frames import decode
from gensim.episodes import Dataset, Episode, write_episode
from gensim.ood import training
from gensim.ood.config import DetectorConfig
from gensim.ood.detector import Detector
from gensim.ood.shelf import shipped

EVERY = 150
NAMED = ("real", "dim")
QUICK = DetectorConfig(steps=20, ahead=20)
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def detector() -> Detector:
    return ood.load(fitted())


@pytest.fixture(scope="module")
def usual(detector: Detector) -> dict[str, np.ndarray]:
    """Scores of usual episodes that nothing was fitted on, (episodes, frames) by name."""
    return together(detector, range(100, 116))


def together(detector: Detector, seeds: range, **kwargs: Any) -> dict[str, np.ndarray]:
    rows = [detector.scores(*one) for one in films(seeds, 64, **kwargs)]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def auroc(usual: np.ndarray, odd: np.ndarray) -> float:
    return float(
        (odd.reshape(1, -1) > usual.reshape(-1, 1)).mean() + 0.5 * (odd.reshape(1, -1) == usual.reshape(-1, 1)).mean()
    )


def loose(seeds: range = range(100, 116)) -> np.ndarray:
    return np.concatenate([frames[::8] for frames, _ in films(seeds, 64)])


# ------------------------------------------------------------------ what is unusual


def noise(x: np.ndarray) -> np.ndarray:
    return np.clip(x + np.random.default_rng(0).normal(0, 6, x.shape), 0, 255)


def occluded(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x[20:28, 20:28] = 90
    return x


ODD = {
    "noise": noise,
    "blur": lambda x: cv2.GaussianBlur(x, (0, 0), 1.2),
    "brightness": lambda x: np.clip(x.astype(float) + 30, 0, 255),
    "contrast": lambda x: 0.7 * x + 40,
    "jpeg": lambda x: cv2.imdecode(cv2.imencode(".jpg", x, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], 1),
    "occlusion": occluded,
    "colours": lambda x: x[..., [2, 0, 1]],
    "flat": lambda x: np.full_like(x, 200),
    "black": np.zeros_like,
    "mirror": lambda x: x[:, ::-1].transpose(1, 0, 2),
}


@pytest.mark.parametrize("name", ODD)
def test_frames_that_look_odd(detector: Detector, name: str) -> None:
    frames = loose()
    odd = np.stack([ODD[name](frame) for frame in frames]).astype(np.uint8)
    assert auroc(detector.score(frames), detector.score(odd)) > 0.95


@pytest.mark.parametrize("change", [{"delay": 3}, {"power": 0.1}, {"power": 1.2}])
def test_changed_dynamics_while_frames_look_usual(
    detector: Detector, usual: dict[str, np.ndarray], change: dict[str, Any]
) -> None:
    """At the end of 50 frames the whole knows; the frames alone do not."""
    odd = together(detector, range(200, 210), **change)
    assert auroc(usual["default"][:, 50:], odd["default"][:, 50:]) > 0.9
    assert auroc(usual["time"][:, 50:], odd["time"][:, 50:]) > 0.9
    assert auroc(usual["frame"], odd["frame"]) < 0.75


def test_frozen_frames(detector: Detector, usual: dict[str, np.ndarray]) -> None:
    frames, acts = film(100, 64)
    frozen = frames.copy()
    frozen[40:] = frames[40]
    said = detector.scores(frozen, acts)
    assert (said["default"][:41] == usual["default"][0, :41]).all()
    assert said["default"][42:].mean() > np.quantile(usual["default"], 0.95)


def test_names(detector: Detector, usual: dict[str, np.ndarray]) -> None:
    assert tuple(usual) == detector.names and detector.names[0] == "default"
    assert len(set(detector.names)) == len(detector.names) > 40
    assert all(np.isfinite(values).all() for values in usual.values())
    assert detector.parameters < 3_000_000


def test_p_values_of_new_episodes(detector: Detector, usual: dict[str, np.ndarray]) -> None:
    assert detector.calibration is not None
    p = detector.calibration.reference.p(usual["default"])
    assert (p > 0).all() and (p <= 1).all() and 0.3 < p.mean() < 0.7


def test_heat_points_at_the_place(detector: Detector) -> None:
    """In most of many frames; a puck where few were seen is hotter still."""
    tops = []
    for seed in range(100, 130):
        heat = detector.heat(occluded(film(seed, 64)[0][30]))
        assert heat.shape == (SIZE, SIZE) and heat.dtype == np.float32
        tops.append(np.unravel_index(heat.argmax(), heat.shape))
    assert np.mean([18 <= y <= 30 and 18 <= x <= 30 for y, x in tops]) > 0.7


def test_words_point_at_the_place(detector: Detector) -> None:
    places = []
    for seed in range(100, 112):
        frames, acts = film(seed, 31)
        odd = np.concatenate([frames[:30], [occluded(frames[30])]])
        watch = ood.Watch(detector, EVERY)
        said = [watch.step(odd[t : t + 1], acts[t - 1 : t] if t else None) for t in range(31)]
        verdict, (why,) = said[30]
        assert verdict.alarm[0] and verdict.sudden[0] and "deviations" in why
        assert all(text == "" for v, (text,) in said[:30] if not v.alarm[0])
        places.append("most in the lower right" in why)
    assert np.mean(places) > 0.6


# ------------------------------------------------------------------ the same everywhere


def test_streams_say_what_episodes_say(detector: Detector) -> None:
    """Frame by frame, side by side, in any company: the same bits."""
    tapes = films(range(300, 303), 40)
    stream, begins = detector.stream(3), [0, 0, 25]  # the third row begins anew on the way
    rows: list[list[Any]] = [[], [], []]
    for t in range(41):
        acts = None if t == 0 else np.stack([acts[t - 1] for _, acts in tapes])
        first = np.array([t == begin for begin in begins]) | (t == 0)
        read = stream.step(np.stack([frames[t] for frames, _ in tapes]), acts, first)
        for i in range(3):
            rows[i].append((read.frame[i], read.time[i]))
    for i, (frames, acts) in enumerate(tapes):
        first = np.arange(41) == begins[i]
        read = detector.read(frames, acts, first)
        assert np.array_equal(np.stack([f for f, _ in rows[i]]), read.frame)
        assert np.array_equal(np.stack([t for _, t in rows[i]]), read.time, equal_nan=True)
    frames = tapes[0][0]
    assert (detector.score(frames) == np.concatenate([detector.score(frame[None]) for frame in frames])).all()
    assert (detector.scores(*tapes[0])["frame"] == detector.score(frames)).all()
    assert (detector.streamed(*tapes[0]) == detector.scores(*tapes[0])["default"]).all()


SAY = """
import sys, hashlib, numpy as np, torch
sys.path.insert(0, sys.argv[2])
torch.set_num_threads(int(sys.argv[3]))
from rink import film
import gensim.ood as ood
d = ood.load(sys.argv[1])
said = d.watched(*film(77, 40), 150)
print(hashlib.sha256(b"".join(np.ascontiguousarray(x).tobytes() for x in vars(said).values())).hexdigest())
"""
SAYING = [sys.executable, "-c", SAY]


def test_verdicts_are_equal_across_saves_processes_and_threads(detector: Detector, tmp_path: Path) -> None:
    detector.save(tmp_path / "again")
    assert ood.load(tmp_path / "again").hash == detector.hash
    said = [
        subprocess.run([*SAYING, str(folder), str(HERE), n], capture_output=True, text=True, check=True).stdout
        for folder, n in ((fitted(), "1"), (tmp_path / "again", "2"))
    ]
    before = torch.get_num_threads()
    mine = ood.load(tmp_path / "again").watched(*film(77, 40), EVERY)
    assert torch.get_num_threads() == before
    own = detector.watched(*film(77, 40), EVERY)
    assert all((getattr(mine, name) == getattr(own, name)).all() for name in vars(own))
    assert len(set(said)) == 1 and len(said[0]) == 65


def test_a_fit_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the same data give the same bytes."""
    tapes = films(range(12), 40)
    whole = ood.fit(tapes, tmp_path / "whole", QUICK)
    monkeypatch.setattr(training, "KEPT", 5)
    keep, calls = training._keep, []

    def stop(*args: Any) -> None:
        keep(*args)
        calls.append(args[2])
        if len(calls) in (2, 6):
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "_keep", stop)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            ood.fit(tapes, tmp_path / "parts", QUICK)
    with pytest.raises(ValueError, match="begun with"):
        ood.fit(tapes, tmp_path / "parts", replace(QUICK, seed=1))
    assert ood.fit(tapes, tmp_path / "parts", QUICK).hash == whole.hash
    assert not (tmp_path / "parts" / "work").exists() and calls[:2] == [5, 10]
    done = len(calls)
    assert ood.fit(tapes, tmp_path / "parts", QUICK).hash == whole.hash and len(calls) == done  # nothing is done again
    for data, config in ((tapes, replace(QUICK, seed=1)), (films(range(1, 13), 40), QUICK)):
        with pytest.raises(ValueError, match="holds a detector of"):
            ood.fit(data, tmp_path / "parts", config)


def test_data_sets_and_their_folders(tmp_path: Path) -> None:
    """Recorded episodes, choices for actions; the command line does the same."""
    from gensim.__main__ import main

    spec = {
        "env_id": "Rink",
        "env_kwargs": {},
        "size": SIZE,
        "skip": 1,
        "fps": 20,
        "action": {"type": "discrete", "n": 3},
    }
    data = Dataset.create(tmp_path / "data", spec)
    for i, (frames, acts) in enumerate(films(range(14), 40)):
        choice = np.digitize(acts[:, 0], [-0.3, 0.3])
        blank = np.zeros(40)
        meta = {**spec, "real_frames": 40}
        write_episode(data.folder, Episode.pack(frames, choice, blank, blank > 0, blank > 0, meta), f"{i:03d}")
    made = ood.fit(data.folder, tmp_path / "a", QUICK)
    assert made.action is not None and made.action.type == "discrete" and made.about["env_id"] == "Rink"
    line = ["ood", "fit", str(data.folder), "--out", str(tmp_path / "b"), "--steps", "20", "--ahead", "20", "--json"]
    assert main(line) == 0 and ood.load(tmp_path / "b").hash == made.hash
    score = ["ood", "score", str(tmp_path / "b"), str(data.folder)]
    assert main([*score, "--false-alarm-every", "100", "--picture", str(tmp_path / "a.png")]) == 0
    assert decode(np.frombuffer((tmp_path / "a.png").read_bytes(), np.uint8)).shape == (2 * 128 + 132, 8 * 128, 3)
    assert main(score) == 1  # 10,000 is more than it supports


# ------------------------------------------------------------------ other streams


def test_recalibration(detector: Detector, tmp_path: Path) -> None:
    """Other usual frames get alarms of their own; with rescaling they look usual, too."""
    dim = [((0.8 * frames).astype(np.uint8), acts) for frames, acts in films(range(400, 418), 40)]
    new = [((0.8 * frames).astype(np.uint8), acts) for frames, acts in films(range(500, 504), 40)]
    same, scaled = detector.recalibrated(iter(dim)), detector.recalibrated(iter(dim), rescale=True)
    assert same.calibration is not None and same.calibration.frames.sum() == 18 * 41
    said = [np.mean([d.watched(*one, 100).alarm.mean() for one in new]) for d in (detector, same, scaled)]
    assert said[0] >= 4 / 164 and max(said[1:]) < said[0]
    assert np.median([scaled.score(frames) for frames, _ in new]) < 2 < 10 < np.median(detector.score(new[0][0]))
    assert same.about["recalibrated"] == {"episodes": 18, "rescaled": False, "from": detector.hash}
    assert scaled.recalibrated(iter(dim)).about["recalibrated"]["rescaled"]
    shutil.copytree(fitted(), tmp_path / "real")
    scaled.save(tmp_path / "dim", base=tmp_path / "real")
    again, sizes = ood.load(tmp_path / "dim"), [os.path.getsize(tmp_path / n / "detector.safetensors") for n in NAMED]
    assert sizes[0] > 2 * sizes[1] and again.hash == scaled.hash and again.about == scaled.about
    assert np.array_equal(again.watched(*new[0], 100).e, scaled.watched(*new[0], 100).e)
    with pytest.raises(ValueError, match="not beside"):
        scaled.save(tmp_path / "far" / "dim", base=tmp_path / "real")
    detector.recalibrated(iter(dim)).save(tmp_path / "real")
    with pytest.raises(ValueError, match="another by now"):
        ood.load(tmp_path / "dim")
    card = json.loads((tmp_path / "dim" / "detector.json").read_text())
    card["base"]["name"] = "../real"
    (tmp_path / "dim" / "detector.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match="written with"):
        ood.load(tmp_path / "dim")
    with pytest.raises(ValueError, match="no episode to calibrate on"):
        detector.recalibrated([])


# ------------------------------------------------------------------ what is not taken


def test_frames_and_actions_of_other_kinds(detector: Detector) -> None:
    frames, acts = film(1, 20)
    for odd, text in (
        (np.full((2, SIZE, SIZE, 3), np.nan, np.float32), "float32 with NaN: give uint8 RGB"),
        (frames.astype(np.float64), "float64: give uint8"),
        (frames[:, :16], r"\(21, 16, 32, 3\): give \(n, 32, 32, 3\), resized"),
        (frames[0], r"\(32, 32, 3\)"),
    ):
        with pytest.raises(ValueError, match=text):
            detector.score(odd)
    for given, text in (
        (None, "no actions"),
        (acts[:-1], r"float32 \(19, 2\): give \(20, 2\)"),
        (np.full_like(acts, np.nan), "NaN or infinity"),
    ):
        with pytest.raises(ValueError, match=text):
            detector.scores(frames, given)
    with pytest.raises(ValueError, match=r"first of .* give bool"):
        detector.scores(frames, acts, np.zeros(3, bool))
    assert detector.score(frames[:0]).shape == (0,) and detector.scores(frames[:1], acts[:0])["default"].shape == (1,)


def test_data_that_no_detector_comes_of(tmp_path: Path) -> None:
    fit = lambda data: ood.fit(data, tmp_path / "x", QUICK)  # noqa: E731
    for data, text in (
        ([], "no episode"),
        (films(range(5), 20), "5 episodes: give at least 12"),
        ([(np.zeros((9, 20, 20, 3), np.uint8), None)] * 14, "size=20"),
        ([(np.zeros((9, 32, 32, 3)), None)] * 14, "float64: give uint8"),
        ([(np.zeros((5, 32, 32, 3), np.uint8), None)] * 14, "more than 6 steps"),
        ([(f, np.full_like(a, np.inf)) for f, a in films(range(14), 20)], "NaN or infinity"),
        ([3] * 14, "no episode: give an Episode"),
    ):
        with pytest.raises(ValueError, match=text):
            fit(data)
        shutil.rmtree(tmp_path / "x", ignore_errors=True)
    with pytest.raises(FileNotFoundError, match=r"data\.json"):
        fit(tmp_path)
    with pytest.raises(ValueError, match="leave some"):
        DetectorConfig(shape=0.6, calibration=0.5)


def test_no_actions_are_needed(tmp_path: Path) -> None:
    made = ood.fit([(frames, None) for frames, _ in films(range(14), 40)], tmp_path, QUICK)
    assert made.action is None and np.isfinite(made.scores(film(50, 40)[0])["default"]).all()


def test_alarms_need_a_calibration_that_supports_them(detector: Detector) -> None:
    with pytest.raises(ValueError, match=r"holds [\d,]+ frames of 14 episodes.*recalibrated"):
        detector.alarm(10_000)
    empty = Detector(detector.eye, detector.surprise, detector.scales, detector.blends, None, detector.about)
    with pytest.raises(ValueError, match="empty calibration"):
        empty.alarm(100)


def test_damaged_and_foreign_folders(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    shutil.copytree(fitted(), folder)
    weights, card = folder / "detector.safetensors", folder / "detector.json"
    whole, told = weights.read_bytes(), json.loads(card.read_text())
    weights.write_bytes(whole[:-4] + b"0000")
    with pytest.raises(ValueError, match="has the hash of"):
        ood.load(folder)
    weights.write_bytes(whole)
    for change, text in (
        ({"format": 9}, "format 9"),
        ({"about": {**told["about"], "size": 48}}, "was written with"),
        ({"about": {**told["about"], "size": 20}}, "size=20"),
        ({"about": 3}, "does not describe"),
    ):
        card.write_text(json.dumps({**told, **change}))
        with pytest.raises(ValueError, match=text):
            ood.load(folder)

    weights.unlink()
    card.write_text(json.dumps(told))
    with pytest.raises(FileNotFoundError, match=r"detector\.safetensors"):
        ood.load(folder)
    with pytest.raises(FileNotFoundError, match="no detector 'nowhere': gensim ships"):
        ood.load("nowhere")
    assert all((path / "detector.json").is_file() for path in shipped().values())


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("blend.frame.root", lambda x: x[:-1]),
        ("layout.basis", lambda x: x.half()),
        ("scale.time.table", lambda x: x.flip(-1)),
        ("calibration.kind", lambda x: x - 9),
        ("calibration.memory", lambda x: x * 0),
        ("calibration.frames", lambda x: x * 1000),
        ("calibration.levels", lambda x: x.flip(0)),
        ("more", None),
    ],
)
def test_forged_numbers_with_true_hashes(tmp_path: Path, name: str, change: Callable[[Any], Any] | None) -> None:
    detector = ood.load(fitted())
    tensors = detector.tensors()
    tensors[name] = change(tensors[name]).contiguous() if change else torch.zeros(1)
    detector.tensors = lambda: tensors  # type: ignore[method-assign]
    detector.save(tmp_path)
    with pytest.raises(ValueError, match="does not hold a detector"):
        ood.load(tmp_path)
