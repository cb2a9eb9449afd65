"""Settings that must be equal for stopped work to go on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gensim.core.settings import differing

SETTINGS = st.dictionaries(st.sampled_from("abcd"), st.sampled_from([None, False, 0, 1, 2.5, "x"]))


@given(SETTINGS, SETTINGS)
def test_work_goes_on_if_nothing_that_was_on_differs(its: dict[str, object], mine: dict[str, object]) -> None:
    known = {name: mine.get(name) for name in its} == its
    off = not any(value for name, value in mine.items() if name not in its)
    assert (not differing(its, mine)) == (known and off)
    assert not differing(mine, mine) and not differing({}, dict.fromkeys(mine, False))


def test_what_differs_is_named_with_both_values() -> None:
    assert differing({"a": 1, "b": 2}, {"b": 3, "c": True}) == "a=1 (now None), b=2 (now 3), c=None (now True)"
