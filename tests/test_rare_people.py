"""Rare events with people in the scene: what they do is branched, weighed and dreamed again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from test_people import small

from gensim.agents.road_users import Person, RoadUser
from gensim.agents.road_users.behaviour import Behaviour
from gensim.agents.road_users.scene import People
from gensim.envs.driving.events import EVENTS, ahead
from gensim.envs.engine import DreamConfig
from gensim.rare.cases import kept, replay
from gensim.rare.dreams import Dreams
from gensim.rare.scenario import tracks, write_scenario

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
