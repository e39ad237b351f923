"""Residue proteins are cheap, and every stock operation finds what it expects."""
import pickle

import numpy as np
import pytest
import torch

from gearnet_plugin.graphs import PackedResidueProtein, ResidueProtein
from gearnet_plugin.layers import ResidueGraphConstruction
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


def built(feature="gearnet"):
    """Awkward proteins with edges: ours, and TorchDrug's."""
    packed = ResidueProtein.pack(awkward())
    with stock_in_our_order():
        return construction(feature)(packed), stock_construction(feature)(as_stock(packed))


def tensor_bytes(graph):
    """Bytes of what a graph holds."""
    tensors = [value for value in graph.__dict__.values() if isinstance(value, torch.Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def has_feature(graph):
    """Whether edge features have been made."""
    return "bond_feature" in graph.__dict__


# what is done with a batch that keeps its edge features as codes
AS_CODES = {
    "nothing": lambda g: g,
    "clone": lambda g: g.clone(),
    "detach": lambda g: g.detach(),
    "move": lambda g: g._map(lambda x: x.to("cpu", copy=True)) if isinstance(g, PackedResidueProtein) else g.cpu(),
    "pickle": lambda g: pickle.loads(pickle.dumps(g)),  # noqa: S301  our own
    "edge_mask": lambda g: g.edge_mask(torch.arange(int(g.num_edge)) % 3 != 0),
    "residue_mask": lambda g: g.residue_mask(torch.arange(int(g.num_residue)) % 7 != 0, compact=True),
    "residue_mask without compact": lambda g: g.residue_mask(torch.arange(int(g.num_residue)) % 7 != 0),
    "subresidue": lambda g: g.subresidue(torch.arange(0, int(g.num_residue), 2)),
    "subresidue in another order": lambda g: g.subresidue(torch.arange(int(g.num_residue) - 1, 30, -1)[:50]),
    "subgraph": lambda g: g.subgraph(torch.arange(0, int(g.num_node), 2)),
    "subbatch": lambda g: g.subbatch([0, 2, 4]),
    "item": lambda g: g[2],
    "crop of an item": lambda g: g[2].subresidue(torch.arange(4, 40)),
    "unpack and pack": lambda g: type(g[0]).pack(g.unpack()),
    "repeat": lambda g: g.repeat(2),
}


@pytest.mark.parametrize("feature", ["gearnet", "residue_type"])
@pytest.mark.parametrize("name", AS_CODES)
def test_edge_features_as_codes_equal_stock(name, feature):
    """Whatever is done with a batch, no feature is made for it, and the one made afterwards is TorchDrug's."""
    ours, stock = (AS_CODES[name](graph) for graph in built(feature))
    assert not has_feature(ours) and ours.edge_codes is not None
    assert torch.equal(ours.edge_list, stock.edge_list)
    assert torch.equal(ours.edge_feature, stock.edge_feature)
    assert has_feature(ours) and ours.edge_codes is None, "features that were looked at may have been changed"


def test_features_of_concatenated_batches():
    """TorchDrug cannot concatenate batches of proteins; here edge features follow."""
    graph = built()[0]
    twice = data.graph.cat([graph, graph])
    assert not has_feature(twice)
    assert torch.equal(twice.edge_feature, graph.edge_feature.repeat(2, 1))


def test_edge_codes():
    """Codes say in 8 bytes an edge what the feature says in 236."""
    graph = built()[0]
    codes, bytes_before = graph.edge_codes, tensor_bytes(graph)
    feature = graph.edge_feature
    parts = feature.split([20, 20, 7, 11, 1], dim=-1)
    for code, part in zip(codes[:4], parts):
        assert code.dtype == torch.uint8 and torch.equal(code.long(), part.argmax(dim=-1))
    assert torch.equal(codes.distance, feature[:, -1])
    assert codes.relation.tolist() == graph.edge_list[:, 2].tolist()
    assert tensor_bytes(graph) - bytes_before == 236 * len(feature)
    without = construction(None)(ResidueProtein.pack(awkward()))
    assert bytes_before - tensor_bytes(without) == 8 * len(feature)
    assert without.edge_codes is None and not hasattr(without, "edge_feature")
    types = built("residue_type")[0].edge_codes
    assert types.relation is types.sequence_distance is types.distance is None


def test_features_are_those_of_the_construction():
    """Residues, positions and relations changed after the construction leave features as they were, as in TorchDrug."""
    ours, stock = built()
    for graph in (ours, stock):
        with graph.residue():
            graph.residue_type = (graph.residue_type + 1) % 20
        with graph.node():
            graph.node_position = graph.node_position * 2
        graph.edge_list[:, 2] = 0
    assert torch.equal(ours.edge_list, stock.edge_list)
    assert torch.equal(ours.edge_feature, stock.edge_feature)


def test_own_edge_features_win():
    """Features that are set, or changed in place, are kept by what follows."""
    for change in ("set", "in place"):
        graph = built()[0]
        if change == "set":
            with graph.edge():
                graph.edge_feature = torch.arange(float(graph.num_edge))[:, None]
        else:
            graph.edge_feature[:, 0] = torch.arange(float(graph.num_edge))
        mask = torch.arange(int(graph.num_edge)) % 2 == 0
        masked = graph.edge_mask(mask)
        assert masked.edge_codes is None and masked.clone().edge_codes is None
        assert masked.edge_feature[:, 0].tolist() == mask.nonzero().flatten().tolist()
        again = construction()(graph)
        assert again.edge_codes is not None and again.edge_feature.shape[1] == 59


def test_a_batch_of_one_as_a_single_protein():
    """``single`` gives what ``[0]`` gives, without making features."""
    packed = construction()(ResidueProtein.pack([chain(30, num_chain=2)]))
    one, expected = packed.single(), packed[0]
    assert type(one) is ResidueProtein and not has_feature(one)
    for name in ["edge_list", "edge_weight", "num_node", "num_edge", "num_residue", "num_relation", "node_position",
                 "residue_type", "chain_id", "edge_code", "edge_length", "edge_feature", "atom2residue"]:
        assert torch.equal(getattr(one, name), getattr(expected, name)), name
    with pytest.raises(ValueError, match="a batch of one protein is needed, but it has 2"):
        ResidueProtein.pack([chain(3), chain(4)]).single()


def test_packing_edges_of_several_constructions():
    """Proteins whose edges do not fit together are not packed."""
    with_edges = construction()(ResidueProtein.pack([chain(9)]))[0]
    fewer = ResidueGraphConstruction(edge_layers=[geometry.SequentialEdge(1)], edge_feature="gearnet")
    others = [chain(9), fewer(ResidueProtein.pack([chain(9)]))[0],
              construction("residue_type")(ResidueProtein.pack([chain(9)]))[0]]
    for other in others:
        with pytest.raises(ValueError, match="should have edges of one construction"):
            ResidueProtein.pack([with_edges, other])


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
