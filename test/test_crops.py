"""Crops and edge masks: TorchDrug's under its draws, exact in any batch, a protein's own under keyed draws."""

import pytest
import torch

from gearnet_plugin.graphs import ResidueProtein, crops, masks
from gearnet_plugin.graphs.draws import GlobalDraws, StructureDraws
from gearnet_plugin.layers import ResidueGraphConstruction
from proteins import as_stock, awkward, bundled, chain, construction, far_apart, stock_construction, stock_in_our_order
from torchdrug import data
from torchdrug.layers import geometry

MASKS = {
    "subsequence": lambda graph, draws: crops.subsequence_mask(graph, 20, draws),
    "subspace": lambda graph, draws: crops.subspace_mask(graph, 15.0, 15, draws),
    "small subspace": lambda graph, draws: crops.subspace_mask(graph, 2.0, 3, draws),
}
STOCK = {
    "subsequence": geometry.SubsequenceNode(20),
    "subspace": geometry.SubspaceNode("residue", 15.0, 15),
    "small subspace": geometry.SubspaceNode("residue", 2.0, 3),
}


def after(seed, function):
    torch.manual_seed(seed)
    return function()


@pytest.mark.parametrize("name", MASKS)
def test_crops_are_stock_under_global_draws(name):
    """The residues that TorchDrug's module keeps when torch is seeded alike."""
    graph = ResidueProtein.pack(awkward() + bundled(2))
    for seed in range(10):
        mask = after(seed, lambda: MASKS[name](graph, GlobalDraws()))
        stock = after(seed, lambda: STOCK[name](as_stock(graph)))
        assert torch.equal(graph.node_position[mask], stock.node_position)
        assert torch.equal(graph.residue2graph[mask].bincount(minlength=graph.batch_size), stock.num_residues)


@pytest.mark.parametrize("name", MASKS)
def test_crops_are_a_proteins_own(name):
    """By structure a protein is cropped alike alone, among others and in another order; each keeps a residue."""
    proteins, draws = awkward() + [chain(90, s) for s in range(20, 30)], StructureDraws(1, 2)
    make = MASKS[name]
    together = make(ResidueProtein.pack(proteins), draws).split([int(p.num_residue) for p in proteins])
    backward = make(ResidueProtein.pack(proteins[::-1]), draws)
    assert torch.equal(torch.cat(together[::-1]), backward)
    for protein, mask in zip(proteins, together):
        assert torch.equal(make(ResidueProtein.pack([protein]), draws), mask)
        assert mask.any()
    graph = ResidueProtein.pack(proteins)
    assert not torch.equal(make(graph, draws), make(graph, StructureDraws(1, 3)))


def test_subsequence_by_hand():
    """20 consecutive residues of 50 are kept, from a start that takes every value but the last; of 20 or 7 all are."""
    graph, draws = ResidueProtein.pack([chain(50), chain(20), chain(7)]), StructureDraws()
    starts = set()
    for epoch in range(400):
        draws.epoch = epoch
        mask = crops.subsequence_mask(graph, 20, draws)
        kept = mask[:50].nonzero().flatten()
        assert len(kept) == 20 and int(kept[-1] - kept[0]) == 19
        assert mask[50:].all()
        starts.add(int(kept[0]))
    assert starts == set(range(30))


def test_balls_are_exact_in_a_large_batch():
    """
    Every ball of 400 proteins is that of the definition, computed protein by protein. A key of protein and distance in
    one float32, as TorchDrug sorts by, rounds distances to 0.01 Å in such a batch.
    """
    generator = torch.Generator().manual_seed(0)
    proteins = [chain(int(n), seed=i) for i, n in enumerate(torch.randint(1, 60, (400,), generator=generator))]
    graph, draws = ResidueProtein.pack(proteins), StructureDraws(4)
    found = crops.subspace_mask(graph, 4.0, 9, draws, "s").split(graph.num_residues.tolist())
    numbers = draws.uniform(graph, "s")
    for protein, mask, number in zip(proteins, found, numbers):
        n = int(protein.num_residue)
        point = protein.node_position
        distance = (point[int(number * n)] - point).norm(dim=-1)
        radius = max(4.0, 1.5 * float(distance.sort().values[min(9, n) - 1]))
        assert torch.equal(mask, distance < radius)


def test_edge_mask_is_stock_under_global_draws():
    """The edges that TorchDrug's RandomEdgeMask keeps when torch is seeded alike, on real and awkward structures."""
    proteins = awkward() + bundled(3)
    ours = construction()(ResidueProtein.pack(proteins))
    with stock_in_our_order():
        stock = stock_construction()(as_stock(ResidueProtein.pack(proteins)))
        for rate in (0.0, 0.15, 1.0):
            kept = after(1, lambda: geometry.RandomEdgeMask(rate)(stock))  # noqa: B023
            mask = after(1, lambda: masks.edge_mask(ours, rate, GlobalDraws()))  # noqa: B023
            assert torch.equal(ours.edge_mask(mask).edge_list, kept.edge_list)
            assert int((~mask).sum()) >= len(proteins)


def test_edge_mask_of_a_protein_without_edges():
    """It loses none, nor does it take one of its neighbour's, which keeps losing its own."""
    construct = ResidueGraphConstruction([], [geometry.SpatialEdge(10.0)], None)
    proteins = [chain(40, 1), far_apart(), chain(1), chain(50, 2), far_apart()]
    graph = construct(ResidueProtein.pack(proteins))
    assert graph.num_edges[[1, 2, 4]].tolist() == [0, 0, 0]
    for draws in (StructureDraws(), GlobalDraws()):
        masked = graph.edge_mask(masks.edge_mask(graph, 0.01, draws))
        picks = (graph.num_edges * 0.01).long().clamp(min=1)
        lost = graph.num_edges - masked.num_edges
        assert lost[[1, 2, 4]].tolist() == [0, 0, 0]
        assert (lost[[0, 3]] >= 1).all() and (lost[[0, 3]] <= picks[[0, 3]]).all()
    empty = construct(ResidueProtein.pack([far_apart()]))
    assert masks.edge_mask(empty, 0.15, StructureDraws()).shape == (0,)


def test_edge_mask_is_a_proteins_own():
    """By structure a protein loses the same edges in any batch, and 13.9 % of them at a rate of 15 %."""
    proteins, draws = [chain(100 + i, i) for i in range(6)], StructureDraws(1, 2)
    graph = construction()(ResidueProtein.pack(proteins))
    mask = masks.edge_mask(graph, 0.15, draws)
    for protein, own in zip(proteins, mask.split(graph.num_edges.tolist())):
        assert torch.equal(masks.edge_mask(construction()(ResidueProtein.pack([protein])), 0.15, draws), own)
    lost = float((~mask).double().mean())
    assert abs(lost - 0.139) < 0.01, lost


def test_balls_need_positions():
    """Proteins of sequences alone have no ball."""
    protein = data.Protein.from_sequence("ACDEFG", atom_feature=None, bond_feature=None)
    with pytest.raises(ValueError, match="a ball of residues needs `node_position`"):
        crops.subspace_mask(data.Protein.pack([protein]), 15.0, 15, StructureDraws())
