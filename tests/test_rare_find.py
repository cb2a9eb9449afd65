"""Searches: what they find fails, differs and replays; planted failures are as probable as said; foresight is fair."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from test_rare_dreams import dreams, rare

from gensim.__main__ import main
from gensim.core.seeds import Stream, uniform
from gensim.envs.engine import load_world
from gensim.envs.events import Event, Seen
from gensim.rare import Problem, estimate
from gensim.rare.atlas import atlas
from gensim.rare.campaign import campaign
from gensim.rare.cases import Case, replay
from gensim.rare.choices import Choices
from gensim.rare.find import Finding, find
from gensim.rare.foresight import foresee, foretold
from gensim.rare.planted import planted
from gensim.rare.splitting import Splitting
from gensim.rare.surrogate import Surrogate
from gensim.rare.swarm import Swarm, swarm

pytest.importorskip("ribs")


def boxes(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Failures in 12 boxes of a plane, of the means of two halves of the choices."""
    where = x.reshape(len(x), 2, -1).sum(-1) / np.sqrt(x.shape[1] / 2)
    turn = np.arange(12) * 2 * np.pi / 12
    middles = 3.4 * np.stack([np.cos(turn), np.sin(turn)], 1)
    return np.abs(where[:, None] - middles).max(-1).min(1) - 0.3, where


def hit(where: np.ndarray) -> int:
    turn = np.arange(12) * 2 * np.pi / 12
    middles = 3.4 * np.stack([np.cos(turn), np.sin(turn)], 1)
    return int((np.abs(where[:, None] - middles).max(-1) <= 0.3).any(0).sum())


def test_a_search_finds_what_plain_draws_do_not() -> None:
    rng = np.random.default_rng(0)
    found = find(boxes, lambda n: rng.standard_normal((n, 10)), Finding(4000, seed=0))
    severity, where = boxes(found.failures)
    assert (severity <= 0).all() and np.array_equal(severity, found.severities)
    assert np.array_equal(where, found.behaviours)
    assert found.calls <= 4000 and hit(where) >= 11
    assert hit(boxes(rng.standard_normal((4000, 10)))[1]) < hit(where)
    some = found.behaviours[found.different()]
    apart = np.abs(some[:, None] - some[None]).max(-1)[~np.eye(len(some), dtype=bool)]
    assert len(some) >= 11 and apart.min() > 0.25


def test_what_cannot_be_searched_is_said() -> None:
    draw = lambda n: np.zeros((n, 3))  # noqa: E731
    with pytest.raises(ValueError, match="never differ"):
        find(lambda x: (np.ones(len(x)), np.ones((len(x), 2))), draw)
    with pytest.raises(ValueError, match="not finite"):
        find(lambda x: (np.full(len(x), np.nan), np.ones((len(x), 2))), draw)
    with pytest.raises(ValueError, match="give \\(n,\\) and \\(n, m\\)"):
        find(lambda x: (np.ones((len(x), 1)), np.ones((len(x), 2))), draw)
    with pytest.raises(ValueError, match="more calls"):
        Finding(calls=100)


def test_choices_are_all_that_is_left_to_chance(tiny_world: Callable[..., Path]) -> None:
    own = dreams(tiny_world())
    choices, key = Choices(own, 6, 3), np.array([3], np.uint64)
    groups = load_world(Path(own.config.world)).config.groups
    steps = [np.full(1, step) for step in range(6)]
    now = own.begin(key)
    seed = now.rollout.state.keys()
    streams = [(Stream.PRIOR, groups), (Stream.TERM, 1)]
    u = np.concatenate([uniform(seed, one, step, many) for step in steps for one, many in streams], 1)  # (1, dims)
    x = torch.special.ndtri(torch.from_numpy(u)).numpy()
    for _ in range(6):
        now = own.advance(now) if not now.done[0] else now
    end = choices.ends(x)
    assert choices.dims == 6 * (groups + 1)
    assert np.array_equal(own.look(end), own.look(now)) and end.log_p == pytest.approx(now.log_p)
    rows = choices.ends(np.concatenate([x, np.random.default_rng(0).standard_normal((4, choices.dims))]))
    assert np.array_equal(own.look(rows)[:1], own.look(now)) and len(np.unique(own.look(rows), axis=0)) > 1
    with pytest.raises(ValueError, match="steps=99"):
        Choices(own, 99)


def test_an_estimate_of_choices_is_what_plain_choices_say(tiny_world: Callable[..., Path]) -> None:
    folder = tiny_world()
    choices = Choices(dreams(folder, rare(folder)), 4, 1)
    plain = choices(np.random.default_rng(0).standard_normal((3000, choices.dims))) <= 0
    found = estimate(Problem(choices.dims, choices), np.random.default_rng(1), 3000)
    low, high = plain.mean() - 4 * np.sqrt(0.25 / 3000), plain.mean() + 4 * np.sqrt(0.25 / 3000)
    assert found.low <= high and found.high >= low and found.calls <= 3000


def test_planted_failures_are_as_probable_as_is_said(tiny_world: Callable[..., Path]) -> None:
    choices = Choices(dreams(tiny_world()), 1, 2)  # of one past, so that probabilities are exact
    there = planted(choices, modes=3, seed=5, most=2e-3, least=1e-3)
    assert ((there.p <= [2e-3, 1.5e-3, 1e-3]) & (there.p > 5e-4)).all()
    readings = there.readings(np.random.default_rng(0).standard_normal((30_000, choices.dims)))
    assert readings.mean(0) == pytest.approx(np.zeros(4), abs=0.15)
    share = (np.abs(readings[:, None] - there.modes).max(-1) <= 0.3 + 1e-9).mean(0)
    error = np.sqrt(there.p * (1 - there.p) / 30_000)
    assert (np.abs(share - there.p) < 4 * error).all()
    again = planted(choices, modes=3, seed=5, most=2e-3, least=1e-3)
    assert np.array_equal(again.modes, there.modes) and np.array_equal(again.p, there.p)
    assert not np.array_equal(planted(choices, 3, 6, 2e-3, 1e-3).modes, there.modes)


def test_an_atlas_holds_different_failures_that_replay(tiny_world: Callable[..., Path], tmp_path: Path) -> None:
    folder = tiny_world()
    own = dreams(folder, rare(folder))
    told = atlas(own, tmp_path, Finding(300, first=100, cells=50), {"why": "a test"}, most=5)
    paths = sorted((tmp_path / "cases").glob("*.json"))
    assert 0 < len(paths) == len(told["cases"]) <= 5 and told["calls"] <= 300
    assert json.loads((tmp_path / "atlas.json").read_text())["cases"] == told["cases"]
    for path in paths:
        case = Case.load(path)
        again = replay(own, case)
        assert again.same and again.severities[-1] <= 0 and path.stat().st_size < 4000
    with pytest.raises(ValueError, match="holds cases already"):
        atlas(own, tmp_path, Finding(300, first=100), {})
    with pytest.raises(OSError, match="cannot be written into"):
        atlas(own, paths[0] / "no", Finding(300, first=100), {})


def test_a_search_that_was_stopped_goes_on(tiny_world: Callable[..., Path], tmp_path: Path) -> None:
    folder = tiny_world()
    own, config = dreams(folder, rare(folder)), Finding(300, first=100, cells=50)
    whole = atlas(own, tmp_path / "whole", config, {}, most=5)

    def stop(calls: int, different: int, least: float) -> None:
        if calls >= 200:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        atlas(own, tmp_path / "part", config, {}, most=5, shown=stop)
    searched = tmp_path / "part" / "searched.jsonl"
    kept = searched.read_text()
    assert len(kept.splitlines()) == 4  # settings, 100 and twice 50
    with searched.open("a") as file:
        file.write("[[0.25, 0.")  # killed while it wrote
    with pytest.raises(ValueError, match="other settings"):
        atlas(own, tmp_path / "part", Finding(300, first=100, cells=50, seed=1), {})
    again = atlas(own, tmp_path / "part", config, {}, most=5)
    assert again["cases"] == whole["cases"] and not searched.exists()
    for name in (one["case"] for one in again["cases"]):
        assert (tmp_path / "part" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    with pytest.raises(ValueError, match="holds cases already"):
        atlas(own, tmp_path / "part", config, {})


def test_a_surrogate_learns_what_choices_add() -> None:
    rng = np.random.default_rng(0)

    def behaves(x: np.ndarray) -> np.ndarray:
        return np.stack([x[:, :5].sum(1) / np.sqrt(5), np.where(x[:, 5] > 0.5, 1.0, -0.4)], 1)

    for dims, many in ((8, 3000), (600, 2000)):  # more looked at than unknowns, and fewer
        guess, x = Surrogate(), rng.standard_normal((many, dims))
        guess.tell(x, behaves(x), np.abs(behaves(x)).sum(1))
        y = np.where(rng.random(x.shape) < 0.3, rng.standard_normal(x.shape), x)
        truly, said = behaves(y) - behaves(x), guess.change(x, y)
        assert 1 - ((said - truly) ** 2).mean() / truly.var() > (0.9 if dims == 8 else 0.4)
    where = behaves(rng.standard_normal((200, 8)))
    error = guess.severity(where) - np.abs(where).sum(1)
    assert np.abs(error).mean() < 0.2


def test_a_swarm_of_dreams_is_unbiased(tiny_world: Callable[..., Path]) -> None:
    folder = tiny_world()
    own = dreams(folder, rare(folder, since=3))
    told = foresee(own, 0, 80, ahead=4)
    assert told.calls > 0 and np.isfinite(told.weights).all() and told.weights.shape[1] == 5
    plain = own.begin(np.arange(3000, dtype=np.uint64))
    happened = np.zeros(3000, bool)
    for _ in range(12):
        plain = own.advance(plain)
        happened |= plain.severity <= 0
    found = swarm(own, foretold(own, told), 1, Swarm(100, 24))
    error = np.hypot(found.each.std(ddof=1) / np.sqrt(24), np.sqrt(happened.mean() / 3000))
    assert found.each.mean() == pytest.approx(happened.mean(), abs=4 * error)
    assert all(one.severity[0] <= 0 for one in found.failures)
    with pytest.raises(ValueError, match="longer horizon"):
        foresee(dreams(folder, rare(folder, since=12)), 0, 40)
    with pytest.raises(ValueError, match="many=2"):
        foresee(own, 0, 2)


def test_a_campaign_with_foresight_goes_on_as_it_was(tiny_world: Callable[..., Path], tmp_path: Path) -> None:
    folder = tiny_world()
    own, config = dreams(folder, rare(folder)), Splitting(many=16, replicates=3)
    one = campaign(own, tmp_path / "a", 2, 5, config, {}, 2, foresight=16)
    campaign(own, tmp_path / "b", 1, 5, config, {}, 2, foresight=16)
    two = campaign(own, tmp_path / "b", 2, 5, config, {}, 2, foresight=16)
    assert (one.p, one.low, one.high, one.calls) == (two.p, two.low, two.high, two.calls)
    rounds = [json.loads(path.read_text())["calls"] for path in sorted((tmp_path / "a").glob("round-*.json"))]
    assert one.calls > sum(rounds)  # what foresight cost is counted
    with pytest.raises(ValueError, match="other settings"):
        campaign(own, tmp_path / "a", 2, 5, config, {}, 2)


def test_the_command_finds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    about = ["--agent", "agents/takecover", "--event", "test_rare_find:EARLY", "--horizon", "10", "--calls", "120"]
    assert main(["rare", "find", "gensim/TakeCover-v0", *about, "--out", str(tmp_path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["calls"] <= 120 and len(told["cases"]) == len(list((tmp_path / "cases").glob("*.json"))) > 0
    assert main(["rare", "replay", str(tmp_path / "cases" / "000.json"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["same"]


def test_a_missing_package_is_said_in_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ribs", "ribs.archives"):
        monkeypatch.setitem(sys.modules, name, None)
    about = ["--agent", "agents/takecover", "--event", "test_rare_find:EARLY", "--horizon", "10", "--calls", "120"]
    assert main(["rare", "find", "gensim/TakeCover-v0", *about, "--out", str(tmp_path / "none")]) == 1
    assert capsys.readouterr().err == "gensim rare: searches need ribs: pip install ribs, or 'gensim-worlds[rare]'\n"


def left(seen: Seen) -> np.ndarray:
    return np.ones(len(seen.step)) if seen.act is None else 0.9 - 0.01 * seen.step - 0.8 * seen.act[:, 0]


EARLY = Event("left", left, since=6)
