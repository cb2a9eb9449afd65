"""A simulator that can be taken back: its seed and its actions bring it to any step again."""

from __future__ import annotations

from typing import Any

from gensim.core.frames import encode
from gensim.envs.play.tape import Take, Tape
from gensim.envs.real import RealEnv


class Simulated:
    """An episode of a real simulator, on tape.

    Taking steps back is free: only the tape is cut. The simulator is brought there when it is to go on.

    Arguments:
        env: the simulator.
    """

    def __init__(self, env: RealEnv) -> None:
        self.env = env
        self.tape: Tape | None = None
        self.stands = 0  # steps since the reset that the simulator has really made
        self.taken = 0  # simulator frames, without those that replays saw again

    @property
    def now(self) -> Tape:
        """The tape; ValueError before an episode was opened."""
        if self.tape is None:
            raise ValueError("the simulator has no episode under way: open one")
        return self.tape

    def open(self, seed: int) -> Tape:
        """Begins the episode of a reset seed, on a new tape."""
        frame, _ = self.env.reset(seed=seed)
        self.tape, self.stands = Tape(seed, encode(frame)), 0
        return self.tape

    def step(self, act: Any, human: bool) -> Take:
        """One more step; the simulator stands at the end of the tape, as `back` leaves it."""
        frame, rew, term, trunc, info = self.env.step(act)
        take = Take(act, human, encode(frame), rew, term, trunc, info["real_frames"])
        self.now.add(take)
        self.stands += 1
        self.taken += take.real_frames
        return take

    def cut(self, steps: int) -> None:
        """Takes back all but the first steps."""
        self.now.cut(steps)

    def back(self) -> bool:
        """Brings the simulator to the end of the tape; whether it came to the frame that is there.

        A simulator that does not repeat itself leaves on the tape what it did this time.
        """
        old, taken = self.now, self.taken
        if self.stands == len(old):
            return True
        try:
            again = self.open(old.seed)
            for take in old.takes:
                if not again.ended:
                    self.step(take.act, take.human)
        except BaseException:
            self.tape, self.stands = old, -1  # nobody knows where the simulator stands
            raise
        finally:
            self.taken = taken
        if (len(again), again.first, again.last) == (len(old), old.first, old.last):
            self.tape = old
            return True
        again.name = old.name
        return False
