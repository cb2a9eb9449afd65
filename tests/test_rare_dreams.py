"""Rare events of dreams: everything is branched, every failure is dreamed again byte for byte, bad input is said."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gensim.__main__ import main
from gensim.agents.filter import Pilot, load
from gensim.envs.engine import DreamConfig
from gensim.envs.events import Event, Seen, both, either, held, named
from gensim.rare.avoid import avoid
from gensim.rare.campaign import campaign
from gensim.rare.cases import FORMAT, Case, kept, replay
from gensim.rare.confirm import confirm
from gensim.rare.dreams import AgentPolicy, Dreams, joined, rows_of
from gensim.rare.minimise import minimise
from gensim.rare.splitting import Splitting, split


class Swings:
    """A policy with a memory: how it acts depends on all that it has seen."""

    def begin(self, keys: np.ndarray) -> dict[str, np.ndarray]:
        return {"sum": np.zeros(len(keys)), "key": keys.copy()}

    def act(self, obs: np.ndarray, memory: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        total = 0.9 * memory["sum"] + obs.reshape(len(obs), -1)[:, :7].sum(1)
        return np.stack([np.sin(total), np.cos(total)], -1).astype(np.float32), memory | {"sum": total}

    def branch(self, memory: dict[str, np.ndarray], keys: np.ndarray) -> dict[str, np.ndarray]:
        return memory | {"key": keys}


def bright(seen: Seen) -> np.ndarray:
    return 0.6 - seen.frames().mean((1, 2, 3)) / 255


BRIGHT = Event("bright", bright, grain=0.0, since=1)


def dreams(folder: Path, event: Event = BRIGHT, **config: Any) -> Dreams:
    about = {"observation": "latents", "horizon": 12, "trust_floor": 0.0} | config
    return Dreams(DreamConfig(str(folder), **about), Swings(), event)


def rare(folder: Path, since: int = 1) -> Event:
    """An event of about one episode in 20."""
    own = dreams(folder, replace(BRIGHT, since=since))
    now = own.begin(np.arange(64, dtype=np.uint64))
    nearest = np.full(64, np.inf)
    for _ in range(12):
        now = own.advance(now)
        nearest = np.minimum(nearest, now.severity)
    limit = float(np.quantile(nearest, 0.05))
    return Event("bright", lambda seen: bright(seen) - limit, grain=0.0, since=since)


def test_what_is_kept_goes_on_as_it_would_have(tiny_world: Callable[..., Path]) -> None:
    own = dreams(tiny_world())
    now = own.begin(np.arange(5, dtype=np.uint64))
    for _ in range(4):
        now = own.advance(now)
    some = own.join([now.rows(np.array([3, 1])), now.rows(np.array([4]))])
    for _ in range(4):
        now, some = own.advance(now), own.advance(some)
    for name in ("severity", "log_p", "log_q", "act"):
        assert np.array_equal(getattr(now, name)[[3, 1, 4]], getattr(some, name))
    assert np.array_equal(own.look(now)[[3, 1, 4]], own.look(some))
    assert np.array_equal(now.memory["sum"][[3, 1, 4]], some.memory["sum"])


def test_branches_have_equal_pasts_and_other_futures(tiny_world: Callable[..., Path]) -> None:
    own = dreams(tiny_world())
    now = own.advance(own.begin(np.zeros(1, np.uint64)))
    many = own.branch(now.rows(np.zeros(6, int)), np.arange(100, 106, dtype=np.uint64))
    assert np.array_equal(own.look(many), own.look(now).repeat(6, 0))
    after = own.advance(own.advance(many))
    assert len(np.unique(own.look(after).reshape(6, -1), axis=0)) > 1
    assert all(trail[0] == (0, 0) and trail[1] == (1, 100 + i) for i, trail in enumerate(after.trail))


def test_every_failure_replays_byte_for_byte_in_a_new_process(tiny_world: Callable[..., Path], tmp_path: Path) -> None:
    folder = tiny_world()
    event = rare(folder)
    own = dreams(folder, event)
    found = split(own, 0, Splitting(many=32, replicates=4))
    assert 0.001 < found.p < 0.4 and len(found.failures) > 0
    assert any(len(one.trail[0]) > 1 for one in found.failures)
    for i, one in enumerate(found.failures[:8]):
        case = kept(own, one)
        case.save(tmp_path / f"{i}.json")
        assert (tmp_path / f"{i}.json").stat().st_size < 4000
        assert Case.load(tmp_path / f"{i}.json") == case
        again = replay(own, case)
        assert again.same and again.severities[-1] == case.severity <= 0 and len(again.acts) == case.steps
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from pathlib import Path\n"
        "from test_rare_dreams import dreams; from gensim.rare.cases import FORMAT, Case, replay\n"
        f"own = dreams(Path({str(folder)!r}))\n"
        f"print([replay(own, Case.load(path)).same for path in sorted(Path({str(tmp_path)!r}).glob('*.json'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.lower()) == [True] * min(8, len(found.failures))


def found_case(folder: Path) -> tuple[Dreams, Case]:
    own = dreams(folder, rare(folder, since=6))
    found = split(own, 1, Splitting(many=32, replicates=2))
    return own, kept(own, found.likeliest)


def test_a_minimal_case_still_fails_and_no_step_of_it_can_be_calm(tiny_world: Callable[..., Path]) -> None:
    own, case = found_case(tiny_world())
    least = minimise(own, case)
    assert least.severity <= 0 and least.steps <= case.steps
    wild = np.setdiff1d(np.arange(least.steps), least.calm)
    assert len(wild) < case.steps and replay(own, least).same
    for step in wild:
        calmer = replace(least, calm=(*least.calm, int(step)))
        assert (replay(own, calmer).severities > 0).all()
    with pytest.raises(ValueError, match="does not happen"):
        minimise(own, replace(case, trail=((0, 123456),)))


def test_actions_that_avoid_a_failure_do(tiny_world: Callable[..., Path]) -> None:
    own, case = found_case(tiny_world())
    other = avoid(own, case, back=min(4, case.steps))
    assert other.acts.shape == (25, 2) and other.survived.shape == (25,)
    assert other.avoidable == other.survived.any()
    with pytest.raises(ValueError, match="give 1 to"):
        avoid(own, case, back=case.steps + 1)


@pytest.mark.parametrize("name", ["off_road"])
def test_a_case_of_carracing_is_tried_in_the_simulator(name: str) -> None:
    agent = load("agents/carracing")
    config = DreamConfig("gensim:carracing", "latents", 20)
    event = replace(named(name, "CarRacing"), since=0)
    own = Dreams(config, AgentPolicy(agent), event)
    episode = own.begin(np.array([3], np.uint64))
    for _ in range(6):
        episode = own.advance(episode)
    case = kept(own, episode)
    told = confirm(own, case, Pilot(agent))
    assert told.acted.shape == (7,) and told.played is not None and told.played.shape == (7,)
    real = told.acted[0]
    assert real == pytest.approx(replay(own, case).severities[0], abs=0.15)  # the same start


def test_a_campaign_goes_on_where_it_was_stopped(tiny_world: Callable[..., Path], tmp_path: Path) -> None:
    own = dreams(tiny_world(), rare(tiny_world()))
    config, about = Splitting(many=16, replicates=2), {"world": "tiny"}
    whole = campaign(own, tmp_path / "a", 3, 5, config, about, 2)
    campaign(own, tmp_path / "b", 1, 5, config, about, 2)
    kept_file = (tmp_path / "b" / "round-000.json").stat().st_mtime_ns
    again = campaign(own, tmp_path / "b", 3, 5, config, about, 2)
    assert (tmp_path / "b" / "round-000.json").stat().st_mtime_ns == kept_file
    assert again.told() == whole.told() and whole.p > 0
    told = json.loads((tmp_path / "b" / "estimate.json").read_text())
    assert told["p"] == whole.p and told["calls"] == whole.calls and told["replicates"] == 6
    assert Case.load(tmp_path / "b" / told["likeliest"]).severity <= 0
    weights = [Case.load(tmp_path / "b" / name).weight for name in told["failures"]]
    assert sum(weights) / 3 == pytest.approx(told["p"])
    with pytest.raises(ValueError, match="of other settings"):
        campaign(own, tmp_path / "b", 3, 6, config, about, 2)


def test_hotter_dreams_are_weighed(tiny_world: Callable[..., Path]) -> None:
    """A fair share of episodes weigh one in the mean, whatever law they were drawn from."""
    own = dreams(tiny_world(), temperature=1.1, horizon=3)
    now = own.begin(np.arange(4000, dtype=np.uint64))
    now = own.advance(now)
    w = np.exp(now.log_p - now.log_q)
    assert w.std() > 0.01 and abs(w.mean() - 1) < 5 * w.std() / np.sqrt(len(w))


def seen(far: list[float], step: int) -> Seen:
    n = len(far)
    zeros = np.zeros(n)
    return Seen(lambda: zeros, dict, np.zeros((n, 0)), None, np.array(far), zeros > 0, zeros, np.full(n, step))


def test_events_compose() -> None:
    a, b = Event("a", lambda s: s.rew), Event("b", lambda s: 1 - s.rew, grain=0.5)
    now = seen([0.2, 0.9], 3)
    assert both("x", [a, b]).severity(now, None)[0] == pytest.approx([0.8, 0.9])
    assert either("x", [a, b]).severity(now, None)[0] == pytest.approx([0.2, 0.1])
    lasting, memory, said = held(a, 3), None, []
    for step, far in enumerate((-0.1, -0.2, -0.3, 0.5, -0.4)):
        severity, memory = lasting.severity(seen([far], step), memory)
        said.append(float(severity[0]))
    assert said == pytest.approx([2 / 3, 1 / 3, 0.0, 1.5, 2 / 3])  # nearer step by step, and off by more where it stops
    assert Event("late", lambda s: s.rew, since=4).severity(now, None)[0].tolist() == [1.0, 1.0]


def test_what_is_wrong_with_an_event_is_said(tiny_world: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="return one number each"):
        Event("wrong", lambda s: np.zeros(3)).severity(seen([0.1], 0), None)
    with pytest.raises(ValueError, match="off_road"):
        named("crash", "CarRacing")
    with pytest.raises(ValueError, match="labels=True"):
        dreams(tiny_world(), Event("labelled", bright, labels=True))
    with pytest.raises(ValueError, match="give 2 or more"):
        held(BRIGHT, 1)
    with pytest.raises(ValueError, match="what lasts comes last"):
        both("x", [held(BRIGHT, 2)])
    assert named("off_road", "CarRacing").name == "off_road"


LATE = Event("late", lambda seen: 1 - seen.step / 4)


def test_the_commands_estimate_and_replay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    argv = ["rare", "estimate", "gensim/CarRacing-v0", "--agent", "agents/carracing", "--event", f"{__name__}:LATE"]
    size = ["--many", "3", "--replicates", "2", "--cases", "2", "--horizon", "8", "--out", str(tmp_path)]
    assert main([*argv, *size, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["p"] == told["low"] == told["high"] == 1 and told["calls"] == 6 * 4
    cases = sorted((tmp_path / "cases").glob("*.json"))
    assert len(cases) == 3
    picture, least = tmp_path / "case.png", tmp_path / "least.json"
    more = ["--picture", str(picture), "--minimal", str(least), "--avoid", "2", "--json"]
    assert main(["rare", "replay", str(cases[0]), *more]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["steps"] == 4 and told["chance"] == 0 and not told["avoidable"] and picture.stat().st_size > 500
    assert main(["rare", "replay", str(least)]) == 0
    assert "byte for byte" in capsys.readouterr().out
    assert main(["rare", "export", str(tmp_path), "--out", str(tmp_path / "data")]) == 1
    assert "labels" in capsys.readouterr().err
    assert main([*argv, "--out", str(tmp_path), "--json"]) == 1
    assert "of other settings" in capsys.readouterr().err


def test_damaged_cases_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "case.json"
    for told, says in (({"format": "x"}, "no case"), ({"format": FORMAT, "trail": [[2, 1]]}, "damaged")):
        path.write_text(json.dumps(told))
        with pytest.raises(ValueError, match=says):
            Case.load(path)


def test_memories_of_any_make_are_rows() -> None:
    import torch

    memory = ({"a": np.arange(4)}, [torch.arange(8).view(4, 2)], None)
    part = rows_of(memory, np.array([2, 0]))
    assert part[0]["a"].tolist() == [2, 0] and part[1][0].tolist() == [[4, 5], [0, 1]] and part[2] is None
    both_parts = joined([part, part])
    assert both_parts[0]["a"].tolist() == [2, 0, 2, 0] and both_parts[1][0].shape == (4, 2)
    with pytest.raises(ValueError, match="a policy remembers int"):
        rows_of(3, np.array([0]))
