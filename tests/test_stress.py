"""Stress: what is missed is counted right, weighed right, and told so that a person can read it."""

from __future__ import annotations

import json
import re
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from elsewhere import printed, python_with
from hypothesis import given, settings
from hypothesis import strategies as st
from test_people import small

from gensim.__main__ import main
from gensim.stress import Law, Scene, judge, load, scenes
from gensim.stress.judge import iou, matched, population, rate, told
from gensim.stress.models import checked
from gensim.stress.page import write
from gensim.stress.scenes import AGES, CORNER, USUAL, WEATHERS, Thing

BOX = st.tuples(*[st.integers(0, 40)] * 2, *[st.integers(1, 30)] * 2).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


def made(n: int, missed: Callable[[int], bool]) -> list[Scene]:
    """Scenes of a person each, painted red where a model of red things sees them."""
    found = []
    for i in range(n):
        frame = np.zeros((32, 48, 3), np.uint8)
        if not missed(i):
            frame[8:20, 10:16, 0] = 255
        person = Thing("person", (10, 8, 16, 20), 5.0 + i % 30, 1.0, {"age": "child" if i % 2 else "adult"})
        found.append(Scene(frame, (person,), "rain" if i % 3 else "clear", 0.0, 0.0, i))
    return found


def red(frames: np.ndarray) -> list[np.ndarray]:
    """Finds what is red."""
    found = []
    for frame in frames:
        rows, columns = np.nonzero(frame[..., 0] > 100)
        one = [[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1, 0.9]] if len(rows) else []
        found.append(np.array(one, float).reshape(-1, 5))
    return found


@given(BOX, BOX)
@settings(max_examples=60, deadline=None)
def test_overlap_is_what_pixels_say(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    inside = np.zeros((2, 80, 80), bool)
    for mask, box in zip(inside, (a, b)):
        mask[box[1] : box[3], box[0] : box[2]] = True
    wanted = (inside[0] & inside[1]).sum() / (inside[0] | inside[1]).sum()
    assert iou(np.array(a, float), np.array([b], float))[0] == pytest.approx(wanted)


def test_each_thing_is_found_once_by_the_surest_box_of_its_kind() -> None:
    things = [Thing("person", (0, 0, 10, 10), 5, 1), Thing("vehicle", (20, 0, 40, 10), 9, 1)]
    boxes = np.array([[0, 0, 10, 10, 0.6, 1], [1, 0, 10, 10, 0.9, 1], [20, 0, 40, 10, 0.9, 1], [60, 0, 70, 9, 0.9, 0]])
    missed, stands = matched(things, boxes, 0.5)
    assert missed.tolist() == [False, True] and stands.tolist() == [False, True, False, False]


def test_a_report_counts_what_was_missed() -> None:
    report = judge(red, made(90, lambda i: i % 5 == 0), group=1)
    assert report.missed.missed == 18 and report.missed.many == 90 and report.missed.value == pytest.approx(0.2)
    assert sum(one.many for one in report.by["weather"].values()) == 90
    assert {name: one.missed for name, one in report.by["age"].items()} == {"adult": 9, "child": 9}
    assert all(one.missed == 0 for one in report.alarms.values())
    assert all(one.missed.sum() == 1 for one in report.worst)
    json.dumps(told(report))


def test_intervals_cover_also_where_things_of_a_crowd_are_alike() -> None:
    rng, covered, plain = np.random.default_rng(0), [], []
    for _ in range(300):
        each = np.repeat(rng.random(60) < 0.3, 8).reshape(60, 8)  # a crowd is missed as a whole
        found = rate(each.sum(1).astype(float), np.full(60, 8.0))
        covered.append(found.low <= 0.3 <= found.high)
        other = rate(rng.binomial(1, 0.3, 480).astype(float), np.ones(480))
        plain.append(other.low <= 0.3 <= other.high)
    assert 0.91 < np.mean(covered) <= 0.99 and 0.91 < np.mean(plain) <= 0.99


def test_the_population_is_weighed() -> None:
    """Corner cases are drawn from one law and weighed to another: the ratio is that one's, and its interval covers."""
    rng, covered = np.random.default_rng(1), []
    hard, easy, p = 0.6, 0.1, 0.05  # miss rates, and how often it is hard
    truth = p * hard + (1 - p) * easy
    for _ in range(300):
        is_hard = rng.random(400) < 0.5
        missed = rng.binomial(4, np.where(is_hard, hard, easy))
        log_w = np.log(np.where(is_hard, p / 0.5, (1 - p) / 0.5))
        found = population(missed.astype(float), np.full(400, 4.0), log_w)
        covered.append(found.low <= truth <= found.high)
    assert 0.9 < np.mean(covered) <= 0.99
    few = population(np.array([1.0, 0]), np.array([2.0, 2]), np.array([0.0, -9]))
    assert len(few.doubts) == 2


class Fixed(torch.nn.Module):
    """Says that somebody stands where `made` paints them, where anything is bright."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bright = x.amax() > 0.5
        return torch.tensor([[10.0, 8.0, 16.0, 20.0, 0.9]]) if bool(bright) else torch.zeros((0, 5))


def test_models_of_every_make_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = np.stack([one.frame for one in made(4, lambda i: i == 3)])
    torch.jit.script(Fixed()).save(str(tmp_path / "net.pt"))
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    for name in (str(tmp_path / "net.pt"), "test_stress:red"):
        *seen, nothing = checked(load(name), frames)
        assert nothing.shape == (0, 6)
        for one in seen:
            assert one.shape == (1, 6) and one[0].tolist() == pytest.approx([10, 8, 16, 20, 0.9, 1])
    for one in checked(load("test_stress:red", scale=2.0), frames[:3]):
        assert one[0, :4] == pytest.approx([10, 8, 16, 20], abs=1.0)


class Red(torch.nn.Module):
    """Finds what is red, as `red` does, by what every runtime of networks knows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bright = (x[0, 0] > 100 / 255).float()  # (h, w)
        (left, right), (top, bottom) = (self.ends(bright.amax(axis), bright.shape[1 - axis]) for axis in (0, 1))
        return torch.stack([left, top, right, bottom, 0.9 * bright.amax()])[None]

    def ends(self, there: torch.Tensor, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        at = torch.arange(size, dtype=torch.float32)
        return size - ((size - at) * there).amax(), ((at + 1) * there).amax()


class Wrong(torch.nn.Module):
    """Returns what no boxes are: NaN, pictures, or another size's product."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.kind == "nan":
            return torch.log(x[0, 0, :3, :5] - 1)
        return x * 2 if self.kind == "picture" else x.flatten(1) @ torch.ones(x.numel(), 5)


def exported(net: torch.nn.Module, path: Path, size: tuple[int, int]) -> str:
    """A file of ONNX for frames of one size."""
    pytest.importorskip("onnx")
    with warnings.catch_warnings():  # the exporter by tracing needs no onnxscript; torch calls it old
        warnings.simplefilter("ignore")
        torch.onnx.export(net.eval(), (torch.rand(1, 3, *size),), str(path), dynamo=False)
    return str(path)


def test_onnx_is_judged_as_the_function_that_it_is(tmp_path: Path) -> None:
    some = made(24, lambda i: i % 4 == 0)
    name = exported(Red(), tmp_path / "red.onnx", some[0].frame.shape[:2])
    for one, two in zip(checked(load(name), np.stack([one.frame for one in some[:4]])), red(some[1].frame[None]) * 4):
        assert len(one) == 1 and (one[0, 4] == 0 or one[0, :5] == pytest.approx(two[0]))
    assert told(judge(load(name), some, group=1)) == told(judge(red, some, group=1))


def test_the_command_judges_onnx(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What is wrong with a model is one line, and the report that was there stays."""
    painter = small()
    monkeypatch.setattr("gensim.agents.road_users.wrapper.shipped", lambda: painter)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    kinds, found = ("--kinds", "person", "vehicle", "object"), []
    for name in (exported(Red(), tmp_path / "red.onnx", (64, 96)), "test_stress:red"):
        argv = ["stress", name, "--scenes", "4", "--rows", "2", "--out", str(tmp_path), "--iou", "0.01", "--json"]
        assert main([*argv, *kinds]) == 0
        found.append(json.loads(capfd.readouterr().out))
    assert found[0] == found[1]
    before = (tmp_path / "stress.json").read_bytes()
    for kind, size, says in (
        ("nan", (64, 96), "boxes that are not finite"),
        ("picture", (64, 96), r"boxes \(1, 3, 64, 96\)"),
        ("fixed", (32, 48), r"fails on frames \(4, 64, 96, 3\)"),
    ):
        argv[1] = exported(Wrong(kind), tmp_path / f"{kind}.onnx", size)
        assert main([*argv, *kinds]) == 1
        said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("gensim stress: the model")]
        assert len(said) == 1 and re.search(says, said[0])
    assert (tmp_path / "stress.json").read_bytes() == before


def test_files_that_are_no_models_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name, says in (("net.onnx", "no ONNX"), ("net.pt", "no TorchScript")):
        (tmp_path / name).write_bytes(b"nothing")
        with pytest.raises(ValueError, match=says):
            load(str(tmp_path / name))
        assert main(["stress", str(tmp_path / name)]) == 1
    for name in ("nowhere:model", "test_stress:nothing"):
        with pytest.raises(ValueError, match="MODULE:NAME"):
            load(name)


@pytest.mark.skipif(not hasattr(cv2, "HOGDescriptor"), reason="opencv-python 5 has no HOG; the slow test sets one up")
def test_hog_sees_people() -> None:
    """It finds somebody, and frames smaller than what it looks for are refused: OpenCV would end the process."""
    found = list(scenes(40, 0, rows=8))
    with pytest.raises(ValueError, match="--scale 4"):
        judge(load("hog"), found)
    report = judge(load("hog", 6.0), found, least_iou=0.3, least_score=0.0)
    assert 0 < report.missed.missed < report.missed.many


@pytest.mark.slow
def test_hog_is_there_where_opencv_4_is(tmp_path: Path) -> None:
    """As the error says: pip install 'opencv-python<5'; all else is taken from here."""
    python = python_with(tmp_path / "own", "--no-deps", "opencv-python<5")
    (own,) = (tmp_path / "own").glob("lib/*/site-packages")
    here = [path for path in sys.path if path.endswith("site-packages")]
    (own / "rest.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in here))
    said = printed(python, "-m", "pytest", __file__, "-k", "test_hog_sees", "-p", "no:cacheprovider")
    assert "1 passed" in said


def test_where_all_are_missed_it_is_not_certain() -> None:
    every = population(np.full(9, 2.0), np.full(9, 2.0), np.zeros(9))
    assert every.value == every.high == 1 and 0.6 < every.low < 0.8


def test_what_is_not_counted_is_not_told_as_missed() -> None:
    some = [replace(one, things=(*one.things, Thing("vehicle", (0, 0, 9, 9), 9.0, 1.0))) for one in made(8, bool)]
    report = judge(red, some, group=1)
    assert report.missed.many == 8 and sum(one.missed.sum() for one in report.worst) == report.missed.missed == 7


def test_what_is_wrong_with_a_model_is_said(tmp_path: Path) -> None:
    frames = np.zeros((2, 8, 8, 3), np.uint8)
    wrong: list[tuple[Callable[[np.ndarray], list[np.ndarray]], str]] = [
        (lambda x: [np.zeros(1 // 0)], "fails on frames"),
        (lambda x: [], "returned 0 of 2"),
        (lambda x: [np.zeros((1, 4))] * 2, r"boxes \(1, 4\)"),
        (lambda x: ["boxes"] * 2, "no array of numbers"),
        (lambda x: [np.full((1, 6), np.nan)] * 2, "not finite"),
    ]
    for model, says in wrong:
        with pytest.raises(ValueError, match=says):
            checked(model, frames)
    for name, says in (("nothing", "give MODULE:NAME"), (str(tmp_path / "gone.onnx"), "is not there")):
        with pytest.raises(ValueError, match=says):
            load(name)
    with pytest.raises(ValueError, match="no vehicle"):
        judge(red, made(3, lambda i: False), kinds=("vehicle",))
    if not hasattr(cv2, "HOGDescriptor"):
        with pytest.raises(ValueError, match="no HOG detector"):
            load("hog")


def test_a_page_is_whole(tmp_path: Path) -> None:
    write(judge(red, made(24, lambda i: i % 4 == 0), group=1), tmp_path, {"model": "<red>"})
    page = (tmp_path / "stress.html").read_text()
    assert "&lt;red&gt;" in page and 'src="data:image/png;base64,' in page and "http" not in page
    assert json.loads((tmp_path / "stress.json").read_text())["missed"]["missed"] == 6
    assert "| missed, by age |" in (tmp_path / "stress.md").read_text()
    assert cv2.imread(str(tmp_path / "worst.png")).shape[1] == 48 * 4 * 3


def test_laws_are_laws() -> None:
    for law in (USUAL, CORNER):
        metres = np.linspace(5, 40, 20001)
        density = np.exp([law.distance(one) for one in metres])
        assert np.trapezoid(density, metres) == pytest.approx(1, abs=1e-4)
    with pytest.raises(ValueError, match="sum to 1"):
        Law(dict.fromkeys(WEATHERS, 0.1), dict.fromkeys(AGES, 1 / 3))


def test_scenes_have_their_labels_and_weights() -> None:
    found = list(scenes(6, 3, rows=3, steps=2, painter=small()))
    assert len(found) == 6 and [one.seed for one in found] == list(range(6))
    again = list(scenes(6, 3, rows=3, steps=2, painter=small()))
    for one, two in zip(found, again):
        assert np.array_equal(one.frame, two.frame) and one.things == two.things
        assert one.frame.shape == (64, 96, 3) and one.weather in WEATHERS and np.isfinite(one.log_p - one.log_q)
    same = list(scenes(3, 3, CORNER, CORNER, rows=3, steps=2, painter=small()))
    assert all(one.log_p == one.log_q for one in same)


def test_the_command_writes_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    painter = small()
    monkeypatch.setattr("gensim.agents.road_users.wrapper.shipped", lambda: painter)
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    argv = ["stress", "test_stress:red", "--scenes", "6", "--rows", "3", "--out", str(tmp_path)]
    assert main([*argv, "--kinds", "person", "vehicle", "object", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scenes"] == 6
    assert {path.name for path in tmp_path.iterdir()} >= {"stress.json", "stress.md", "stress.html", "worst.png"}
    assert main([*argv, "--world", "carracing"]) == 1
    assert "only driving" in capsys.readouterr().err
