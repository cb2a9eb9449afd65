"""Bad input of rare events: it is said in one line, or that nothing can be said is; nothing recorded is lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_rare_dreams import BRIGHT, dreams, rare

from gensim.__main__ import main
from gensim.core.files import writable
from gensim.envs.events import Event, Seen, held, named
from gensim.rare.campaign import campaign
from gensim.rare.cases import FORMAT, kept, replay
from gensim.rare.result import Estimate
from gensim.rare.splitting import Splitting, split
from gensim.rare.temporal import temporal


def fails(seen: Seen) -> np.ndarray:
    return np.array([1 // 0 for _ in seen.step])


SAME = Event("same", lambda seen: np.full(len(seen.step), 0.7))
NOTHING = Event("nothing", lambda seen: np.full(len(seen.step), np.nan), since=2)
FAILS = Event("fails", fails)
SHORT = Event("short", lambda seen: seen.step[:1] * 1.0)
NEVER = Event("never", lambda seen: 1.5 - seen.frames().mean((1, 2, 3)) / 255)
SOON = Event("soon", lambda seen: 1 - seen.step / 3)
BAD = {
    "SAME": "the least severity is 0.7",
    "NOTHING": "a severity is not finite",
    "FAILS": "fails cannot be told: ZeroDivisionError",
    "SHORT": "return one number each",
    "ABSENT": "give one of",
}


def argv(event: str, out: Path, *more: str, world: str = "CarRacing") -> list[str]:
    """A small estimate."""
    size = ["--many", "3", "--replicates", "2", "--cases", "1", "--horizon", "6", "--out", str(out)]
    return ["rare", "estimate", f"gensim/{world}-v0", "--agent", "idle", "--event", event, *size, *more]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sees that a command ends with 1 and one line, which says something."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))

    def see(command: list[str], says: str) -> None:
        capsys.readouterr()
        assert main([*command, "--json"]) == 1
        told = capsys.readouterr()
        assert not told.out and says in told.err
        assert told.err.startswith("gensim ") and told.err.count("\n") == 1

    return see


@pytest.mark.parametrize("event", sorted(BAD))
def test_an_event_that_is_none_is_refused(event: str, refused: Callable[..., None], tmp_path: Path) -> None:
    refused(argv(f"{__name__}:{event}", tmp_path / "out"), BAD[event])
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_dreamed_is_refused(refused: Callable[..., None], tmp_path: Path) -> None:
    soon, out = f"{__name__}:SOON", tmp_path / "out"
    (tmp_path / "file").write_text("kept")
    refused(argv("nowhere:EVENT", out), "cannot be imported")
    refused(argv("gensim.envs.driving.events:PERSON_SOON", out), "has no labels")
    refused(argv(soon, out, "--people", "1"), "has no labels")
    refused(argv(soon, out, world="TakeCover"), "who steers")
    refused(argv(soon, out, world="Nowhere"), "is no world")
    refused(argv(soon, out, "--many", "1"), "give at least 2")
    refused(argv(soon, out, "--rounds", "0"), "give at least 1")
    refused(argv(soon, out, "--share", "1"), "0 < share < 1")
    refused(argv(soon, out, "--horizon", "1"), "2 steps or more")
    refused(argv(soon, out, "--temperature", "0"), "temperature")
    refused(argv(soon, tmp_path / "file"), "cannot be written into")
    refused(argv(soon, tmp_path / "file" / "in"), "cannot be written into")
    assert [path.name for path in tmp_path.iterdir()] == ["file"] and (tmp_path / "file").read_text() == "kept"


def test_a_folder_is_whole_after_every_refusal(
    refused: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was recorded before stays byte for byte, and goes on."""
    soon, out = f"{__name__}:SOON", tmp_path / "out"
    assert main(argv(soon, out)) == 0
    before = {path: path.read_bytes() for path in sorted(out.rglob("*.json"))}
    assert len(before) == 4
    refused(argv(soon, out, "--seed", "1"), "of other settings")
    refused(argv(f"{__name__}:FAILS", out), "of other settings")
    refused(["rare", "export", str(out), "--out", str(out / "data")], "has no labels")
    refused(["rare", "export", str(out), "--out", str(out / "data"), "--format", "voc"], "give one of coco")
    refused(["rare", "export", str(tmp_path / "none"), "--out", str(out / "data")], "holds no cases")
    refused(["rare", "replay", str(out / "round-000.json")], "no case of this version")
    refused(["rare", "replay", str(tmp_path / "gone.json")], "gone.json")
    refused(["rare", "replay", str(out / "cases" / "000-00.json"), "--avoid", "99"], "give 1 to 3")
    assert {path: path.read_bytes() for path in sorted(out.rglob("*.json"))} == before
    assert main(argv(soon, out, "--rounds", "2")) == 0 and (out / "round-001.json").exists()
    assert (out / "round-000.json").read_bytes() == before[out / "round-000.json"]


def test_too_small_a_budget_says_that_it_cannot_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    assert main(argv(f"{__name__}:NEVER", tmp_path)) == 0
    told = capsys.readouterr().out
    assert "cannot say" in told and "no failure was found" in told and " p = " not in told
    assert main(argv(f"{__name__}:NEVER", tmp_path, "--json")) == 0
    said = json.loads(capsys.readouterr().out)
    assert not said["trusted"] and (said["low"], said["high"]) == (0, 1) and said["failures"] == 0


class Sometimes:
    """An event that fails after so many looks."""

    def __init__(self, event: Event, looks: int) -> None:
        self.event, self.looks = event, looks

    def __call__(self, seen: Seen) -> np.ndarray:
        self.looks -= 1
        if self.looks < 0:
            raise RuntimeError("the model is\ngone")
        return self.event.far(seen)


def test_wherever_a_model_fails_the_rounds_before_stay(tiny_world: Callable[..., Path], tmp_path: Path) -> None:
    folder, config = tiny_world(), Splitting(many=8, replicates=2)
    event, stopped = rare(folder), []

    def go(one: Event, out: str) -> Estimate:
        return campaign(dreams(folder, one), tmp_path / out, 3, 5, config, {"world": "tiny"}, 1)

    plain = go(event, "plain")
    for looks in (0, 30, 100, 300):
        with suppress(ValueError):
            go(replace(event, far=Sometimes(event, looks)), str(looks))
        done = {path: path.read_bytes() for path in (tmp_path / str(looks)).glob("round-*.json")}
        stopped.append(len(done))
        assert go(event, str(looks)).told() == plain.told()
        assert all(path.read_bytes() == before for path, before in done.items())
    assert stopped[0] == 0 and stopped == sorted(stopped) and stopped[-1] > 0
    with pytest.raises(ValueError, match="bright cannot be told: RuntimeError: the model is gone"):
        go(replace(event, far=Sometimes(event, 5)), "none")


@pytest.mark.parametrize("event", [SAME, NOTHING, FAILS, SHORT, held(NOTHING, 2)])
def test_splitting_refuses_what_is_no_event(tiny_world: Callable[..., Path], event: Event) -> None:
    with pytest.raises(ValueError, match=r"severity|cannot be told|one number each"):
        split(dreams(tiny_world(), event), 0, Splitting(many=4, replicates=2))


def test_a_signal_that_fails_is_named() -> None:
    pytest.importorskip("rtamt")
    event = temporal("wet", "(rain >= 0.3)", {"rain": fails})
    one = np.zeros(1)
    with pytest.raises(ValueError, match="rain cannot be told: ZeroDivisionError"):
        event.severity(Seen(lambda: one, dict, np.zeros((1, 0)), None, one, one > 0, one, np.zeros(1, int)), None)


CASE = {"event": "soon", "steps": 2, "trail": [[0, 1]], "severity": 0.0, "log_p": -1.0, "weight": 0.1, "calm": []}
ABOUT = {"world": "gensim/CarRacing-v0", "agent": "idle", "event": f"{__name__}:SOON", "horizon": 6, "temperature": 1.0}


@pytest.mark.parametrize("name", [*CASE, "about", *(f"about.{one}" for one in (*ABOUT, "people", "people_seed"))])
def test_a_damaged_case_is_refused_or_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Whatever stands in it."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    for value in (None, -1, 2**70, "x", [], {}, [[0]], [[0, -1]], [["a", 1]], 1.5, True):
        told: dict[str, Any] = {"format": FORMAT, **CASE, "digest": "", "about": dict(ABOUT)}
        part, _, inner = name.partition(".")
        told[part] = {**told[part], inner: value} if inner else value
        path = tmp_path / "case.json"
        path.write_text(json.dumps(told))
        assert main(["rare", "replay", str(path)]) in (0, 1)
        assert capsys.readouterr().err.count("\n") <= 1


def test_folders_that_can_be_written_into(tmp_path: Path) -> None:
    writable(tmp_path / "a" / "b")
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "in" / "it"):
        with pytest.raises(OSError, match="give another"):
            writable(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_event_of_a_broken_module_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_events.py").write_text("import nothing_that_is_there")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match="broken_events cannot be imported: ModuleNotFoundError"):
        named("broken_events:EVENT", "CarRacing")


def test_a_case_replays_only_where_it_was_found(tiny_world: Callable[..., Path]) -> None:
    """Other weights are another dream: it is said that it is not the same."""
    event, config = rare(tiny_world()), Splitting(many=32, replicates=2)
    found = split(dreams(tiny_world(), event), 1, config)
    case = kept(dreams(tiny_world(), event), found.likeliest)
    assert replay(dreams(tiny_world(), BRIGHT), case).same
    assert not replay(dreams(tiny_world("box", 1), event), case).same
