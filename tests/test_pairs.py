"""The list of pairs: as large and as mixed as the benchmark asks, and every name in it is known."""

from __future__ import annotations

from collections import Counter

import pytest

from gensim.ood.changes import CHANGES, STREAMS
from gensim.ood.pairs import CHOOSING, PAIRS, REPORTING, SEEDS, SOURCES, Pair, source, usual
from gensim.ood.shifts import SHIFTS

FAMILIES = {one.family for one in SOURCES}


def test_there_are_enough_pairs_of_enough_families_and_kinds() -> None:
    assert len({pair.name for pair in PAIRS}) == len(PAIRS) >= 48
    assert len({pair.family for pair in PAIRS}) >= 7
    assert sum(pair.trap for pair in PAIRS) >= 8
    assert {pair.kind for pair in PAIRS} == {"environment", "simple", "camera", "weather", "time", "dynamics"}
    assert {pair.outside for pair in PAIRS} >= {"carracing-friction", "carracing-power", "carracing-late", "frozen"}


def test_half_of_the_families_are_for_choosing_and_both_halves_have_all_there_is() -> None:
    assert not {*CHOOSING} & {*REPORTING}
    assert {*CHOOSING} | {*REPORTING} == FAMILIES
    assert len(CHOOSING) == len(REPORTING)
    for part in ("choosing", "reporting"):
        some = [pair for pair in PAIRS if pair.part == part]
        assert len(some) >= 24 and sum(pair.trap for pair in some) >= 4
        assert {pair.kind for pair in some} == {"environment", "simple", "camera", "weather", "time", "dynamics"}


def test_every_name_is_known_and_of_its_kind() -> None:
    fitted = {one.name for one in usual()}
    for pair in PAIRS:
        assert pair.inside in fitted, pair
        if pair.kind in ("environment", "dynamics"):
            other = source(pair.outside)
            assert (other.change is not None) == (pair.kind == "dynamics"), pair
        elif pair.kind == "time":
            assert pair.outside in STREAMS, pair
            assert (
                pair.outside != "late" or source(pair.inside).agent is None
            )  # exact only where frames are not acted on
        else:
            assert SHIFTS[pair.outside].kind == pair.kind, pair
    assert {one.change for one in SOURCES} - {None} <= {*CHANGES}


def test_every_source_and_every_shift_is_used() -> None:
    used = {pair.outside for pair in PAIRS} | {pair.inside for pair in PAIRS}
    assert {one.name for one in SOURCES} <= used
    assert {*SHIFTS} <= used


def test_every_family_has_one_source_of_usual_frames() -> None:
    assert Counter(one.family for one in usual()) == Counter(FAMILIES)
    assert len({one.name for one in SOURCES}) == len(SOURCES)


def test_a_camera_is_measured_at_five_strengths() -> None:
    assert all(len(pair.strengths) == 5 for pair in PAIRS if pair.kind in ("camera", "weather", "time"))


def test_recorded_parts_have_seeds_of_their_own_below_those_of_scores() -> None:
    begins = sorted(SEEDS.values())
    assert all(b - a >= 50_000 for a, b in zip(begins, begins[1:])) and begins[-1] + 50_000 < 1_000_000


def test_an_unknown_source_is_an_error_that_lists_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"no source 'moon'.*carracing"):
        source("moon")
    assert Pair("carracing", "fog", "weather").name == "carracing/fog"
