"""Frames of residues and the features of edges by them: a hand table, leaks of the released ones, ends of chains."""

import math

import pytest
import torch

import laws
from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.graphs.frames import frame_features, residue_frames
from plain_ieconv import chain_frames, edge_geometry, released_frames
from proteins import as_stock, awkward, bundled, chain, far_apart

ROOT2 = math.sqrt(0.5)


def packed(*proteins):
    return ResidueProtein.pack(list(proteins))


def protein(position, number=None, chain_id=None):
    n = len(position)
    return ResidueProtein.from_arrays(
        torch.tensor(position, dtype=torch.float),
        [0] * n,
        chain_id=chain_id or [1] * n,
        residue_number=number or list(range(1, n + 1)),
    )


# a corner in the plane z = 0: step (1, 0, 0), then (0, 1, 0)
CORNER = [[0, 0, 0], [2, 0, 0], [2, 3, 0]]


def test_hand_table():
    """The axes at a corner, and what an edge from it and its reverse have."""
    graph = packed(protein(CORNER))
    bisector, normal = torch.tensor([ROOT2, -ROOT2, 0]), torch.tensor([0.0, 0, 1])
    expected = torch.stack([bisector, normal, torch.cross(bisector, normal, dim=0)], dim=-1)
    for frames in ("released", "chain"):
        torch.testing.assert_close(residue_frames(graph, frames)[1], expected)
    # from the corner to the last residue: (0, 3, 0) in these axes; both have this frame; one step is 1/6
    feature = frame_features(graph, torch.tensor([[1, 2, 0]]), "chain")[0]
    place = torch.tensor([-3 * ROOT2, 0, -3 * ROOT2])
    half = torch.cat([place, torch.ones(3), torch.tensor([1 / 6])])
    torch.testing.assert_close(feature, torch.cat([half, 1 - 2 * half.abs()]))


@pytest.mark.parametrize(
    "proteins",
    [
        lambda: [chain(3)],
        lambda: [chain(4)],
        lambda: [chain(1)],
        lambda: [chain(2)],
        lambda: [chain(21, 3, num_chain=2), chain(3, 4), chain(9)],
        lambda: bundled(2, 80),
    ],
)
def test_equal_definition(proteins):
    """Frames and features of both kinds equal those made residue by residue; three rows are no special case."""
    graph = packed(*proteins())
    graph._setattr("node_position", graph.node_position.double())
    n = len(graph.node_position)
    segments = torch.zeros(n, dtype=torch.long)
    segments[1:] = (
        (graph.chain_id.diff() != 0) | (graph.node2graph.diff() != 0) | (graph.residue_number.diff() > 1)
    ).cumsum(0)
    edges = torch.randint(n, (60, 3), generator=torch.Generator().manual_seed(0))
    for frames, plain in [
        ("released", released_frames(graph.node_position)),
        ("chain", chain_frames(graph.node_position, segments.tolist())),
    ]:
        actual = residue_frames(graph, frames)
        torch.testing.assert_close(actual, plain.transpose(1, 2), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(
            frame_features(graph, edges, frames),
            edge_geometry(graph.node_position, graph.atom2residue, edges, plain),
            rtol=1e-12,
            atol=1e-12,
        )


def test_released_frames_leak():
    """Released: the end of a protein has another frame where another protein follows, and so has the start of that."""
    first, second = chain(12, 1), chain(9, 2)
    together, alone = residue_frames(packed(first, second)), residue_frames(packed(first))
    assert torch.equal(together[:11], alone[:11])
    assert (together[11] - alone[11]).abs().max() > 0.1
    assert (together[12] - residue_frames(packed(second))[0]).abs().max() > 0.1
    # across chains of one protein as well
    one, two = chain(20, 1), chain(20, 1, num_chain=2)
    assert torch.equal(residue_frames(packed(one)), residue_frames(packed(two)))
    # the last residue of a batch has ones, which do not turn
    ones = torch.full((3,), 3**-0.5)
    torch.testing.assert_close(alone[11], torch.stack([ones, ones, torch.zeros(3)], dim=-1))
    turned = residue_frames(packed(laws.moved(first, laws.rotation(0))))
    torch.testing.assert_close(turned[11], alone[11])


def test_chain_frames_turn_with_the_protein():
    """``chain``: every frame turns with the coordinates, of real proteins and of ones on a line."""
    matrix = laws.rotation(1)
    for proteins in (awkward(), bundled(3)):
        still = residue_frames(packed(*proteins), "chain").double()
        turned = residue_frames(packed(*(laws.moved(p, matrix) for p in proteins)), "chain").double()
        torch.testing.assert_close(turned, matrix @ still, rtol=0, atol=2e-4)


def test_chain_frames_inside_are_the_released_ones():
    """Away from ends the two kinds agree; ends have the frame of the residue beside them."""
    graph = packed(chain(20, 1, num_chain=2), chain(7, 3))
    chained, released = residue_frames(graph, "chain"), residue_frames(graph)
    ends = {0: 1, 9: 8, 10: 11, 19: 18, 20: 21, 26: 25}
    for i in range(27):
        assert torch.allclose(chained[i], released[ends.get(i, i)], atol=1e-6), i


def test_gaps_end_a_segment():
    """A missing residue ends a segment, an insertion code does not, and a number that goes back does."""
    position = chain(9, 1).node_position.tolist()
    whole = residue_frames(packed(protein(position)), "chain")
    gap = residue_frames(packed(protein(position, [1, 2, 3, 4, 6, 7, 8, 9, 10])), "chain")
    torch.testing.assert_close(gap[[1, 2, 5, 6, 7]], whole[[1, 2, 5, 6, 7]])
    torch.testing.assert_close(gap[[3, 4]], whole[[2, 5]])
    inserted = residue_frames(packed(protein(position, [1, 2, 3, 4, 4, 4, 5, 6, 7])), "chain")
    torch.testing.assert_close(inserted, whole)
    back = residue_frames(packed(protein(position, [1, 2, 3, 4, 1, 2, 3, 4, 5])), "chain")
    torch.testing.assert_close(back, gap)


def test_segments_too_short_for_a_frame():
    """One or two residues have no plane: all axes are zero, and features say nothing but the sequence distance."""
    graph = packed(chain(1), chain(2), chain(3))
    frames = residue_frames(graph, "chain")
    assert not frames[:3].any() and frames[3:].any(dim=1).any(dim=1).all()
    feature = frame_features(graph, torch.tensor([[1, 2, 0]]), "chain")
    torch.testing.assert_close(feature, torch.tensor([[0, 0, 0, 0, 0, 0, 1 / 6] + [1] * 6 + [1 - 2 / 6]]))


DEGENERATE = {
    "line": [[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0], [3, 1, 0]],
    "back and forth": [[0, 0, 0], [1, 0, 0], [0, 0, 0], [1, 0, 0], [1, 1, 0]],
    "one place": [[1, 1, 1]] * 5,
    "two at one place": [[0, 0, 0], [1, 0, 0], [1, 0, 0], [2, 0, 1], [3, 3, 3]],
    "step of (1, 1, 1)": [[0, 0, 0], [1, 1, 1], [2, 2, 2], [2, 3, 2], [4, 3, 2]],
}


@pytest.mark.parametrize("frames", ["released", "chain"])
@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_neighbours(name, frames):
    """
    Neighbours on a line or at one place: features and gradients of positions are finite, with ``chain`` small as well;
    released frames may point along the rounding of a normal.
    """
    graph = packed(protein(DEGENERATE[name]))
    position = graph.node_position.clone().requires_grad_()
    graph._setattr("node_position", position)
    edges = torch.cartesian_prod(torch.arange(5), torch.arange(5))
    feature = frame_features(graph, edges, frames)
    feature.square().sum().backward()
    assert feature.isfinite().all() and feature.abs().max() < 20
    assert position.grad.isfinite().all()
    assert frames == "released" or position.grad.abs().max() < 1e4


def test_gradient_by_finite_differences():
    """Features are differentiable in the positions, at either setting."""
    graph = packed(chain(7, 1, num_chain=2), chain(4, 2))
    edges = torch.randint(11, (9, 3), generator=torch.Generator().manual_seed(0))

    def feature(position, frames):
        graph._setattr("node_position", position)
        return frame_features(graph, edges, frames)

    position = graph.node_position.double().requires_grad_()
    for frames in ("released", "chain"):
        assert torch.autograd.gradcheck(feature, (position, frames))


def test_distances_are_not_bounded():
    """As published: place in Å and sequence distance over 6 have no largest value."""
    graph = packed(chain(301))
    feature = frame_features(graph, torch.tensor([[0, 300, 0]]))
    assert feature[0, 6] == 50 and feature[0, 13] == -99


def test_stock_proteins():
    """TorchDrug's own proteins have the same frames."""
    graph = packed(chain(12, 1, num_chain=2), far_apart())
    for frames in ("released", "chain"):
        assert torch.equal(residue_frames(as_stock(graph), frames), residue_frames(graph, frames))


def test_wrong_input():
    """What is missing or unknown is named."""
    graph = packed(chain(5))
    with pytest.raises(ValueError, match="frames should be `released` or `chain`, but found `protein`"):
        residue_frames(graph, "protein")
    stock = as_stock(graph)
    stock._setattr("residue_number", None)
    with pytest.raises(ValueError, match="frames=`chain` needs `residue_number` of every residue"):
        residue_frames(stock, "chain")
