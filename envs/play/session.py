"""A drive as a value: commands and actions go in, what is to be shown comes out; there is no window in here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from gensim.envs.engine import Dream, Reason
from gensim.envs.play.command import Command
from gensim.envs.play.simulated import Simulated
from gensim.envs.play.tape import Keeper
from gensim.envs.play.view import BEGUN, Panel, Reading, Side, View
from gensim.envs.real import RealEnv
from gensim.envs.rollout import Rollout
from gensim.episodes.record import SEED_LIMIT
from gensim.world import State

UNDOABLE = 2048  # steps that can be taken back
REST = 12  # ticks after which an agent's next episode follows an end
TEMPERATURES = (0.1, 3.0)
HEAT = 0.1  # what one press of a key adds or takes


class Hand(Protocol):
    """An agent at the wheel, one row; `gensim.agents.Pilot` is one."""

    @property
    def latents(self) -> bool: ...

    def reset(self, seeds: np.ndarray) -> None: ...

    def act(self, obs: np.ndarray, last: np.ndarray | None) -> np.ndarray: ...

    def snapshot(self) -> Any: ...

    def restore(self, memory: Any) -> None: ...


class Deed(NamedTuple):
    """An action, float32 (k,) or an int64, and whether a person chose it."""

    act: Any
    human: bool


@dataclass(frozen=True)
class Moment:
    """All of a drive that a step changes; the ring of them is undo.

    Arguments:
        side: what is driven.
        temperature: of the dream.
        dream: the dream's rollout, None where it does not stand at this step.
        dreamed: the dream's reading.
        filtered: the world's state along the simulator's frames, None where no simulator runs.
        seen: the simulator's reading.
        memory: the agent's.
    """

    side: Side
    temperature: float
    dream: Rollout | None = None
    dreamed: Reading = BEGUN
    filtered: State | None = None
    seen: Reading = BEGUN
    memory: Any = None


class Session:
    """A person's or an agent's drive through a dream, its simulator, or both.

    Both sides have one past: the simulator's reset seed and the actions since. The simulator comes to the dream's
    place by doing them all; the dream comes to the simulator's by following its frames.

    Arguments:
        dream: one row of the world.
        simulate: makes the world's simulator, when it is first asked for; ValueError where there is none.
        hand: the agent, if there is one.
        keeper: keeps what a person drove in the simulator.
        side: what is driven first.
        seed: of the first episode.
        undoable: steps that can be taken back.
    """

    def __init__(
        self,
        dream: Dream,
        simulate: Callable[[], RealEnv],
        hand: Hand | None = None,
        keeper: Keeper | None = None,
        side: Side = Side.DREAM,
        seed: int = 0,
        undoable: int = UNDOABLE,
    ) -> None:
        self.dream, self.hand, self.keeper = dream, hand, keeper
        self.action, self.world = dream.controls.action, dream.world
        self._simulate = simulate
        self._simulated: Simulated | None = None
        self.past: deque[Moment] = deque(maxlen=undoable)
        self.now = Moment(side, dream.config.temperature)
        self.alone = Side.DREAM  # what one comes back to from both
        self.agent_drives = self.paused = self.single = self.closing = False
        self.note, self.steps, self.rest = "", 0, 0
        self.begin(seed)

    # ------------------------------------------------------------------ episodes

    def begin(self, seed: int, side: Side | None = None) -> None:
        """Opens the episode of a seed on a side; what a person drove before is kept."""
        self._check(seed)
        root = side or self.now.side
        if root is not Side.DREAM:
            _ = self.simulated  # where there is none, all stays as it is
        self.leave()
        self.root = root
        now = Moment(self.root, self.now.temperature)
        self.seed, self.origin, self.deeds, self.rest = seed, seed, list[Deed](), 0
        self.past.clear()
        if self._simulated is not None:
            self._simulated.tape = None
        self.now = self._dream_of_seed(now) if self.root is Side.DREAM else self._open(now)
        if self.root is Side.BOTH:
            self.now = self._meet(self.now)
        if self.hand is not None:
            self.hand.reset(self._key)
            self.now = replace(self.now, memory=self.hand.snapshot())

    def again(self) -> None:
        """Opens the same episode once more: where it began, seen from the side that is driven now."""
        side = self.now.side
        self.begin(self.seed, self.root)
        if side is not self.root:
            self.show(side)

    def leave(self) -> None:
        """Keeps the simulator's episode, if a person drove in it; one under way is truncated."""
        if self.keeper is not None and self._simulated is not None and self._simulated.tape is not None:
            self.keeper.keep(self._simulated.tape)

    def close(self) -> None:
        """Keeps what is under way, brings the meter up to date and closes the simulator."""
        try:
            self.leave()
            if self._simulated is not None and self.keeper is not None:
                self.keeper.close(self._simulated.taken)
        finally:
            if self._simulated is not None:
                self._simulated.env.close()

    @property
    def simulated(self) -> Simulated:
        """The simulator, made when it is first asked for; ValueError where there is none."""
        if self._simulated is None:
            env = self._simulate()
            try:
                if self.keeper is not None:
                    self.keeper.open(env.spec_dict)
            except BaseException:
                env.close()
                raise
            self._simulated = Simulated(env)
        return self._simulated

    @property
    def real_frames(self) -> int:
        """Simulator frames taken, without those that replays saw again."""
        return 0 if self._simulated is None else self._simulated.taken

    @property
    def over(self) -> bool:
        """Whether all that is driven has ended."""
        ends = {Side.DREAM: [self._awake], Side.REAL: [self._parked], Side.BOTH: [self._awake, self._parked]}
        return all(ends[self.now.side])

    # ------------------------------------------------------------------ steps

    def tick(self, act: Any) -> bool:
        """One beat of the clock under a person's action; whether there was a step."""
        if self.over:
            self._rest()
        due = (self.single or not self.paused) and not self.over
        self.single = False
        if due:
            self.step(act)
        return due

    def step(self, act: Any) -> None:
        """One step of what is driven: under a person's action, or under the agent's own."""
        own = self._asked()
        human = own is None or not self.agent_drives
        self.past.append(self.now)
        kind = np.float32 if self.action.type == "box" else np.int64
        self.deeds.append(Deed(np.array(act if human else own, kind)[()], human))
        now = replace(self.now, dream=None) if self.now.side is Side.REAL else self._dream_on(self.now)
        if now.side is not Side.DREAM:
            now = self._drive_on(now)
        self.now = now if self.hand is None else replace(now, memory=self.hand.snapshot())
        self.steps += 1

    def undo(self) -> None:
        """Takes back a step, bit for bit, and pauses; ValueError where there is none left."""
        if not self.past:
            raise ValueError("there is nothing to undo: this is the first step that is remembered")
        self.now = self.past.pop()
        self.deeds.pop()
        self.paused, self.rest = True, 0
        if self._simulated is not None and self._simulated.tape is not None:
            self._simulated.cut(self.now.seen.step if self.now.filtered is not None else 0)
            if self.now.filtered is None:
                self.leave()
                self._simulated.tape = None
        if self.hand is not None:
            self.hand.restore(self.now.memory)

    # ------------------------------------------------------------------ commands

    def command(self, wish: Command) -> None:
        """Does what a person asks for; what cannot be done is said in the note."""
        self.note = ""
        try:
            self._obey(wish)
        except (ValueError, FileNotFoundError) as fault:
            self.note = str(fault)

    def pause(self) -> None:
        """Stops the clock, or lets it go on."""
        self.paused = not self.paused

    def single_step(self) -> None:
        """Stops the clock after the next step."""
        self.paused = self.single = True

    def quit(self) -> None:
        """Asks whoever runs the clock to stop."""
        self.closing = True

    def show(self, side: Side) -> None:
        """Drives another side from the same place, or both; ValueError where that cannot be."""
        if side is not Side.DREAM and self.origin is None:
            self.note = "this dream's start knows no seed of the simulator: it begins anew"
            return self.begin(self.seed, side)
        now = self.now if side is Side.DREAM else self._arrive(self.now)
        if side is not Side.REAL and now.dream is None:
            now = self._meet(now)
        self.now, self.rest = replace(now, side=side), 0

    def compare(self) -> None:
        """Drives both sides, or again the one of before."""
        if self.now.side is Side.BOTH:
            return self.show(self.alone)
        alone = self.now.side
        self.show(Side.BOTH)
        self.alone = alone

    def meet(self) -> None:
        """The dream goes on from the simulator's newest frame; ValueError where that cannot be."""
        if self.origin is None:
            raise ValueError("this dream's start knows no seed of the simulator")
        self.now = self._arrive(self.now)
        self.now = self._meet(self.now)

    def hand_over(self) -> None:
        """Who drove lets the other drive."""
        if self.hand is None:
            raise ValueError("there is no agent: start with --agent FOLDER")
        self.agent_drives, self.rest = not self.agent_drives, 0

    def heat(self, change: float) -> None:
        """Changes the dream's temperature from here on."""
        now, (low, high) = self.now, TEMPERATURES
        temperature = round(min(max(now.temperature + change, low), high), 3)
        dream = now.dream and replace(now.dream, state=_heated(now.dream.state, temperature))
        self.now = replace(now, temperature=temperature, dream=dream)

    def view(self) -> View:
        """What is to be shown now; the dream is decoded here and not before."""
        now, panels = self.now, []
        if now.side is not Side.REAL and now.dream is not None:
            panels.append(Panel(Side.DREAM, self.world.decode(now.dream.state)[0], now.dreamed))
        if now.side is not Side.DREAM:
            panels.append(Panel(Side.REAL, self.simulated.now.frame, now.seen))
        return View(
            panels=tuple(panels),
            act=self.deeds[-1].act if self.deeds else None,
            who="agent" if self.agent_drives else "you",
            seed=self.seed,
            temperature=now.temperature,
            paused=self.paused,
            over=self.over,
            note=self.note,
            kept=None if self.keeper is None else len(self.keeper.kept),
        )

    # ------------------------------------------------------------------ parts

    def _obey(self, wish: Command) -> None:
        does: dict[Command, Callable[[], None]] = {
            Command.PAUSE: self.pause,
            Command.STEP: self.single_step,
            Command.UNDO: self.undo,
            Command.RESET: self.again,
            Command.NEXT: lambda: self.begin(self.seed + 1),
            Command.SWAP: lambda: self.show(Side.REAL if self.now.side is Side.DREAM else Side.DREAM),
            Command.BOTH: self.compare,
            Command.MEET: self.meet,
            Command.DRIVER: self.hand_over,
            Command.HOTTER: lambda: self.heat(HEAT),
            Command.COLDER: lambda: self.heat(-HEAT),
            Command.QUIT: self.quit,
        }
        if wish in does:  # the others are the window's
            does[wish]()

    def _check(self, seed: int) -> None:
        limit = SEED_LIMIT if self.keeper is not None else 2**32
        if not 0 <= seed < limit:
            why = ": what is recorded keeps clear of the scores' seeds" if self.keeper is not None else ""
            raise ValueError(f"seed {seed} is not in 0..{limit - 1}{why}")

    def _rest(self) -> None:
        """An agent's next episode follows an end by itself; a person asks for it."""
        if self.agent_drives and not self.paused:
            self.rest += 1
            if self.rest >= REST:
                self.begin(self.seed + 1)

    def _asked(self) -> Any:
        """What the agent would do; it is asked while a person drives too, so that its memory has no hole."""
        if self.hand is None:
            return None
        last = np.asarray(self.deeds[-1].act)[None] if self.deeds else None
        return self.hand.act(self._sight(), last)[0]

    def _sight(self) -> np.ndarray:
        """What the agent is shown: the simulator's side where that goes on, else the dream's."""
        now = self.now
        real = now.side is not Side.DREAM and (now.side is Side.REAL or not self._parked)
        if self.hand is not None and self.hand.latents:
            return self.world.latent(_there(now.filtered) if real else _there(now.dream).state)
        return self.simulated.now.frame[None] if real else self.world.decode(_there(now.dream).state)

    def _dream_of_seed(self, now: Moment) -> Moment:
        """The dream of a seed, from the start that it draws; where that came from is known to its world."""
        self.dream.reset(self.seed, 0, {"temperature": now.temperature})
        start = int(self.dream.now.state.start[0])
        self.origin = self.world.starts.provenance(start)["seed"]
        return replace(now, dream=self.dream.snapshot())

    def _dream_on(self, now: Moment) -> Moment:
        """The moment after the newest action, in the dream."""
        if self._awake:
            return now
        self.dream.restore(_there(now.dream))
        out = self.dream.step(self.dream.controls.read(np.asarray(self.deeds[-1].act)[None], 1))
        term, reason = bool(out.term[0]), Reason(int(out.reason[0]))
        reading = Reading(
            step=len(self.deeds),
            rew=float(out.rew[0]),
            returns=float(self.dream.now.returns[0]),
            trust=float(out.trust[0]),
            log_prob=float(out.log_prob[0]),
            end="terminated" if term else "truncated" if reason else "",
        )
        return replace(now, dream=self.dream.snapshot(), dreamed=reading)

    def _open(self, now: Moment) -> Moment:
        """The moment with the simulator's episode begun."""
        tape = self.simulated.open(_there(self.origin))
        return replace(now, filtered=self.world.first(tape.frame[None], self._key), seen=BEGUN)

    def _arrive(self, now: Moment) -> Moment:
        """The moment with the simulator at the newest action, begun where it was not."""
        return self._drive_on(self._open(now) if now.filtered is None else now)

    def _drive_on(self, now: Moment) -> Moment:
        """The moment after all actions that the simulator has not done yet, as far as its episode goes."""
        simulated = self.simulated
        if not simulated.back():
            self.note = "this simulator does not repeat itself: undo changed what had been"
        for deed in self.deeds[len(simulated.now) :]:
            if not simulated.now.ended:
                now = self._drive(now, deed)
        if simulated.now.ended:
            self.leave()
        return now

    def _drive(self, now: Moment, deed: Deed) -> Moment:
        take = self.simulated.step(deed.act, deed.human)
        act, frame = self.action.encode(deed.act)[None], self.simulated.now.frame[None]
        filtered, step = self.world.observe(_there(now.filtered), act, frame)
        seen = Reading(
            step=now.seen.step + 1,
            rew=take.rew,
            returns=now.seen.returns + take.rew,
            trust=float(step.trust[0]),
            log_prob=float(step.log_p[0]),
            end="terminated" if take.term else "truncated" if take.trunc else "",
        )
        return replace(now, filtered=filtered, seen=seen)

    def _meet(self, now: Moment) -> Moment:
        """The moment with the dream at the simulator's newest frame: its horizon begins there."""
        if self._parked:
            raise ValueError("the simulator's episode has ended: there is nothing to dream on from")
        rollout = Rollout.begun(self.world.hash, _heated(_there(now.filtered), now.temperature), self._key)
        rollout = replace(rollout, returns=np.array([now.seen.returns]))
        return replace(now, dream=rollout, dreamed=replace(now.seen, end=""))

    @property
    def _key(self) -> np.ndarray:
        return np.array([self.seed], np.uint64)

    @property
    def _awake(self) -> bool:
        """Whether the dream has ended."""
        return self.now.dream is not None and bool(self.now.dream.done[0])

    @property
    def _parked(self) -> bool:
        """Whether the simulator's episode has ended."""
        tape = None if self._simulated is None else self._simulated.tape
        return tape is not None and tape.ended


def _heated(state: State, temperature: float) -> State:
    """A copy of a state that dreams on at another temperature."""
    return replace(state.copy(), temperature=torch.full((len(state),), temperature))


def _there(value: Any) -> Any:
    """What cannot be absent here."""
    if value is None:
        raise ValueError("this side of the drive was not begun")
    return value
