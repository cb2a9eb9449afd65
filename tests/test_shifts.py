"""Shifts of frames and changes of dynamics: none at strength 0, more at each strength, the same bytes for a key."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import simulators  # noqa: F401  (registers the simulators)
from gymnasium.envs.box2d import car_dynamics
from hypothesis import given, settings
from hypothesis import strategies as st

from gensim.core.seeds import uniform
from gensim.envs.real import make_real
from gensim.ood.changes import CHANGES, STREAMS, Shutter, Spell, changed, restreamed
from gensim.ood.shifts import SHIFTS, grade, shifted

GRADED = [name for name, shift in SHIFTS.items() if shift.kind != "simple"]
PLAIN = [name for name, shift in SHIFTS.items() if shift.kind == "simple"]


def scene(n: int = 3, size: int = 48) -> np.ndarray:
    """Frames with ground, a road and a thing that moves, uint8 (n, size, size, 3)."""
    frames = np.empty((n, size, size, 3), np.uint8)
    frames[:] = (60, 150, 70)
    frames[:, :, size // 3 : size // 2] = (105, 105, 105)
    frames[:, : size // 4] = (120, 170, 220)
    grain = uniform(np.arange(n, dtype=np.uint64), 0, np.zeros(n, np.int64), size * size).reshape(n, size, size, 1)
    frames = np.clip(frames + np.rint(6 * grain - 3), 0, 255).astype(np.uint8)
    for i in range(n):
        frames[i, 20 + i : 28 + i, 18:24] = (200, 40, 40)
    return frames


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """Root mean square difference in levels."""
    return float(np.sqrt(((a.astype(float) - b) ** 2).mean()))


@pytest.mark.parametrize("name", GRADED)
def test_a_shift_is_nothing_at_0_visible_at_3_and_grows(name: str) -> None:
    frames = scene(4)
    far = [np.mean([apart(frames, shifted(frames, name, s, key)) for key in range(6)]) for s in range(6)]
    assert far[0] == 0
    assert far[3] > 5, far  # under 35 dB
    assert far[1] < far[3] < far[5], far


@pytest.mark.parametrize("name", PLAIN)
def test_plain_pictures_are_plainer_than_their_frames(name: str) -> None:
    frames = scene(2, 64)
    plain = shifted(frames, name)
    assert plain.shape == frames.shape and plain.dtype == np.uint8
    assert np.abs(np.diff(plain.astype(int), axis=1)).mean() < np.abs(np.diff(frames.astype(int), axis=1)).mean()


def test_flat_is_the_commonest_colour() -> None:
    frames = np.zeros((1, 32, 32, 3), np.uint8)
    frames[:, :20] = (1, 2, 250)
    assert (shifted(frames, "flat") == [1, 2, 250]).all()


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(sorted(SHIFTS)),
    strength=st.floats(0, 5),
    key=st.integers(0, 2**40),
    cut=st.integers(1, 3),
)
def test_a_frame_does_not_feel_its_neighbours_in_a_batch(name: str, strength: float, key: int, cut: int) -> None:
    frames, kept = scene(4), np.random.get_state()[1].copy()  # type: ignore[index]
    whole = shifted(frames, name, strength, key)
    parts = [shifted(frames[:cut], name, strength, key), shifted(frames[cut:], name, strength, key, start=cut)]
    assert whole.shape == frames.shape and whole.dtype == np.uint8
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    np.testing.assert_array_equal(kept, np.random.get_state()[1])  # type: ignore[index]


@pytest.mark.parametrize("name", ["noise", "salt", "rain", "snow"])
def test_what_moves_differs_from_frame_to_frame(name: str) -> None:
    still = np.repeat(scene(1), 2, 0)
    a, b = shifted(still, name, 4)
    assert (a != b).any()


@pytest.mark.parametrize("name", ["occlusion", "dead", "lines", "tint", "tilt", "fog", "sun", "motion"])
def test_what_is_fixed_is_the_same_in_every_frame_and_differs_by_key(name: str) -> None:
    still = np.repeat(scene(1), 2, 0)
    a, b = shifted(still, name, 4)
    np.testing.assert_array_equal(a, b)
    assert len({shifted(still[:1], name, 4, key).tobytes() for key in range(8)}) > 1


def test_errors_say_what_there_is() -> None:
    with pytest.raises(ValueError, match="no shift 'haze'"):
        shifted(scene(), "haze")
    with pytest.raises(ValueError, match="0 to 5"):
        shifted(scene(), "fog", 6)
    with pytest.raises(ValueError, match="uint8"):
        shifted(scene().astype(np.float32), "fog")
    with pytest.raises(ValueError, match="no change 'fog' of what was recorded"):
        restreamed(scene(), np.zeros(2), "fog")
    with pytest.raises(ValueError, match="one less than frames"):
        restreamed(scene(), np.zeros(5), "frozen")
    with pytest.raises(ValueError, match="no change 'wind'"):
        changed(gym.make("simulators:test/Counting-v0"), "wind")


def test_grades_are_linear_between_strengths() -> None:
    assert [grade(s, 0, 10, 30) for s in (0, 0.5, 1, 1.5, 2, 5)] == [0, 5, 10, 20, 30, 30]


# -------------------------------------------------------------------- streams


@settings(max_examples=20, deadline=None)
@given(name=st.sampled_from(("frozen", "dropped")), strength=st.floats(0, 5), key=st.integers(0, 10_000))
def test_a_bad_camera_shows_only_earlier_frames_in_order(name: str, strength: float, key: int) -> None:
    frames = np.arange(80, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    acts = np.arange(79)
    shown, told = restreamed(frames, acts, name, strength, key)
    at = shown[:, 0, 0, 0].astype(int)
    assert len(at) == 80 and at[0] == 0 and (at <= np.arange(80)).all() and (np.diff(at) >= 0).all()
    stale = at != np.arange(80)
    assert (at[1:][stale[1:]] == at[:-1][stale[1:]]).all()  # a stale frame is the one before it
    np.testing.assert_array_equal(told, acts)
    assert strength > 0 or not stale.any()


def test_cameras_get_worse_with_strength() -> None:
    for name in ("frozen", "dropped"):
        stale = []
        for strength in range(6):
            shutter = Shutter(name, strength, 1)
            stale.append(np.mean([not shutter.fresh() for _ in range(4000)]))
        assert stale[0] == 0 and all(a < b for a, b in zip(stale, stale[1:])), stale


def test_late_actions_as_recorded_are_as_they_would_have_been_executed() -> None:
    class Remembers(gym.Env[np.ndarray, Any]):
        observation_space = gym.spaces.Box(0, 255, (2, 2, 3), np.uint8)
        action_space = gym.spaces.Discrete(100)

        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
            return np.zeros((2, 2, 3), np.uint8), {}

        def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
            return np.full((2, 2, 3), action, np.uint8), 0.0, False, False, {}

    env, acts = changed(Remembers(), "late", 3), np.arange(10, 30)
    frames = np.stack([env.reset(seed=0)[0], *(env.step(act)[0] for act in acts)])
    plain = Remembers()
    alone = np.stack([plain.reset()[0], *(plain.step(act)[0] for act in acts)])
    late, told = restreamed(alone, acts, "late", 3)
    np.testing.assert_array_equal(frames[4:, 0, 0, 0], acts[:-3])  # three later than given
    assert (frames[1:4] == acts[0]).all()  # the first one is held until then
    # in what was recorded, the action told beside a frame is the one whose effect comes three frames later
    assert all((late[i + 1 + 3] == told[i]).all() for i in range(len(told) - 3))


# -------------------------------------------------------------------- simulators


@pytest.mark.parametrize("name", [*CHANGES, "fog", "dead"])
def test_changes_set_in_where_they_should_and_leave_the_rest_alone(name: str) -> None:
    act = np.array([0.3, 1.0], np.float32)

    def drive(env: Any, n: int = 14) -> list[np.ndarray]:
        frames = [env.reset(seed=3)[0]]
        for i in range(n):
            frames.append(env.step(act if i < 8 else -act)[0])
        return frames

    key = next(k for k in range(99) if not all(Shutter("frozen", 5, (k << 32) + 3).fresh() for _ in range(8)))
    usual = make_real("CarRacing-v3")
    odd = changed(make_real("CarRacing-v3"), name, 5, Spell(begin=6, key=key))
    a, b = drive(usual), drive(odd)
    for i in range(6):
        np.testing.assert_array_equal(a[i], b[i])
    assert any((x != y).any() for x, y in zip(a[6:], b[6:]))
    for x, y in zip(b, drive(odd)):
        np.testing.assert_array_equal(x, y)  # again from the same seed
    for x, y in zip(a, drive(usual)):
        np.testing.assert_array_equal(x, y)  # another car of this process does not feel it
    assert odd.spec_dict == usual.spec_dict


def test_physics_is_left_as_it_was_even_after_an_error() -> None:
    before = car_dynamics.FRICTION_LIMIT, car_dynamics.ENGINE_POWER
    env = changed(make_real("CarRacing-v3"), "friction", 3)
    env.reset(seed=0)
    with pytest.raises(ValueError):
        env.step(np.zeros(7))
    assert before == (car_dynamics.FRICTION_LIMIT, car_dynamics.ENGINE_POWER)


def test_a_spell_ends() -> None:
    env = changed(gym.make("simulators:test/Counting-v0", length=50), "flat", 3, Spell(2, steps=3))
    usual = gym.make("simulators:test/Counting-v0", length=50)
    env.reset(seed=1)
    usual.reset(seed=1)
    act = usual.action_space.sample()
    with pytest.raises(ValueError, match="at least one step"):
        Spell(2, steps=0)
    for i in range(1, 8):
        assert Spell(2, steps=3).holds(i) == (i in (2, 3, 4))
        env.step(act)
        usual.step(act)
    assert [name for name in STREAMS if name not in CHANGES] == []


@pytest.mark.parametrize("strength", [0.0, 5e-324, 1e-9, 1e-3])
def test_hardly_any_blur_is_none(strength: float) -> None:
    np.testing.assert_array_equal(shifted(scene(2), "blur", strength), scene(2))
