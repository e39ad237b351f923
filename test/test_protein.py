"""Residue proteins are cheap, and every stock operation finds what it expects."""
import pickle

import numpy as np
import pytest
import torch

from gearnet_plugin.graphs import PackedResidueProtein, ResidueProtein
from proteins import as_stock, awkward, chain, construction, stock_construction, stock_in_our_order
from torchdrug import data, transforms
from torchdrug.layers import geometry


def test_pack_and_unpack():
    """Packing concatenates every field; unpacking gives the proteins back."""
    proteins = awkward()
    packed = ResidueProtein.pack(proteins)
    assert isinstance(packed, PackedResidueProtein)
    assert packed.num_residues.tolist() == [len(p.residue_type) for p in proteins]
    for protein, again in zip(proteins, packed.unpack()):
        assert type(again) is ResidueProtein
        for name in ["node_position", "residue_type", "chain_id", "residue_feature", "atom2residue"]:
            assert torch.equal(getattr(protein, name), getattr(again, name)), name


def test_derived_attributes_equal_stock():
    """What is derived at first access is what TorchDrug stores."""
    packed = ResidueProtein.pack(awkward())
    stock = as_stock(packed)
    for name in ["formal_charge", "explicit_hs", "chiral_tag", "atom_map", "occupancy", "b_factor", "is_hetero_atom",
                 "insertion_code", "node2graph", "residue2graph", "num_cum_residues", "bond_type", "bond_stereo"]:
        ours, theirs = getattr(packed, name), getattr(stock, name)
        assert ours.dtype == theirs.dtype and torch.equal(ours, theirs), name


def test_unknown_residue():
    """An unknown residue has the last place in the node feature and counts as glycine in edge features."""
    protein = ResidueProtein.from_arrays(np.zeros((2, 3)) + [[0], [4]], [3, 20])
    assert protein.residue_feature.argmax(dim=-1).tolist() == [3, 20]
    assert protein.residue_type.tolist() == [3, 0]
    assert ResidueProtein.pack([protein, protein]).residue_feature.argmax(dim=-1).tolist() == [3, 20, 3, 20]


def test_item_is_light():
    """A fresh item holds at most 60 bytes a residue and none of the derived tensors."""
    protein = chain(300)
    tensors = {k: v for k, v in protein.__dict__.items() if isinstance(v, torch.Tensor)}
    assert not {"atom_type", "residue_feature", "atom2residue"} & set(tensors)
    assert sum(t.numel() * t.element_size() for t in tensors.values()) <= 60 * 300 + 200


def test_changes_in_place_survive_copies():
    """A derived feature that is changed stays changed in clones, packs, masks and pickles."""
    protein = chain(10)
    protein.residue_feature[4] = 7
    packed = ResidueProtein.pack([chain(5), protein])
    pickled = pickle.loads(pickle.dumps(packed))  # noqa: S301  our own
    for copy in [packed, packed.clone(), packed.subresidue(torch.arange(1, 15)), pickled, packed.cpu(),
                 packed.subbatch([0, 1])]:
        assert (copy.residue_feature[-6] == 7).all()
    assert (ResidueProtein.pack([chain(5), chain(10)]).residue_feature[9] != 7).any()


@pytest.mark.parametrize("index", [[0, 2, 5, 80, 83, 141], list(range(0, 178, 3))])
def test_residue_mask_equals_stock(index):
    """Cropping a batch with edges gives what TorchDrug gives."""
    packed = ResidueProtein.pack(awkward())
    ours = construction()(packed).subresidue(torch.tensor(index))
    with stock_in_our_order():
        stock = stock_construction()(as_stock(packed)).subresidue(torch.tensor(index))
    assert torch.equal(ours.edge_list, stock.edge_list)
    assert torch.equal(ours.edge_feature, stock.edge_feature)
    for name in ["num_residues", "num_nodes", "num_edges", "num_cum_edges", "_offsets", "residue_type", "node_position",
                 "atom2residue", "node2graph", "edge2graph", "edge_weight"]:
        assert torch.equal(getattr(ours, name), getattr(stock, name)), name


def test_edge_mask_equals_stock():
    """Masking edges gives what TorchDrug gives."""
    packed = ResidueProtein.pack(awkward())
    with stock_in_our_order():
        ours, stock = construction()(packed), stock_construction()(as_stock(packed))
    mask = torch.rand(int(ours.num_edge), generator=torch.Generator().manual_seed(0)) < 0.7
    ours, stock = ours.edge_mask(mask), stock.edge_mask(mask)
    for name in ["edge_list", "edge_feature", "num_edges", "_offsets", "edge_weight", "num_cum_edges"]:
        assert torch.equal(getattr(ours, name), getattr(stock, name)), name
    assert ours.has_unit_weights


def test_stock_operations():
    """Stock transforms, crops and graph operations take residue proteins."""
    item = {"graph": chain(60)}
    assert transforms.TruncateProtein(20, random=True)(item)["graph"].num_residue == 20
    assert transforms.ProteinView("residue")(item)["graph"].view == "residue"
    packed = data.graph_collate([item, {"graph": chain(9)}])["graph"]
    assert geometry.SubsequenceNode(30)(packed).num_residues.tolist() == [30, 9]
    assert geometry.SubspaceNode("residue", 8.0, 5)(packed).batch_size == 2
    assert packed.subgraph(torch.arange(4)).num_nodes.tolist() == [4, 0]
    assert int(data.graph.cat([packed, packed]).num_residue) == 138
    assert packed[1].num_residue == 9
    assert packed.to_sequence()[1].replace(".", "") == packed[1].to_sequence().replace(".", "")
    assert item["graph"][:5].num_residue == 5


def test_wrong_arrays():
    """Arrays that do not fit are refused by name."""
    position = np.zeros((3, 3))
    with pytest.raises(ValueError, match=r"node_position should have shape \(2, 3\)"):
        ResidueProtein.from_arrays(position, [0, 1])
    with pytest.raises(ValueError, match=r"0\.\.20.*found 0\.\.21"):
        ResidueProtein.from_arrays(position, [0, 1, 21])
    with pytest.raises(ValueError, match=r"chain_id should have shape \(3,\)"):
        ResidueProtein.from_arrays(position, [0, 1, 2], chain_id=[1])
    with pytest.raises(ValueError, match="at least one residue"):
        ResidueProtein.from_arrays(np.zeros((0, 3)), [])
    with pytest.raises(AttributeError, match="no attribute `colour`"):
        _ = chain(3).colour
