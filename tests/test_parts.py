"""Parts of frames: they lie within, hold what they were drawn for, and are read and drawn as in the whole."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gensim.models.vae import Decoder, Encoder, cut
from gensim.world.parts import look_at, places

GRID, SIZE = (4, 6), (2, 3)


@given(st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_parts_lie_within_and_hold_the_rare(seed):
    """A class that alone has a weight lies in each part, and the parts' corners differ."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.zeros((200, 32, 48), dtype=torch.uint8)
    row, column = (int(torch.randint(n, (), generator=generator)) for n in (32, 48))
    classes[:, row, column] = 1
    at = places(classes, torch.tensor([0.0, 1.0]), GRID, SIZE, generator)
    assert (at >= 0).all() and (at + torch.tensor(SIZE) <= torch.tensor(GRID)).all()
    frames = classes[:, None, :, :, None].expand(-1, 1, -1, -1, 3)
    batch = {"frames": frames, "classes": classes[:, None], "depth": classes[:, None].float()}
    seen = look_at(batch, at, GRID, SIZE)
    assert seen["frames"].shape == (200, 1, 16, 24, 3) and seen["depth"].shape == (200, 1, 16, 24)
    assert (seen["classes"].sum((1, 2, 3)) == 1).all() and (seen["frames"].sum((1, 2, 3, 4)) == 3).all()
    reach = [(max(0, c - s + 1), min(c, g - s)) for c, s, g in zip((row // 8, column // 8), SIZE, GRID)]
    for side, (low, high) in enumerate(reach):
        assert set(at[:, side].tolist()) == set(range(low, high + 1))


def test_a_cut_is_what_lies_there():
    x, at = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 2, 8, 9))), torch.tensor([[0, 1], [4, 5], [2, 0]])
    for one, part, (row, column) in zip(x, cut(x, at, (3, 4)), at.tolist()):
        assert torch.equal(part, one[:, row : row + 3, column : column + 4])


@pytest.mark.parametrize("light", [False, True])
def test_parts_are_read_and_drawn_as_in_the_whole_away_from_their_rims(light):
    torch.manual_seed(0)
    encoder = Encoder((64, 96), (8, 16), 384, 6, cells=True)
    decoder = Decoder((64, 96), (8, 16), 384, 6, 3, cells=True, light=light)
    with torch.no_grad():
        encoder.place.normal_()
        decoder.place.normal_()
        x, at, size = torch.randn(2, 3, 64, 96), torch.tensor([[1, 2], [0, 6]]), (6, 6)
        area = [8 * side for side in size]
        whole, part = encoder(x), encoder(cut(x, 8 * at, area), at)
        placed = encoder.cells.placed(whole)
        inner = encoder.cells.part(size).placed(part)[:, :, 2:-2, 2:-2]
        torch.testing.assert_close(cut(placed, at, size)[:, :, 2:-2, 2:-2], inner)
        z = torch.eye(6)[torch.randint(6, (2, 384))]
        own = encoder.cells.part(size).ordered(cut(encoder.cells.placed(z), at, size))
        for one, other in zip(decoder.labelled(z), decoder.labelled(own, at, size)):
            there = cut(one, 8 * at, area)
            torch.testing.assert_close(there[..., 16:-16, 16:-16], other[..., 16:-16, 16:-16])
