"""Play by hand: undo, the two sides of a drive, who drives, what is recorded, and the window around it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pygame
import pytest
from test_agents import make_agent, on_frames
from tiny import same

from gensim.__main__ import main
from gensim.agents import Pilot, load
from gensim.core.frames import resize
from gensim.envs.controls import Controls
from gensim.envs.engine import Dream, DreamConfig
from gensim.envs.play import Command, Keeper, Pace, Pads, Screen, Session, Side, play
from gensim.envs.play.loop import DROPPED
from gensim.envs.play.pads import ramp
from gensim.envs.play.session import REST, UNDOABLE
from gensim.envs.real import RealEnv, make_real
from gensim.episodes import ActionSpec, Dataset, read_episode
from gensim.episodes.sample import Sampler
from gensim.world import World

Worlds = Callable[..., Path]
SIMULATED = {"box": "counting", "discrete": "choosing"}  # tiny worlds with a simulator
LONG = 60  # simulator frames of an episode with seed 0


def dream_of(world: Path, **config: Any) -> Dream:
    return Dream(DreamConfig(str(world), trust_floor=0.0, **config), 1)


def session_of(world: Path, length: int = LONG, **changes: Any) -> Session:
    """A drive through a tiny world and the simulator that it claims to imitate."""
    dream = dream_of(world)
    return Session(dream, lambda: simulator_of(dream, length), **changes)


def simulator_of(dream: Dream, length: int = LONG) -> RealEnv:
    return make_real(dream.world.spec["env_id"], dream.shape, 2, {"length": length})


def pilot_of(world: Path, folder: Path, make: Callable[..., Any] = make_agent) -> Pilot:
    make(world, folder, repeat=2)
    return Pilot(load(folder), filtered=False)


def deeds(session: Session, n: int, seed: int = 0) -> list[Any]:
    """Random actions of a drive's world."""
    rng, action = np.random.default_rng(seed), session.action
    if action.type == "discrete":
        return [np.int64(rng.integers(action.size)) for _ in range(n)]
    return [rng.uniform(-1, 1, action.size).astype(np.float32) for _ in range(n)]


def drive(session: Session, acts: list[Any]) -> list[Any]:
    """The moments after each of these actions."""
    moments = []
    for act in acts:
        assert session.tick(act)
        moments.append(session.now)
    return moments


@pytest.fixture(scope="session")
def lasting(tiny_world: Worlds, tmp_path_factory: pytest.TempPathFactory) -> Worlds:
    """Tiny worlds whose dreams do not end by themselves."""

    @cache
    def make(kind: str) -> Path:
        short, folder = World.load(tiny_world(kind)), tmp_path_factory.mktemp(f"lasting-{kind}")
        weights = short.weights()
        weights["termination.out.bias"] = weights["termination.out.bias"] - 20
        long = World.from_weights(short.config, weights, short.spec)
        long.starts, long.trust = short.starts, short.trust
        long.save(folder)
        return folder

    return make


@pytest.fixture(params=["box", "discrete"])
def world(request: pytest.FixtureRequest, lasting: Worlds) -> Path:
    """A tiny world that has a simulator, one of each kind of actions."""
    return lasting(SIMULATED[request.param])


@pytest.fixture
def counting(lasting: Worlds) -> Path:
    return lasting("counting")


# ---------------------------------------------------------------------- undo


@pytest.mark.parametrize("drives", [False, True])
def test_undo_of_a_dream_is_bit_for_bit(world: Path, tmp_path: Path, drives: bool) -> None:
    session = session_of(world, hand=pilot_of(world, tmp_path))
    session.agent_drives = drives
    acts = deeds(session, 20)
    moments = [session.now, *drive(session, acts)]
    frames = session.view().panels[0].frame
    for moment in moments[-2::-1]:
        session.command(Command.UNDO)
        assert same(session.now, moment) and session.paused
    assert not session.deeds
    session.command(Command.PAUSE)
    assert same(drive(session, acts), moments[1:]) and same(session.view().panels[0].frame, frames)


def test_undone_steps_make_room_for_others(counting: Path) -> None:
    one, other = session_of(counting), session_of(counting)
    drive(one, [np.ones(2)] * 3)
    for _ in range(2):
        one.undo()
    one.paused = False
    acts = [np.ones(2), *deeds(one, 5)]
    drive(one, acts[1:])
    drive(other, acts)
    assert same(one.now, other.now)


def test_as_many_steps_are_remembered_as_promised(counting: Path) -> None:
    assert UNDOABLE >= 1000
    session = session_of(counting, undoable=4)
    drive(session, deeds(session, 6))
    for _ in range(4):
        session.command(Command.UNDO)
        assert not session.note
    session.command(Command.UNDO)
    assert "nothing to undo" in session.note and len(session.deeds) == 2


def test_undo_of_the_simulator_replays_its_seed_and_actions(world: Path) -> None:
    session = session_of(world, side=Side.REAL, seed=3)
    acts = deeds(session, 9)
    before = drive(session, acts[:6])
    taken = session.real_frames
    for _ in range(3):
        session.undo()
    assert same(session.now, before[2]) and session.simulated.stands == 6, (
        "the simulator is left alone until it is needed"
    )
    session.paused = False
    drive(session, acts[6:])
    fresh = simulator_of(session.dream)
    fresh.reset(seed=3)
    told = [fresh.step(act) for act in [*acts[:3], *acts[6:]]]
    tape = session.simulated.now
    assert [take.rew for take in tape.takes] == [step[1] for step in told]
    assert same(tape.frame, told[-1][0]) and not session.note
    assert session.real_frames == taken + 3 * 2, "what replays see again is not counted"


def test_a_simulator_that_does_not_repeat_itself_is_reported(counting: Path) -> None:
    class Drifting(RealEnv):
        """One whose frames depend on how often it was reset."""

        def reset(self, **kwargs: Any) -> Any:
            self.resets = getattr(self, "resets", 0) + 1
            return super().reset(**kwargs)

        def _frame(self, obs: Any) -> np.ndarray:
            return super()._frame(obs) + np.uint8(self.resets)

    dream = dream_of(counting)
    real = simulator_of(dream)
    session = Session(dream, lambda: Drifting(real.env, real.look, real.to_real, real.spec_dict), side=Side.REAL)
    drive(session, deeds(session, 4))
    assert not session.note
    session.undo()
    session.step(np.zeros(2))
    assert "does not repeat itself" in session.note


# ---------------------------------------------------------------------- two sides


def test_the_simulator_comes_to_the_dreams_place(world: Path) -> None:
    session = session_of(world, seed=5)
    start = int(session.now.dream.state.start[0])
    origin = session.world.starts.provenance(start)["seed"]
    acts = deeds(session, 4)
    drive(session, acts)
    dreamt = session.now.dream
    session.command(Command.SWAP)
    fresh = simulator_of(session.dream)
    fresh.reset(seed=origin)
    frame = [fresh.step(act)[0] for act in acts][-1]
    (panel,) = session.view().panels
    assert session.now.side is Side.REAL and same(panel.frame, frame) and panel.reading.step == 4
    session.command(Command.SWAP)
    assert session.now.side is Side.DREAM and same(session.now.dream, dreamt), "looking changes nothing"


def test_the_dream_comes_to_the_simulators_place(world: Path) -> None:
    session = session_of(world, side=Side.REAL, seed=2)
    acts = deeds(session, 5)
    drive(session, acts)
    session.command(Command.SWAP)
    fresh, key = simulator_of(session.dream), np.array([2], np.uint64)
    state = session.world.first(fresh.reset(seed=2)[0][None], key)
    for act in acts:
        state, _ = session.world.observe(state, session.action.encode(act)[None], fresh.step(act)[0][None])
    assert same(session.now.dream.state, state) and same(session.now.filtered, state)
    assert session.tick(acts[0]) and session.now.dream.elapsed[0] == 1


def test_side_by_side_both_do_the_same(world: Path) -> None:
    session = session_of(world, side=Side.BOTH, seed=1)
    acts = deeds(session, 6)
    drive(session, acts)
    alone = session_of(world, side=Side.REAL, seed=1)
    drive(alone, acts)
    left, right = session.view().panels
    assert (left.side, right.side) == (Side.DREAM, Side.REAL) and left.reading.step == right.reading.step == 6
    assert same(session.now.filtered, alone.now.filtered) and same(right.frame, alone.view().panels[0].frame)
    dream = dream_of(world)
    opened = session_of(world, side=Side.BOTH, seed=1).now.dream
    dream.rollout = opened
    for act in acts:
        dream.step(dream.controls.read(np.asarray(act)[None], 1))
    assert same(dream.now, session.now.dream) and not same(session.now.dream.state.z, session.now.filtered.z)
    session.command(Command.MEET)
    assert same(session.now.dream.state.z, session.now.filtered.z)


def test_commands_lead_everywhere_and_back(world: Path) -> None:
    """Whatever is asked for in whatever order: the tape is a beginning of what was done, and nothing raises."""
    wishes = [Command.SWAP, Command.BOTH, Command.MEET, Command.UNDO, Command.UNDO, Command.HOTTER, Command.RESET]
    rng, session = np.random.default_rng(0), session_of(world, length=18)
    for _ in range(120):
        session.paused = False
        session.tick(deeds(session, 1, int(rng.integers(99)))[0])
        session.command(wishes[rng.integers(len(wishes))])
        tape = session._simulated and session._simulated.tape
        done = [] if tape is None else [take.act for take in tape.takes]
        assert same(done, [deed.act for deed in session.deeds[: len(done)]])
        assert session.now.side is Side.DREAM or len(done) == session.now.seen.step
        assert len(session.view().panels) == 1 + (session.now.side is Side.BOTH)


@pytest.mark.parametrize("side", list(Side))
def test_again_is_the_same_and_next_is_another(counting: Path, side: Side) -> None:
    session = session_of(counting, side=side, seed=4)
    first = session.view().panels
    drive(session, deeds(session, 3))
    session.command(Command.RESET)
    assert same([panel.frame for panel in first], [panel.frame for panel in session.view().panels])
    assert session.seed == 4 and not session.past
    session.command(Command.NEXT)
    assert session.seed == 5
    if side is not Side.DREAM:
        assert not same(first[-1].frame, session.view().panels[-1].frame)


def test_again_keeps_to_the_track_when_the_side_has_changed(counting: Path) -> None:
    session = session_of(counting, seed=5)
    origin = session.origin
    assert origin != 5, "or else this test shows nothing"
    session.command(Command.SWAP)
    session.command(Command.RESET)
    assert session.simulated.now.seed == session.origin == origin


def test_starts_of_logs_know_no_seed(counting: Path) -> None:
    session = session_of(counting, seed=5)
    session.origin = None
    session.command(Command.SWAP)
    assert "begins anew" in session.note and session.simulated.now.seed == 5 and session.now.side is Side.REAL


def test_without_a_simulator_the_dream_stays(lasting: Worlds) -> None:
    def none() -> RealEnv:
        raise ValueError("the simulator is not to be had")

    session = Session(dream_of(lasting("discrete")), none)
    session.tick(np.int64(1))
    for wish in (Command.SWAP, Command.BOTH, Command.MEET):
        session.command(wish)
        assert "not to be had" in session.note and session.now.side is Side.DREAM
    assert session.tick(np.int64(1))


def test_a_switch_that_cannot_be_changes_nothing(lasting: Worlds) -> None:
    def none() -> RealEnv:
        raise ValueError("the simulator is not to be had")

    session = Session(dream_of(lasting("counting")), none)
    (moment,) = drive(session, deeds(session, 1))
    session.origin = None
    session.command(Command.SWAP)
    assert "not to be had" in session.note and session.now is moment and len(session.deeds) == len(session.past) == 1
    session.command(Command.RESET)
    assert not session.note and not session.deeds and session.now.side is Side.DREAM


def test_a_simulator_whose_recording_is_refused_is_closed(counting: Path, lasting: Worlds, tmp_path: Path) -> None:
    session_of(lasting("choosing"), side=Side.REAL, keeper=Keeper(tmp_path)).close()
    closed, dream = [], dream_of(counting)

    def make() -> RealEnv:
        env = simulator_of(dream)
        env.close = lambda: closed.append(env)  # type: ignore[method-assign]
        return env

    session = Session(dream, make, keeper=Keeper(tmp_path))
    session.command(Command.SWAP)
    assert "choose another folder" in session.note and len(closed) == 1 and session.now.side is Side.DREAM


def test_temperature_holds_from_here_on(counting: Path) -> None:
    session = session_of(counting)
    drive(session, deeds(session, 2))
    for _ in range(3):
        session.command(Command.HOTTER)
    assert session.view().temperature == 1.3
    assert session.now.dream.state.temperature.tolist() == [pytest.approx(1.3)]
    drive(session, deeds(session, 1))
    session.undo()
    session.undo()
    assert session.view().temperature == 1.0, "undo goes back to what it was then"
    for _ in range(99):
        session.command(Command.COLDER)
    assert session.view().temperature == 0.1


def test_readings_are_the_environments(counting: Path) -> None:
    session = session_of(counting, side=Side.BOTH, seed=1)
    acts = deeds(session, 4)
    moments = drive(session, acts)
    fresh = simulator_of(session.dream)
    fresh.reset(seed=1)
    rewards = [fresh.step(act)[1] for act in acts]
    assert [m.seen.rew for m in moments] == rewards and moments[-1].seen.returns == sum(rewards)
    assert moments[-1].dreamed.returns == pytest.approx(sum(m.dreamed.rew for m in moments))
    assert all(0 <= r.trust <= 1 and r.log_prob < 0 for m in moments for r in (m.seen, m.dreamed))


def test_the_clock_steps_once_a_beat_unless_paused(counting: Path) -> None:
    session, act = session_of(counting), np.zeros(2)
    session.command(Command.PAUSE)
    assert not session.tick(act) and not session.deeds
    session.command(Command.STEP)
    assert [session.tick(act) for _ in range(3)] == [True, False, False] and session.paused
    session.command(Command.PAUSE)
    assert session.tick(act) and len(session.deeds) == 2


# ---------------------------------------------------------------------- who drives


@pytest.mark.parametrize("make", [make_agent, on_frames])
@pytest.mark.parametrize("side", list(Side))
def test_an_agent_takes_over_with_all_it_has_seen(
    world: Path, tmp_path: Path, side: Side, make: Callable[..., Any]
) -> None:
    session = session_of(world, side=side, seed=3, hand=pilot_of(world, tmp_path, make))
    alike = pilot_of(world, tmp_path, make)
    alike.reset(np.array([3], np.uint64))
    for i, act in enumerate(deeds(session, 8)):
        own = alike.act(session._sight(), np.asarray(session.deeds[-1].act)[None] if session.deeds else None)[0]
        session.tick(act)
        assert same(session.deeds[-1].act, np.asarray(own)[()] if i >= 3 else act)
        assert session.deeds[-1].human == (i < 3)
        if i == 2:
            session.command(Command.DRIVER)
    assert session.view().who == "agent"


def test_nobody_to_hand_over_to(counting: Path) -> None:
    session = session_of(counting)
    session.command(Command.DRIVER)
    assert "no agent" in session.note and session.view().who == "you"


def test_after_an_end_a_person_is_asked_and_an_agent_goes_on(counting: Path, tmp_path: Path) -> None:
    session, act = session_of(counting, length=6, side=Side.REAL, hand=pilot_of(counting, tmp_path)), np.zeros(2)
    assert [session.tick(act) for _ in range(40)].count(True) == 3
    assert session.over and session.view().panels[0].reading.end == "terminated" and session.seed == 0
    session.command(Command.DRIVER)
    assert [session.tick(act) for _ in range(REST)].count(True) == 1 and session.seed == 1


def test_dreams_end_by_themselves(tiny_world: Worlds) -> None:
    session = session_of(tiny_world("counting"))
    while session.tick(np.zeros(2)):
        assert len(session.deeds) < 500
    (panel,) = session.view().panels
    assert session.over and panel.reading.end == "terminated" and panel.reading.step == len(session.deeds)
    session.undo()
    assert not session.over


# ---------------------------------------------------------------------- what is recorded


def test_what_a_person_drove_is_an_episode(world: Path, tmp_path: Path) -> None:
    session = session_of(world, length=10, side=Side.REAL, seed=7, keeper=Keeper(tmp_path, {"agent": "x"}))
    acts = deeds(session, 6)
    drive(session, acts)  # 10 + 7 % 5 = 12 frames, two a step: the last step ends it
    assert session.over
    (path,) = tmp_path.glob("ep-*.npz")
    episode = read_episode(path)
    assert path.name == "ep-90-000007.npz" and same(list(episode.act), acts) and episode.term[-1]
    fresh = simulator_of(session.dream, 10)
    frames = [fresh.reset(seed=7)[0], *(fresh.step(act)[0] for act in acts)]
    assert same(episode.frames(), np.stack(frames))
    meta = episode.meta
    assert (meta["policy"], meta["round"], meta["seed"], meta["real_frames"]) == ("human", 90, 7, 12)
    assert meta["human_steps"] == 6 and meta["agent"] == "x" and "gensim-worlds" in meta["versions"]
    session.close()
    assert Dataset(tmp_path).meter() == {"real_frames": 12, "episodes": 12, "others": {}}
    assert Dataset(tmp_path).spec["env_id"] == session.world.spec["env_id"]


def test_an_unfinished_drive_is_kept_truncated_and_undone_frames_are_charged(counting: Path, tmp_path: Path) -> None:
    session = session_of(counting, side=Side.REAL, keeper=Keeper(tmp_path))
    drive(session, deeds(session, 5))
    session.undo()
    session.close()
    episode = read_episode(tmp_path / "ep-90-000000.npz")
    assert len(episode) == 4 and episode.trunc.tolist() == [False, False, False, True] and not episode.term.any()
    assert Dataset(tmp_path).meter() == {"real_frames": 10, "episodes": 8, "others": {"play": 2}}


def test_an_end_that_was_undone_is_written_again(counting: Path, tmp_path: Path) -> None:
    session = session_of(counting, length=6, side=Side.REAL, keeper=Keeper(tmp_path))
    drive(session, deeds(session, 3))
    assert session.over and len(session.keeper.paths) == 1
    session.undo()
    session.paused = False
    drive(session, [np.ones(2)])
    session.close()
    (path,) = tmp_path.glob("ep-*.npz")
    assert read_episode(path).act[-1].tolist() == [1, 1] and session.keeper.paths == [path]


@pytest.mark.parametrize("then", [Command.NEXT, Command.QUIT])
def test_a_drive_that_was_undone_whole_leaves_no_episode(counting: Path, tmp_path: Path, then: Command) -> None:
    session = session_of(counting, length=6, side=Side.REAL, keeper=Keeper(tmp_path))
    drive(session, deeds(session, 3))
    assert session.over and len(list(tmp_path.glob("ep-*"))) == 1
    for _ in range(3):
        session.undo()
    session.command(then)
    session.close()
    assert not list(tmp_path.glob("ep-*")) and not session.keeper.paths
    assert Dataset(tmp_path).meter() == {"real_frames": 6, "episodes": 0, "others": {"play": 6}}


def test_a_replay_that_breaks_off_leaves_the_drive_as_it_was(counting: Path, tmp_path: Path) -> None:
    session = session_of(counting, side=Side.REAL, keeper=Keeper(tmp_path))
    acts = deeds(session, 6)
    drive(session, acts)
    session.undo()
    env, steps = session.simulated.env, iter(range(3))

    def step(act: Any) -> Any:
        if next(steps, None) is None:
            raise KeyboardInterrupt
        return type(env).step(env, act)

    env.step = step  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        session.step(acts[5])
    session.close()
    (path,) = session.keeper.paths
    assert np.array_equal(read_episode(path).act, np.stack(acts[:5]))


def test_a_seed_may_be_driven_twice(counting: Path, tmp_path: Path) -> None:
    session = session_of(counting, side=Side.REAL, keeper=Keeper(tmp_path))
    for _ in range(2):
        drive(session, deeds(session, 2))
        session.command(Command.RESET)
    session.close()
    assert sorted(path.name for path in tmp_path.glob("ep-*")) == ["ep-90-000000-2.npz", "ep-90-000000.npz"]


def test_dreams_and_agents_alone_are_not_recorded(counting: Path, tmp_path: Path) -> None:
    hand = pilot_of(counting, tmp_path / "agent")
    dreamt = session_of(counting, keeper=Keeper(tmp_path / "a"))
    drive(dreamt, deeds(dreamt, 4))
    dreamt.close()
    assert not (tmp_path / "a").exists()
    watched = session_of(counting, side=Side.REAL, keeper=Keeper(tmp_path / "b"), hand=hand)
    watched.agent_drives = True
    drive(watched, deeds(watched, 4))
    watched.close()
    assert Dataset(tmp_path / "b").meter() == {"real_frames": 8, "episodes": 0, "others": {"play": 8}}


def test_scores_seeds_and_foreign_folders_are_refused(counting: Path, lasting: Worlds, tmp_path: Path) -> None:
    keeper = Keeper(tmp_path)
    with pytest.raises(ValueError, match="keeps clear"):
        session_of(counting, keeper=keeper, seed=1_000_000)
    session_of(counting, side=Side.REAL, keeper=keeper).close()
    with pytest.raises(ValueError, match="choose another folder"):
        session_of(lasting("choosing"), side=Side.REAL, keeper=Keeper(tmp_path))


def test_a_fit_takes_what_was_driven(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session = session_of(world, side=Side.REAL, keeper=Keeper(tmp_path / "data"))
    for _ in range(3):
        drive(session, deeds(session, 12))
        session.command(Command.NEXT)
    session.close()
    assert Sampler(Dataset(tmp_path / "data"), 8, 2, 0).batch(0).valid.all()
    fit = ["fit", str(tmp_path / "data"), "--out", str(tmp_path / "world")]
    assert main([*fit, "--steps", "1", "--batch", "2", "--length", "8", "--hidden", "64", "--json"]) == 0


# ---------------------------------------------------------------------- keys and pads


def box_pads() -> Pads:
    return Pads(Controls(ActionSpec("box", 2)))


def test_a_key_moves_the_action_as_a_hand_moves_a_stick() -> None:
    pads, dt = box_pads(), 0.02
    pads.press("d")
    up = [pads.read(dt)[0] for _ in range(20)]
    assert np.all(np.diff(up) >= 0) and 0 < up[0] < 0.2 and up[-1] == 1
    pads.press("a")
    middle = [pads.read(dt)[0] for _ in range(20)]
    assert np.all(np.diff(middle) <= 0) and middle[-1] == 0, "opposites cancel"
    pads.release("d")
    assert [pads.read(dt)[0] for _ in range(20)][-1] == -1
    pads.let_go()
    down = [pads.read(dt)[0] for _ in range(20)]
    assert down[-1] == 0 and np.count_nonzero(down) < np.count_nonzero(np.array(up) < 1), "home is faster"


@pytest.mark.parametrize("value, target", [(0.9, -1.0), (-0.3, 0.8), (0.5, 0.5), (-1.0, 0.0)])
def test_a_ramp_arrives_without_overshooting(value: float, target: float) -> None:
    at, low, high = np.float32([value]), min(value, target), max(value, target)
    for _ in range(40):
        at = ramp(at, np.float32([target]), 0.03)
        assert low - 1e-6 <= at[0] <= high + 1e-6
    assert at[0] == np.float32(target)


def test_a_tap_between_two_readings_counts_once() -> None:
    pads, choices = box_pads(), Pads(Controls(ActionSpec("discrete", 4)))
    for one, key in ((pads, "w"), (choices, "3")):
        one.press(key)
        one.release(key)
    assert pads.read(0.08)[1] > 0 and pads.read(10.0)[1] == 0
    assert [choices.read(0.08) for _ in range(2)] == [3, 0]


def test_choices_take_the_key_pressed_last() -> None:
    pads = Pads(Controls(ActionSpec("discrete", 5)))
    assert pads.read(0.1) == 0 and isinstance(pads.read(0.1), np.int64)
    pads.press("1")
    pads.press("4")
    assert pads.read(0.1) == 4
    pads.release("4")
    assert pads.read(0.1) == 1
    pads.press("right")
    assert pads.read(0.1) == 2, "arrows stand for the digits where there are no letters"


def test_a_worlds_own_keys_come_before_commands() -> None:
    pads = Pads(Controls(ActionSpec("discrete", 2), {"p": 1}))
    assert pads.press("p") is None and pads.read(0.1) == 1
    assert pads.press("space") is Command.PAUSE and pads.press("u") is Command.UNDO


def test_a_held_undo_repeats_itself() -> None:
    pads = box_pads()
    assert pads.press("backspace") is Command.UNDO
    assert not pads.rewinding
    pads.read(0.5)
    assert pads.rewinding
    pads.release("backspace")
    assert not pads.rewinding


def test_gamepads() -> None:
    pads = box_pads()
    pads.axis(0, 0.05)
    assert pads.read(0.1).tolist() == [0, 0], "a stick at rest is never quite in the middle"
    pads.axis(0, -1.0)
    pads.axis(5, 1.0)
    assert pads.read(0.1).tolist() == [-1, 1]
    pads.axis(2, 1.0)
    pads.axis(5, -1.0)
    assert pads.read(0.1).tolist() == [-1, -1]
    assert pads.button(7) is Command.PAUSE and pads.button(12) is None
    choices = Pads(Controls(ActionSpec("discrete", 3), {"a": 1, "d": 2}))
    seen = []
    for x in (-1, 1, 0):
        choices.cross(x, 0)
        seen.append((choices.read(0.1), choices.read(0.1))[1])
    assert seen == [1, 2, 0]


# ---------------------------------------------------------------------- the window


class Wall:
    """A clock that moves only when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_beat_is_kept_and_never_made_up_for() -> None:
    wall = Wall()
    pace, beats = Pace(10, wall, wall.sleep), []
    for work in [0.01] * 5 + [1.0] + [0.01] * 5:
        wall.now += work
        pace.wait()
        beats.append(wall.now)
    gaps = np.diff(beats)
    assert gaps[4] == pytest.approx(1.0) and np.delete(gaps, 4) == pytest.approx(0.1)


def test_a_slow_machine_leaves_out_drawings_but_not_all() -> None:
    wall = Wall()
    pace, drawn = Pace(10, wall, wall.sleep), []
    for _ in range(20):
        wall.now += 0.15
        drawn.append(pace.spare())
        pace.wait()
    assert 0 < sum(drawn) < 20 and all(any(drawn[i : i + DROPPED + 1]) for i in range(20 - DROPPED))


class Scripted(Screen):
    """A window whose events are posted at set beats of its clock."""

    def __init__(self, script: dict[int, list[Any]], **kwargs: Any) -> None:
        super().__init__("test", **kwargs)
        self.script, self.beat, self.seen = script, 0, []

    def read(self, pads: Pads) -> Iterator[Command]:
        for event in self.script.get(self.beat, []):
            pygame.event.post(event)
        self.beat += 1
        yield from super().read(pads)

    def draw(self, view: Any) -> None:
        super().draw(view)
        self.seen.append(view)


def down(key: int, text: str = "") -> Any:
    return pygame.event.Event(pygame.KEYDOWN, key=key, unicode=text)


def up(key: int) -> Any:
    return pygame.event.Event(pygame.KEYUP, key=key)


def test_a_person_drives_through_the_real_loop(world: Path, tmp_path: Path) -> None:
    steer = pygame.K_d if World.load(world).spec["action"]["type"] == "box" else pygame.K_2
    script = {
        0: [down(steer)],
        3: [up(steer), down(pygame.K_TAB), down(pygame.K_RIGHTBRACKET)],
        5: [down(pygame.K_SPACE)],
        6: [down(pygame.K_PERIOD)],
        7: [down(pygame.K_SPACE), down(pygame.K_b), down(pygame.K_h)],
        9: [down(pygame.K_F1), down(pygame.K_F12)],
        10: [down(pygame.K_BACKSPACE), up(pygame.K_BACKSPACE)],
        12: [down(pygame.K_ESCAPE)],
    }
    session = session_of(world, keeper=Keeper(tmp_path / "data"), hand=pilot_of(world, tmp_path / "agent"))
    with Scripted(script, height=160, folder=tmp_path) as screen:
        play(session, screen, 500.0, 99)
    session.close()
    assert screen.beat == 13 and session.closing, "Esc ended it"
    # beats 0 to 4 and 6 to 9 stepped, 5 was paused, 10 took one back and paused
    assert session.steps == 9 and len(session.deeds) == 8
    first = session.deeds[0].act
    assert first == 2 if session.action.type == "discrete" else (0 < first[0] <= 1 and first[1] == 0)
    assert [deed.human for deed in session.deeds] == [True] * 6 + [False] * 2
    assert session.now.side is Side.BOTH and len(screen.seen[-1].panels) == 2 and session.now.temperature == 1.1
    picture = cv2.imread(str(tmp_path / "play-1.png"))
    assert picture is not None and picture.shape[:2] == (160 + 5 * screen.line, 320)
    episode = read_episode(next((tmp_path / "data").glob("ep-*.npz")))
    assert len(episode) == 8 and episode.trunc[-1] and episode.meta["human_steps"] == 6


def test_the_window_shows_the_frames(counting: Path) -> None:
    session = session_of(counting, side=Side.BOTH)
    drive(session, deeds(session, 3))
    with Screen("test", 192) as screen:
        screen.draw(session.view())
        plain = screen.picture()
        for i, (panel, blur) in enumerate(zip(session.view().panels, (12, 1))):  # the dream is noise, made smooth
            shown = resize(np.ascontiguousarray(plain[:192, i * 192 : i * 192 + 192]), 48)
            assert np.abs(shown.astype(int) - panel.frame).mean() < blur
        screen.helping = True
        screen.draw(session.view())
        changed = np.abs(screen.picture().astype(int) - plain)[:192]
        assert changed[:, 192:].mean() > 5 and changed[:, :192].max() == 0
        assert plain[192:].max() > 200, "figures stand below"


def test_every_event_of_a_gamepad_is_heard() -> None:
    pads = box_pads()
    axis = pygame.event.Event(pygame.JOYAXISMOTION, axis=0, value=1.0)
    start = pygame.event.Event(pygame.JOYBUTTONDOWN, button=7)
    cross = pygame.event.Event(pygame.JOYHATMOTION, value=(0, 1))
    with Scripted({0: [axis, start, cross, pygame.event.Event(pygame.QUIT)]}, height=160) as screen:
        assert list(screen.read(pads)) == [Command.PAUSE, Command.QUIT]
    assert pads.read(1.0).tolist() == [1, 1]


def test_an_open_window_does_not_change_the_simulators_frames() -> None:
    def frames() -> list[np.ndarray]:
        env = make_real("CarRacing-v3", 64, 4)
        seen = [env.reset(seed=1)[0], *(env.step(np.array([0.2, 0.5]))[0] for _ in range(3))]
        env.close()
        return seen

    alone = frames()
    with Screen("test", 160) as screen:
        beside = frames()
        assert screen.picture().shape[0] > 160, "and the simulator leaves the window open"
    assert same(alone, beside)


# ---------------------------------------------------------------------- the command


def test_play(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_agent(world, tmp_path / "agent")
    data, few = tmp_path / "data", ["--steps", "6", "--fps", "500", "--height", "160"]
    more = ["--agent", str(tmp_path / "agent"), "--side", "both", "--record", str(data), "--seed", "3"]
    assert main(["play", str(world), *few, *more, "--json"]) == 0
    text = capsys.readouterr().out
    told = json.loads(text)
    taken = sum(header.real_frames for header in Dataset(data).episodes)
    assert text.count("\n") == 1 and told["recorded"] == [str(data / "ep-90-000003.npz")]
    assert told["real_frames"] == taken == 12 and told["steps"] == 6
    assert main(["play", str(world), *few]) == 0
    assert "6 steps, 0 simulator frames" in capsys.readouterr().out
    moved = shutil.copytree(tmp_path / "agent", tmp_path / "far" / "away" / "agent")
    assert main(["play", str(world), *few, "--agent", str(moved)]) == 0  # its world is the one that is played


def test_faults_of_play_are_told_in_one_line(
    tiny_world: Worlds, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere, box = str(tiny_world("discrete")), str(tiny_world("box"))
    make_agent(tiny_world("box"), tmp_path)
    for argv, said in (
        ([nowhere, "--side", "real"], "not to be had"),
        ([nowhere, "--agent", str(tmp_path)], "the agent gives"),
        ([box, "--fps", "0"], "give more than 0"),
        ([box, "--height", "10"], "pixels or more"),
        ([str(tmp_path / "none")], "is no world"),
    ):
        assert main(["play", *argv, "--steps", "1"]) == 1
        fault = capsys.readouterr().err
        assert said in fault and fault.startswith("gensim play: ") and fault.count("\n") == 1
