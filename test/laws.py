"""
Laws that every encoder obeys on a residue graph, in eval mode. Each takes ``encode(proteins) -> (graph_features,
node_features)`` over a list of proteins and raises AssertionError where the law is broken.
"""
import torch

from gearnet_plugin.graphs import ResidueProtein


def moved(protein, matrix, shift=None):
    """The protein with its coordinates multiplied by a matrix [3, 3] and shifted, computed in float64."""
    copy = protein.clone()
    position = copy.node_position.double() @ matrix.T
    if shift is not None:
        position = position + shift
    copy._setattr("node_position", position.float())
    return copy


def rotation(seed):
    """A random rotation [3, 3], float64."""
    generator = torch.Generator().manual_seed(seed)
    q, r = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.double))
    q = q * torch.sign(torch.diagonal(r))
    return q if torch.det(q) > 0 else -q


def assert_close(actual, expected, rtol):
    """Largest difference at most ``rtol`` of the largest value."""
    error = (actual - expected).abs().max() / expected.abs().max().clamp(min=1e-30)
    assert error <= rtol, "relative difference %.1e, allowed %.1e" % (error, rtol)


def batch_independent(encode, proteins, rtol):
    """A protein alone has the representation that it has inside a batch."""
    together, nodes = encode(proteins)
    start = 0
    for i, protein in enumerate(proteins):
        alone, alone_nodes = encode([protein])
        assert_close(alone[0], together[i], rtol)
        assert_close(alone_nodes, nodes[start:start + len(alone_nodes)], rtol)
        start += len(alone_nodes)


def order_irrelevant(encode, proteins, rtol):
    """The order of the proteins in a batch does not matter."""
    forward, _ = encode(proteins)
    backward, _ = encode(proteins[::-1])
    assert_close(backward.flip(0), forward, rtol)


def motion_invariant(encode, proteins, rtol, seed=0):
    """Rotations and translations change nothing."""
    still, _ = encode(proteins)
    shift = torch.tensor([11.0, -7.0, 23.0], dtype=torch.double)
    turned, _ = encode([moved(p, rotation(seed), shift) for p in proteins])
    assert_close(turned, still, rtol)


def reflection_invariant(encode, proteins, rtol):
    """The mirror image has the same representation."""
    still, _ = encode(proteins)
    mirror = torch.diag(torch.tensor([-1.0, 1.0, 1.0], dtype=torch.double))
    mirrored, _ = encode([moved(p, mirror) for p in proteins])
    assert_close(mirrored, still, rtol)


def break_separates(encode, make, rtol):
    """
    Two segments with a gap in the numbering, far apart in space, are as good as two proteins.

    ``make(first_number, second_number)`` returns one protein of two segments that start at these numbers.
    """
    joined = make(1, 1000)
    n = int(joined.num_residue)
    half = n // 2
    parts = [_part(joined, slice(0, half)), _part(joined, slice(half, n))]
    _, nodes = encode([joined])
    _, apart = encode(parts)
    assert_close(nodes, apart, rtol)


def _part(protein, which):
    return ResidueProtein.from_arrays(protein.node_position[which], protein.residue_type[which],
                                      chain_id=protein.chain_id[which], residue_number=protein.residue_number[which])
