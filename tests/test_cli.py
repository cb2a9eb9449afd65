"""The command line: one verb a file, help at once, pure JSON on request, clear faults."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from simulators import COUNTING
from test_agents import make_agent, on_frames

from gensim.__main__ import VERBS, main
from gensim.agents import load
from gensim.core.video import read_video, video_fps
from gensim.episodes import Dataset

Worlds = Callable[..., Path]
Output = pytest.CaptureFixture[str]
LITTLE = ["--rows", "8", "--n-steps", "8", "--batch", "32", "--net", "16", "16", "--threads", "1"]


def spoken(capsys: Output, *argv: Any) -> dict[str, Any]:
    """The JSON object that a verb prints, after making sure that it prints nothing else."""
    assert main([*map(str, argv), "--json"]) == 0
    text = capsys.readouterr().out
    value = json.loads(text)
    assert isinstance(value, dict) and text.count("\n") == 1
    return value


def fault(capsys: Output, *argv: Any) -> str:
    """What a verb says of a fault in what it was given; it prints nothing on standard output."""
    assert main([*map(str, argv), "--json"]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith(f"gensim {argv[0]}: ") and "Traceback" not in said.err
    return said.err


def test_help_comes_at_once() -> None:
    code = """
import sys, time
from gensim.__main__ import main
try: main(["--help"])
except SystemExit as end: assert not end.code
print(*(name for name in ("torch", "cv2", "stable_baselines3", "av") if name in sys.modules))"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == ""
    assert all(f"{verb} " in run.stdout and text in run.stdout for verb, (_, _, text) in VERBS.items())


GROUPED = ("ood fit", "ood score", "ood bench", "rare estimate", "rare replay", "rare export", "rare bench")


@pytest.mark.parametrize("verb", [*(verb for verb in VERBS if verb not in ("ood", "rare")), *GROUPED])
def test_every_verb_explains_every_option(verb: str, capsys: Output) -> None:
    with pytest.raises(SystemExit) as end:
        main([*verb.split(), "--help"])
    assert not end.value.code
    text = capsys.readouterr().out
    assert "--json" in text and f"gensim {verb}" in text
    assert "Print one JSON object" in text


@pytest.mark.parametrize("argv", [[], ["fly"], ["learn"], ["score", "x", "--env", "y", "--speed", "9"]])
def test_wrong_words_are_refused(argv: list[str], capsys: Output) -> None:
    with pytest.raises(SystemExit) as end:
        main(argv)
    assert end.value.code == 2
    assert capsys.readouterr().out == ""


def test_worlds(tiny_world: Worlds, capsys: Output) -> None:
    world = tiny_world("box")
    listed = spoken(capsys, "worlds", world)["worlds"]
    assert [row["id"] for row in listed][-1] == str(world) and "gensim/CarRacing-v0" in listed[0]["id"]
    assert listed[-1]["mb"] > 0 and listed[-1]["real_frames"] == 0 and listed[-1]["gap"] == "not measured"
    assert main(["worlds", str(world)]) == 0
    table = capsys.readouterr().out.splitlines()
    assert len(table) == len(listed) + 1 and table[-1].endswith("not measured")
    assert main(["worlds"]) == 0


def test_worlds_as_a_program(tiny_world: Worlds) -> None:
    command = [sys.executable, "-m", "gensim", "worlds", str(tiny_world("box")), "--json"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert len(json.loads(run.stdout)["worlds"]) >= 2 and run.stderr == ""


def test_learn_score_and_dream(tiny_world: Worlds, tmp_path: Path, capsys: Output) -> None:
    world, agent = tiny_world("box"), tmp_path / "agent"
    learned = spoken(capsys, "learn", world, "--out", agent, "--steps", 256, *LITTLE)
    assert learned["steps"] == 256 and learned["out"] == str(agent)
    assert load(agent).config.net == (16, 16)

    scored = spoken(capsys, "score", agent, "--env", COUNTING, "--episodes", 3, "--seed", 2, "--processes", 1)
    assert {"mean", "std", "ci95", "returns"} <= set(scored) and len(scored["returns"]) == 3
    assert scored["mean"] == pytest.approx(np.mean(scored["returns"])) and scored["seeds"] == [2, 3, 4]
    scored = spoken(capsys, "score", agent, "--env", world, "--env-kwargs", "horizon", "9", "--deterministic", "True")
    assert max(scored["lengths"]) <= 9 and scored["deterministic"] and scored["real_frames"] == 0

    out = tmp_path / "dream.mp4"
    told = spoken(capsys, "dream", world, "--agent", agent, "--out", out, "--seconds", 1.2, "--scale", 2)
    assert told["frames"] == 30 and told["video"] == str(out) and told["frames_per_second"] > 0
    frames = list(read_video(out))
    assert len(frames) == 30 and frames[0].shape == (96, 96, 3) and video_fps(out) == 25
    assert cv2.imread(told["sheet"]).shape == (4 * 144, 6 * 144, 3)
    again = spoken(capsys, "dream", world, "--agent", agent, "--out", out, "--seconds", 1.2, "--scale", 2)
    assert again["return"] == told["return"] and again["dreams"] == told["dreams"]


def test_dreams_are_told_to_people(tiny_world: Worlds, tmp_path: Path, capsys: Output) -> None:
    on_frames(tiny_world("discrete"), tmp_path / "agent")
    world, out = str(tiny_world("discrete")), str(tmp_path / "d.mp4")
    assert main(["dream", world, "--agent", str(tmp_path / "agent"), "--out", out, "--seconds", "0.2"]) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("dreamed return", "frames a second", out, str(tmp_path / "d.png")))
    assert (tmp_path / "d.png").is_file()


def test_scores_are_told_to_people(tiny_world: Worlds, tmp_path: Path, capsys: Output) -> None:
    make_agent(tiny_world("box"), tmp_path)
    assert main(["score", str(tmp_path), "--env", str(tiny_world("box")), "--episodes", "2"]) == 0
    said = capsys.readouterr().out
    assert "95 % of the mean" in said and "over 2 episodes" in said


def test_recording_with_an_agent_and_charging_its_meter(tiny_world: Worlds, tmp_path: Path, capsys: Output) -> None:
    agent, data = tmp_path / "agent", tmp_path / "data"
    make_agent(tiny_world("box"), agent, repeat=2)
    settings = ["--size", 48, "--processes", 1, "--policy", "mixed", "--agent", agent]
    meter = spoken(capsys, "record", COUNTING, "--frames", 20, "--out", data, *settings)
    assert meter["real_frames"] >= 20
    play = ["--env", COUNTING, "--episodes", 1, "--processes", 1, "--charge", data]
    scored = spoken(capsys, "score", agent, *play)
    assert Dataset(data).meter()["real_frames"] == meter["real_frames"] + scored["real_frames"]


def test_faults_are_told_in_one_line(tiny_world: Worlds, tmp_path: Path, capsys: Output) -> None:
    make_agent(tiny_world("box"), tmp_path / "agent")
    nowhere = tmp_path / "nowhere"
    assert "is no world" in fault(capsys, "learn", nowhere, "--out", tmp_path / "x")
    assert "agent.json is not there" in fault(capsys, "score", nowhere, "--env", COUNTING)
    assert "is no world" in fault(capsys, "dream", nowhere, "--agent", tmp_path / "agent")
    assert "has no data.json" in fault(capsys, "score", nowhere, "--env", COUNTING, "--charge", nowhere)
    assert "has no data.json" in fault(capsys, "fit", nowhere, "--out", tmp_path / "world")
    with pytest.raises(SystemExit) as end:
        main(["learn", str(tiny_world("box")), "--out", str(tmp_path / "x"), "--batch", "7"])
    assert end.value.code == 2 and "must be a multiple of" in capsys.readouterr().err
