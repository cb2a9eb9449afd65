"""Cases with people as OpenSCENARIO files, that other simulators play."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gensim.agents.road_users.senses import BODY, HALF
from gensim.core.files import atomic_path
from gensim.rare.cases import Case, played
from gensim.rare.dreams import Dreams

DT = 0.1  # seconds of a step
EGO = "ego"


def tracks(dreams: Dreams, case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Where the robot (t, 3) and the people (t, k, 3) of a case are, in the frame in which the robot began.

    Metres ahead, metres to the left, and radians anticlockwise.

    Raises:
        ValueError: if there are no people in it.
    """
    if not dreams.people:
        raise ValueError(f"{case.event}: the case has no people, and a dream has no map: there is nothing to play")
    robot, people = [], []
    for now in played(dreams, case):
        assert now.people is not None
        robot.append(now.people.robot[0])
        people.append(np.concatenate([now.people.walkers.place, now.people.facing[:, None]], 1))
    return np.stack(robot), np.stack(people)


def write_scenario(dreams: Dreams, case: Case, path: Path) -> None:
    """Writes a case's actors and their trajectories as OpenSCENARIO 1.2, all or nothing; there is no road network.

    Reference: ASAM OpenSCENARIO XML 1.2.0 (ASAM, 2022).

    Raises:
        ValueError: if there are no people in it, or scenariogeneration is not there.
    """
    robot, people = tracks(dreams, case)
    heights = [user.person.tall for user in dreams.people]
    with atomic_path(path) as part:
        _scenario(case.event, robot, people, heights).write_xml(str(part))


def _scenario(name: str, robot: np.ndarray, people: np.ndarray, heights: Sequence[float]) -> Any:
    try:
        from scenariogeneration import xosc
    except ModuleNotFoundError as fault:
        raise ValueError("OpenSCENARIO is written by scenariogeneration: pip install scenariogeneration") from fault
    paths = {EGO: robot} | {f"person{i}": people[:, i] for i in range(people.shape[1])}
    entities, init = xosc.Entities(), xosc.Init()
    entities.add_scenario_object(EGO, _car(xosc))
    for i, tall in enumerate(heights):
        entities.add_scenario_object(f"person{i}", _person(xosc, i, tall))
    act = xosc.Act("act", xosc.ValueTrigger("start", 0, xosc.ConditionEdge.none, _after(xosc, 0)))
    for actor, path in paths.items():
        init.add_init_action(actor, xosc.TeleportAction(_position(xosc, path[0])))
        act.add_maneuver_group(_follows(xosc, actor, path))
    seconds = DT * (len(robot) - 1)
    stop = xosc.ValueTrigger("stop", 0, xosc.ConditionEdge.none, _after(xosc, seconds), "stop")
    board = xosc.StoryBoard(init, stop)
    board.add_act(act)
    none = xosc.ParameterDeclarations()
    return xosc.Scenario(name, "gensim", none, entities, board, xosc.RoadNetwork(), xosc.Catalog(), osc_minor_version=2)


def _after(xosc: Any, seconds: float) -> Any:
    return xosc.SimulationTimeCondition(seconds, xosc.Rule.greaterOrEqual)


def _position(xosc: Any, place: np.ndarray) -> Any:
    x, y, heading = (float(part) for part in place)
    return xosc.WorldPosition(x, y, 0, heading)


def _car(xosc: Any) -> Any:
    box = xosc.BoundingBox(2 * HALF[1], 2 * HALF[0], 1.5, 0, 0, 0.75)
    front, rear = xosc.Axle(0.5, 0.6, 1.6, 1.3, 0.3), xosc.Axle(0, 0.6, 1.6, -1.3, 0.3)
    return xosc.Vehicle(EGO, xosc.VehicleCategory.car, box, front, rear, 70, 10, 10)


def _person(xosc: Any, index: int, tall: float) -> Any:
    box = xosc.BoundingBox(2 * BODY, 2 * BODY, tall, 0, 0, tall / 2)
    return xosc.Pedestrian(f"person{index}", 70, xosc.PedestrianCategory.pedestrian, box, f"person{index}")


def _follows(xosc: Any, actor: str, path: np.ndarray) -> Any:
    """Somebody who is at each place at its time."""
    times, places = [DT * step for step in range(len(path))], [_position(xosc, place) for place in path]
    trajectory = xosc.Trajectory(f"{actor} goes", False)
    trajectory.add_shape(xosc.Polyline(times, places))
    follow = xosc.FollowTrajectoryAction(trajectory, xosc.FollowingMode.position, xosc.ReferenceContext.absolute, 1, 0)
    event = xosc.Event(f"{actor} sets out", xosc.Priority.override)
    event.add_action(f"{actor} goes", follow)
    event.add_trigger(xosc.ValueTrigger(f"{actor} begins", 0, xosc.ConditionEdge.none, _after(xosc, 0)))
    maneuver = xosc.Maneuver(f"{actor} maneuver")
    maneuver.add_event(event)
    group = xosc.ManeuverGroup(f"{actor} group")
    group.add_actor(actor)
    group.add_maneuver(maneuver)
    return group
