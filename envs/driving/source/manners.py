"""How somebody drives, from careful to reckless; neither MetaDrive nor gensim is needed to read it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Manner:
    """How somebody drives.

    Arguments:
        speed: km/h on a free road.
        headway: seconds kept to who is in front.
        gap: metres kept to who stands in front.
        tremble: standard deviation of what is added to steering and pedal, which wanders over a second.
        lapse: probability in each step that for up to 1.5 s something else is done.
        blind: whether people on the road are not braked for.
    """

    speed: float
    headway: float
    gap: float
    tremble: float
    lapse: float
    blind: bool = False


MANNERS = {
    "careful": Manner(25.0, 1.8, 10.0, 0.03, 0.0),
    "usual": Manner(35.0, 1.5, 8.0, 0.06, 0.004),
    "hurried": Manner(50.0, 0.9, 5.0, 0.08, 0.008),
    "reckless": Manner(70.0, 0.4, 2.0, 0.12, 0.02, blind=True),
    "erratic": Manner(35.0, 0.8, 4.0, 0.35, 0.08, blind=True),
}
