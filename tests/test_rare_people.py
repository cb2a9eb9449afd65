"""Rare events with people in the scene: what they do is branched, weighed and dreamed again."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from elsewhere import printed, python_with
from hypothesis import given, settings
from hypothesis import strategies as st
from test_people import small

from gensim.__main__ import main
from gensim.agents.road_users import Person, RoadUser
from gensim.agents.road_users.behaviour import Behaviour
from gensim.agents.road_users.scene import People
from gensim.envs.driving.events import EVENTS, ahead
from gensim.envs.engine import DreamConfig
from gensim.envs.events import Event
from gensim.episodes.actions import ActionSpec
from gensim.rare.avoid import AFTER, avoid
from gensim.rare.cases import Case, kept, replay
from gensim.rare.dreams import Dreams
from gensim.rare.policies import Held, habit
from gensim.rare.scenario import tracks, write_scenario
from gensim.stress.scenes import FAR, NEAR, crossing

CROWD = [
    RoadUser(Person(age=30, identity=4), 12.0, -3.0, np.pi / 2, (1.0, 8.0)),
    RoadUser(Person(age=8, identity=9, temperament=1.0), 18.0, 3.0, -np.pi / 2, (1.0, 8.0)),
]


class Goes:
    """Drives straight on at one pedal."""

    def begin(self, keys: np.ndarray) -> Any:
        return np.zeros(len(keys))

    def act(self, obs: np.ndarray, memory: Any) -> tuple[np.ndarray, Any]:
        return np.tile(np.float32([0.0, 0.3]), (len(obs), 1)), memory + 1

    def branch(self, memory: Any, keys: np.ndarray) -> Any:
        return memory


@pytest.fixture
def street(monkeypatch: pytest.MonkeyPatch) -> Dreams:
    painter = small()
    monkeypatch.setattr("gensim.agents.road_users.wrapper.shipped", lambda: painter)
    config = DreamConfig("gensim:driving", "frames", 8, labels=True, trust_floor=0.0)
    return Dreams(config, Goes(), EVENTS["contact"], people=CROWD, behaviour=Behaviour().eval())


def test_people_are_branched_with_the_world(street: Dreams) -> None:
    now = street.begin(np.arange(3, dtype=np.uint64))
    for _ in range(2):
        now = street.advance(now)
    some = street.join([now.rows(np.array([2, 0])), now.rows(np.array([1]))])
    same, other = street.advance(some), street.advance(street.branch(some, np.array([7, 8, 9], np.uint64)))
    now = street.advance(now)
    for name in ("phase", "facing", "memory", "log_prob"):
        mine = getattr(now.people, name).reshape(3, 2, -1)[[2, 0, 1]]
        assert np.array_equal(getattr(same.people, name).reshape(3, 2, -1), mine)
    assert np.array_equal(street.look(now)[[2, 0, 1]], street.look(same))
    assert not np.array_equal(same.people.walkers.velocity, other.people.walkers.velocity)
    assert np.array_equal(same.log_p, now.log_p[[2, 0, 1]])
    assert ((now.log_p - now.log_q) == 0).all() and (now.people.log_prob < 0).all()


def test_a_case_with_people_replays(street: Dreams) -> None:
    now = street.begin(np.array([5], np.uint64))
    for step in range(4):
        now = street.branch(now, np.array([40 + step], np.uint64)) if step == 2 else now
        now = street.advance(now)
    case = kept(street, now)
    told = replay(street, case)
    assert told.same and told.severities[-1] == now.severity[0]
    people = street.labels(now)["people"]
    assert len(people) == 1 and {one["who"] for one in people[0]} <= {0, 1}


def test_scenes_are_rows(street: Dreams) -> None:
    people = street.begin(np.arange(4, dtype=np.uint64)).people
    assert people is not None
    again = People.join([people.rows(np.array([0, 1])), people.rows(np.array([2, 3]))])
    assert again.scene.tolist() == people.scene.tolist()
    assert np.array_equal(again.walkers.place, people.walkers.place) and np.array_equal(again.key, people.key)


def test_who_cannot_see_people_is_refused(street: Dreams) -> None:
    latents = replace(street.config, observation="latents")
    with pytest.raises(ValueError, match="observation='frames'"):
        Dreams(latents, Goes(), EVENTS["contact"], people=CROWD)
    with pytest.raises(ValueError, match="give people="):
        Dreams(street.config, Goes(), EVENTS["contact"])


def test_who_looks_at_nothing_dreams_the_same_with_and_without_frames(street: Dreams) -> None:
    act = Held(np.array([[0.0, 0.3]], np.float32))
    blind = Dreams(replace(street.config, observation="latents"), act, street.event, None, CROWD, street.behaviour)
    seeing = Dreams(street.config, act, street.event, None, CROWD, street.behaviour)
    mine, other = (one.begin(np.arange(2, dtype=np.uint64)) for one in (blind, seeing))
    for _ in range(3):
        mine, other = blind.advance(mine), seeing.advance(other)
    assert np.array_equal(blind.look(mine), seeing.look(other)) and np.array_equal(mine.log_p, other.log_p)
    assert np.array_equal(mine.act, np.tile(act.acts, (2, 1)))


def test_habits_are_for_who_steers_and_has_a_pedal() -> None:
    assert (habit("idle", ActionSpec("box", 2)).acts == 0).all()
    for name, action in (("hurry", ActionSpec("box", 2)), ("pace", ActionSpec("discrete", 3))):
        with pytest.raises(ValueError, match="give "):
            habit(name, action)


def test_other_actions_meet_the_same_people(street: Dreams) -> None:
    """The case's own action, held, comes to what the case comes to; the people are there for all."""
    near = Event("near", lambda seen: seen.gaps.min(1) - 9.0, labels=True, people=True)
    own = Dreams(street.config, Goes(), near, None, CROWD, street.behaviour)
    now = own.begin(np.array([3], np.uint64))
    for _ in range(4):
        now = own.advance(now)
    case, survived = kept(own, now), now.severity[0] > 0
    after = Dreams(replace(own.config, horizon=40), Goes(), near, None, CROWD, street.behaviour)
    other = avoid(own, case, 2, levels=(0.0, 0.3))
    for _ in range(AFTER):
        now = after.advance(now)
        survived &= now.severity[0] > 0
    assert other.acts.shape == (4, 2) and other.survived[1] == survived


@given(st.integers(0, 4), st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_who_crosses_is_the_seeds(count: int, seed: int) -> None:
    some = crossing(count, seed)
    assert len(some) == count and some == crossing(count, seed) and crossing(count + 1, seed)[:count] == some
    assert all(NEAR <= one.ahead <= FAR and one.road is not None and one.likes > 0 for one in some)


AT_FOUR = Event("at_four", lambda seen: 1 - seen.step / 4 + 0 * seen.gaps.min(1), labels=True, people=True)


def test_the_command_puts_people_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Estimated, replayed by a process of its own, and exported: frames with boxes of them, and their paths."""
    pytest.importorskip("scenariogeneration")
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    size = ["--many", "2", "--replicates", "2", "--cases", "1", "--horizon", "8", "--out", str(tmp_path)]
    argv = ["rare", "estimate", "gensim/Driving-v0", "--agent", "pace", "--event", f"{__name__}:AT_FOUR", *size]
    people = ["--people", "2", "--people-seed", "5"]
    assert main([*argv, *people, "--json"]) == 0 and json.loads(capsys.readouterr().out)["p"] == 1
    path = tmp_path / "cases" / "000-00.json"
    about = Case.load(path).about
    assert path.stat().st_size < 4000 and (about["people"], about["people_seed"], about["agent"]) == (2, 5, "pace")
    code = "import sys; sys.path.insert(0, 'tests'); from gensim.__main__ import main; sys.exit(main(sys.argv[1:]))"
    assert "byte for byte" in printed(sys.executable, "-c", code, "rare", "replay", path)
    export = ["rare", "export", str(tmp_path), "--json", "--out", str(tmp_path / "out"), "--format"]
    assert main([*export, "coco"]) == 0
    assert json.loads(capsys.readouterr().out)["cases"] == 2 and (tmp_path / "out" / "annotations.json").exists()
    assert main([*export, "openscenario"]) == 0
    names = {one.get("name") for one in ElementTree.parse(tmp_path / "out" / "000-00.xosc").iter("ScenarioObject")}
    assert names == {"ego", "person0", "person1"}
    capsys.readouterr()
    for more, says in (
        ([], "give people="),
        (["--people", "-1"], "give 0 to 64"),
        ([*people, "--agent", "agents/driving"], "one of idle, pace"),
        ([*people, "--agent", "nobody"], "one of idle, pace"),
        ([*people, "--people-seed", "6"], "of other settings"),
    ):
        assert main([*argv, *more]) == 1 and says in capsys.readouterr().err


def test_what_lies_ahead_is_in_the_cars_way() -> None:
    classes, depth = np.zeros((2, 64, 96), np.uint8), np.full((2, 64, 96), 10.0, np.float32)
    classes[0, 30, 47], classes[1, 30, 2] = 4, 4  # 10 m ahead, and as far but far to the left
    assert ahead(classes, depth, 4).tolist() == [10.0, np.inf]


def test_a_scenario_reads_back_where_everybody_was(street: Dreams, tmp_path: Path) -> None:
    xosc = pytest.importorskip("scenariogeneration").xosc
    now = street.begin(np.array([2], np.uint64))
    for _ in range(5):
        now = street.advance(now)
    case = kept(street, now)
    robot, people = tracks(street, case)
    assert robot.shape == (6, 3) and people.shape == (6, 2, 3)
    write_scenario(street, case, tmp_path / "case.xosc")
    told = xosc.Scenario.parse(ElementTree.parse(tmp_path / "case.xosc").getroot())
    names = [one.name for one in told.entities.scenario_objects]
    assert names == ["ego", "person0", "person1"]
    (act,) = told.storyboard.stories[0].acts
    for group, path in zip(act.maneuvergroup, (robot, people[:, 0], people[:, 1]), strict=True):
        line = group.maneuvers[0].events[0].action[0].action.trajectory.shapes
        assert [float(time) for time in line.time] == pytest.approx([0.1 * step for step in range(6)])
        assert np.array([(one.x, one.y) for one in line.positions]) == pytest.approx(path[:, :2])
    plain = Dreams(street.config, Goes(), EVENTS["off_road"])
    with pytest.raises(ValueError, match="no people"):
        tracks(plain, case)


CHECK = """<Config>
  <Param name="InputFile" value="{file}"/>
  <CheckerBundle application="xoscBundle"><Param name="resultFile" value="{result}"/></CheckerBundle>
</Config>"""


@pytest.mark.slow
def test_asams_checker_has_nothing_against_a_scenario(street: Dreams, tmp_path: Path) -> None:
    """Its schema, its references and its names, by ASAM's own rules; a broken one it does refuse."""
    pytest.importorskip("scenariogeneration")
    python = python_with(tmp_path / "own", "asam-qc-openscenarioxml>=1")
    path = tmp_path / "case.xosc"
    write_scenario(street, kept(street, street.advance(street.begin(np.array([2], np.uint64)))), path)
    right = checked(python, path)
    assert len(right) > 10 and right.pop("check_asam_xosc_xml_valid_schema") == ("completed", 0)
    assert not any(issues for _, issues in right.values()) and sum(how == "completed" for how, _ in right.values()) > 10
    path.write_text(path.read_text().replace('vehicleCategory="car"', 'vehicleCategory="cow"'))
    assert checked(python, path)["check_asam_xosc_xml_valid_schema"] == ("completed", 1)


def checked(python: Path, path: Path) -> dict[str, tuple[str, int]]:
    """How each of ASAM's checks of a file went, and how many issues it found."""
    config, result = path.with_suffix(".xml"), path.with_suffix(".xqar")
    config.write_text(CHECK.format(file=path, result=result))
    printed(python, "-m", "qc_openscenario.main", "-c", config)
    found = ElementTree.parse(result).getroot().iter("Checker")
    return {one.get("checkerId", ""): (one.get("status", ""), len(list(one.iter("Issue")))) for one in found}
