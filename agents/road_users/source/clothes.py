"""Clothes, hair and skin: which faces of the helper meshes a person wears, and in which colours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gensim.agents.road_users.person import Person
from gensim.agents.road_users.source.body import Bodies

SKIN, TOP, BOTTOM, SHOES, HAIR = range(5)
# Anchors of the Monk Skin Tone Scale, lightest to darkest, as its author publishes them.
TONES = np.array(
    [
        (246, 237, 228), (243, 231, 219), (247, 234, 208), (234, 218, 186), (215, 189, 150),
        (160, 126, 86), (130, 92, 67), (96, 65, 52), (58, 49, 42), (41, 36, 32),
    ]
)  # fmt: skip
HAIRS = np.array([(20, 16, 14), (45, 30, 22), (90, 60, 36), (150, 110, 62), (196, 160, 104), (120, 50, 24)])
SHOE_COLOURS = np.array([(30, 30, 32), (70, 48, 34), (225, 225, 222), (150, 40, 40), (60, 70, 100), (120, 120, 118)])
PATTERNS = ("plain", "stripes", "band", "halves")
GREY = np.array((190, 190, 188))
LONG, SHORT = ("lowerarm01", "lowerarm02", "wrist"), ("upperarm01", "upperarm02", "shoulder01", "clavicle")
TORSO = ("spine01", "spine02", "spine03", "spine04", "neck01")
HIPS, THIGHS, SHINS = ("spine05", "pelvis", "root"), ("upperleg01", "upperleg02"), ("lowerleg01", "lowerleg02")
WAIST, COAT = 0.06, -0.33  # metres over the template's root: where a shirt ends, and a coat


@dataclass(frozen=True)
class Look:
    """What an identity decides: colours and patterns that no attribute names, and how loosely somebody walks."""

    hair: np.ndarray
    shoes: np.ndarray
    pattern: str
    second: np.ndarray
    looseness: float
    bareness: float

    @classmethod
    def drawn(cls, age: float, rng: np.random.Generator) -> Look:
        """Somebody's own look; hair greys with age."""
        grey = np.clip(rng.normal((age - 58) / 14, 0.5), 0, 1)
        hair = HAIRS[rng.choice(len(HAIRS), p=(0.34, 0.26, 0.18, 0.1, 0.06, 0.06))]
        return cls(
            hair=hair * (1 - grey) + GREY * grey,
            shoes=SHOE_COLOURS[rng.choice(len(SHOE_COLOURS), p=(0.36, 0.2, 0.2, 0.06, 0.1, 0.08))],
            pattern=PATTERNS[rng.choice(len(PATTERNS), p=(0.55, 0.2, 0.15, 0.1))],
            second=rng.integers(20, 236, 3),
            looseness=float(rng.random()),
            bareness=float(rng.random()),
        )


class Wardrobe:
    """Dresses bodies."""

    def __init__(self, bodies: Bodies) -> None:
        self.template, faces = bodies.template, bodies.faces
        bone = np.array([name.split(".")[0] for name in bodies.bone])
        self.of = {name: bone[group[:, 0]] for name, group in faces.items()}  # each face's bone
        self.at = {name: self.template[group].mean(1) for name, group in faces.items()}  # each face's place
        self.faces = faces
        up = self.at["body"]
        face = np.isin(self.of["body"], ("head", "neck03"))
        back = up[:, 1] > -0.075 + 0.12 * np.clip(0.70 - up[:, 2], 0, 1)  # behind the temples
        self.scalp = face & (up[:, 2] > 0.655) & (back | (up[:, 2] > 0.765))
        self.low = face & (up[:, 2] > 0.585) & (up[:, 1] > -0.03) & (up[:, 2] <= 0.655)  # the nape
        self.hand = np.isin(self.of["body"], ("wrist",)) | np.char.startswith(self.of["body"], ("finger"))
        self.hand |= np.char.startswith(self.of["body"], "metacarpal")

    def dressed(self, person: Person, look: Look) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Faces (f, 3) of somebody dressed, their colours (f, 3) 0..255, and what they are (f,): skin, top, ..."""
        parts = [*self._body(person, look), *self._garments(person, look), *self._hair(person, look)]
        faces, colours, kinds = (np.concatenate(list(some)) for some in zip(*parts))
        return faces, colours.astype(np.float32), kinds

    def _body(self, person: Person, look: Look) -> list[tuple[np.ndarray, ...]]:
        of, tone = self.of["body"], skin_tone(person.skin)
        bare = ~np.isin(of, (*TORSO[:-1], *HIPS, "foot", "toe1-1")) & ~np.char.startswith(of, "toe")
        hair = (self.scalp | self.low) & (person.hair != "bald")
        colour = np.where(hair[:, None], look.hair, tone)
        kind = np.where(hair, HAIR, SKIN)
        return [(self.faces["body"][bare], colour[bare], kind[bare])]

    def _garments(self, person: Person, look: Look) -> list[tuple[np.ndarray, ...]]:
        of, at = self.of["helper-tights"], self.at["helper-tights"]
        shoes = np.isin(of, ("foot",)) | np.char.startswith(of, "toe")
        top, legs, hem = self._top(person), np.isin(of, (*HIPS, *THIGHS, *SHINS)), self._hem(person, look)
        under = legs & (at[:, 2] > hem)  # of the skirt's colour, should it show
        ends = {"trousers": -np.inf, "shorts": -0.34, "skirt": np.inf}[person.bottom]
        patterned, plain = self._patterned(person, look, at), np.array(person.bottom_colour)
        worn = [(SHOES, shoes, look.shoes), (TOP, top, patterned)]
        worn += [(BOTTOM, legs & ~top & ~under & (at[:, 2] > ends), plain)]
        worn += [(BOTTOM, under & ~top, plain) if self._plain(person) else (TOP, under & ~top, patterned)]
        found = [self._some("helper-tights", where, colour, kind) for kind, where, colour in worn]
        if not np.isfinite(hem):
            return found
        skirt = self.at["helper-skirt"]
        over = (plain, BOTTOM) if self._plain(person) else (self._patterned(person, look, skirt), TOP)
        return [*found, self._some("helper-skirt", skirt[:, 2] > hem, *over)]

    def _plain(self, person: Person) -> bool:
        return person.top not in ("coat", "dress")

    def _hem(self, person: Person, look: Look) -> float:
        """Metres over the template's root down to which a skirt, a dress or a coat goes; infinite without one."""
        if person.top == "coat":
            return COAT
        if person.top == "dress":
            return -0.48 + 0.14 * look.bareness
        return -0.52 + 0.2 * look.bareness if person.bottom == "skirt" else np.inf

    def _top(self, person: Person) -> np.ndarray:
        of, at = self.of["helper-tights"], self.at["helper-tights"]
        short = person.top in ("t-shirt", "dress")
        sleeves = ("upperarm01", "shoulder01", "clavicle") if short else (*SHORT, *LONG)
        covered = np.isin(of, (*TORSO[: -1 if short else None], *sleeves))
        if person.top == "t-shirt":
            covered |= np.isin(of, ("upperarm02",)) & (np.abs(at[:, 0]) < 0.27)
        return covered & ((at[:, 2] > WAIST) | np.isin(of, sleeves))

    def _hair(self, person: Person, look: Look) -> list[tuple[np.ndarray, ...]]:
        if person.hair != "long":
            return []
        long = self.at["helper-hair"][:, 2] > 0.30 + 0.16 * look.bareness
        return [self._some("helper-hair", long, look.hair, HAIR)]

    def _patterned(self, person: Person, look: Look, at: np.ndarray) -> np.ndarray:
        """The top's colours (f, 3) at places (f, 3)."""
        first = np.array(person.top_colour, float)
        second = 0.5 * first + 0.5 * look.second
        where = {
            "plain": np.zeros(len(at), bool),
            "stripes": (at[:, 2] / 0.10) % 1 < 0.5,
            "band": (at[:, 2] > 0.22) & (at[:, 2] < 0.34),
            "halves": at[:, 2] < 0.20,
        }[look.pattern]
        return np.where(where[:, None], second, first)

    def _some(self, group: str, where: np.ndarray, colour: np.ndarray, kind: int) -> tuple[np.ndarray, ...]:
        colour = np.broadcast_to(colour, (len(where), 3))[where]
        return self.faces[group][where], colour, np.full(len(colour), kind)


def skin_tone(tone: float) -> np.ndarray:
    """Red, green and blue, 0..255, of a tone 1 to 10."""
    return np.array([np.interp(tone, np.arange(1, 11), TONES[:, i]) for i in range(3)])
