"""TorchDrug's proteins: sequences, PDB text, residues, and the construction of their graphs."""
import pytest
import torch

from torchdrug import data, layers, models
from torchdrug.data import feature
from torchdrug.layers import geometry

# Ala-Gly and Ser in a second chain, with an insertion code
PDB = """\
ATOM      1  N   ALA A   1       5.149  -0.315   1.354  1.00 10.00           N
ATOM      2  CA  ALA A   1       3.904   0.441   1.111  1.00 11.00           C
ATOM      3  C   ALA A   1       2.853  -0.477   0.450  1.00 12.00           C
ATOM      4  O   ALA A   1       3.105  -1.622   0.076  1.00 13.00           O
ATOM      5  CB  ALA A   1       4.207   1.648   0.232  0.50 14.00           C
ATOM      6  N   GLY A   1A      1.603   0.075   0.329  1.00 15.00           N
ATOM      7  CA  GLY A   1A      0.505  -0.660  -0.263  1.00 16.00           C
ATOM      8  C   GLY A   1A     -0.773   0.175  -0.202  1.00 17.00           C
ATOM      9  O   GLY A   1A     -0.804   1.299   0.293  1.00 18.00           O
TER
ATOM     10  N   SER B   7       5.149  19.685   1.354  1.00 19.00           N
ATOM     11  CA  SER B   7       3.904  20.441   1.111  1.00 20.00           C
ATOM     12  C   SER B   7       2.853  19.523   0.450  1.00 21.00           C
ATOM     13  O   SER B   7       3.105  18.378   0.076  1.00 22.00           O
END
"""


@pytest.fixture
def protein(tmp_path):
    (tmp_path / "three.pdb").write_text(PDB)
    return data.Protein.from_pdb(str(tmp_path / "three.pdb"))


def random_protein(length, seed=0):
    """A chain of Cα atoms by random steps, one residue each."""
    torch.manual_seed(seed)
    residue = torch.randint(20, (length,))
    one_hot = torch.nn.functional.one_hot(residue, 21)
    chain = torch.ones(length, dtype=torch.long)
    return data.Protein(torch.zeros(0, 3, dtype=torch.long), atom_type=chain * 6, bond_type=[], residue_type=residue,
                        num_node=length, num_residue=length, atom_name=chain * data.Protein.atom_name2id["CA"],
                        atom2residue=torch.arange(length), residue_feature=one_hot, chain_id=chain,
                        residue_number=torch.arange(length), node_position=torch.randn(length, 3).cumsum(0) * 3)


def test_sequence_round_trip():
    protein = data.Protein.from_sequence("ACDEFGHIKLMNPQRSTVWY")
    assert protein.num_residue == 20
    assert protein.to_sequence() == "ACDEFGHIKLMNPQRSTVWY"
    names = [data.Protein.id2residue_symbol[i] for i in protein.residue_type.tolist()]
    assert "".join(names) == "ACDEFGHIKLMNPQRSTVWY"
    light = data.Protein.from_sequence("AGS", atom_feature=None, bond_feature=None, residue_feature="default")
    assert light.num_atom == 0 and light.residue_feature.shape == (3, 21)
    assert light.residue_feature.argmax(1).tolist() == [feature.residue_vocab.index(r) for r in ("ALA", "GLY", "SER")]


def test_pdb_text(protein):
    assert protein.num_residue == 3 and protein.num_atom == 13
    assert protein.to_sequence() == "AG.S"
    assert protein.atom2residue.tolist() == [0] * 5 + [1] * 4 + [2] * 4
    assert [data.Protein.id2atom_name[i] for i in protein.atom_name.tolist()][:5] == ["N", "CA", "C", "O", "CB"]
    assert protein.residue_number.tolist() == [1, 1, 7]
    assert [data.Protein.id2alphabet[i] for i in protein.chain_id.tolist()] == ["A", "A", "B"]
    assert [data.Protein.id2alphabet[i] for i in protein.insertion_code.tolist()] == [" ", "A", " "]
    assert protein.b_factor.tolist() == [float(i) for i in range(10, 23)]
    assert protein.occupancy[4] == 0.5
    torch.testing.assert_close(protein.node_position[1], torch.tensor([3.904, 0.441, 1.111]))


def test_residue_masks(protein):
    part = protein.subresidue([0, 2])
    assert part.to_sequence() == "A.S"
    assert part.num_atom == 9 and part.atom2residue.tolist() == [0] * 5 + [1] * 4
    alpha = protein.subgraph(protein.atom_name == data.Protein.atom_name2id["CA"])
    assert alpha.num_atom == 3 and alpha.num_residue == 3
    assert protein[1].to_sequence() == "G"


def test_views_and_packing(protein):
    other = protein.subresidue([1, 2])
    packed = data.Protein.pack([protein, other])
    assert packed.num_residues.tolist() == [3, 2]
    assert packed.to_sequence() == ["AG.S", "G.S"]
    assert packed.residue2graph.tolist() == [0, 0, 0, 1, 1]
    assert packed.unpack()[0].to_sequence() == "AG.S"
    packed.view = "residue"
    assert packed.node_feature.shape == (5, 21)
    packed.view = "atom"
    assert packed.node_feature.shape == (packed.num_node, 67)


def test_graph_construction_by_brute_force():
    proteins = [random_protein(n, seed=n) for n in (12, 1, 30)]
    packed = data.Protein.pack(proteins)
    graph = layers.GraphConstruction(
        node_layers=[geometry.AlphaCarbonNode()],
        edge_layers=[geometry.SequentialEdge(max_distance=2), geometry.SpatialEdge(radius=8, min_distance=3),
                     geometry.KNNEdge(k=4, min_distance=3)], edge_feature="gearnet")(packed)
    assert graph.num_relation == 7
    edges = {tuple(edge) for edge in graph.edge_list.tolist()}
    assert len(edges) == graph.num_edge
    expected, start = set(), 0
    for protein in proteins:
        n = int(protein.num_residue)
        distance = torch.cdist(protein.node_position.double(), protein.node_position.double())
        for j in range(n):
            nearest = distance[j].argsort()[1:5].tolist() if n > 1 else []
            for i in range(n):
                if abs(i - j) <= 2:
                    expected.add((start + i, start + j, j - i + 2))
                if abs(i - j) >= 3 and distance[i, j] < 8:
                    expected.add((start + i, start + j, 5))
                if abs(i - j) >= 3 and i in nearest:
                    expected.add((start + i, start + j, 6))
        start += n
    assert edges == expected
    check_edge_features(graph)


def check_edge_features(graph):
    source, target, relation = graph.edge_list.t()
    assert graph.edge_feature.shape == (graph.num_edge, 20 + 20 + 7 + 11 + 1)
    first, second, kind, apart, length = graph.edge_feature.split([20, 20, 7, 11, 1], dim=1)
    assert torch.equal(first.argmax(1), graph.residue_type[source])
    assert torch.equal(second.argmax(1), graph.residue_type[target])
    assert torch.equal(kind.argmax(1), relation)
    assert torch.equal(apart.argmax(1), (source - target).abs().clamp(max=10))
    distance = (graph.node_position[source] - graph.node_position[target]).norm(dim=1)
    torch.testing.assert_close(length.squeeze(1), distance)


def test_spatial_line_graph_has_angles():
    graph = layers.GraphConstruction(edge_layers=[geometry.SpatialEdge(radius=8, min_distance=0)], edge_feature=None)(
        data.Protein.pack([random_protein(10), random_protein(8, seed=1)]))
    line = layers.SpatialLineGraph(num_angle_bin=8)(graph)
    assert line.num_node == graph.num_edge and line.num_relation == 8
    x = graph.node_position.double()
    for a, b, bin in line.edge_list.tolist():
        i, j, _ = graph.edge_list[a].tolist()
        j_again, k, _ = graph.edge_list[b].tolist()
        assert j == j_again
        first, second = x[k] - x[j], x[i] - x[j]
        cosine = (first @ second / (first.norm() * second.norm())).clamp(-1, 1)
        angle = float(torch.arccos(cosine)) / torch.pi * 8
        # on the border of two bins float32 may take either
        assert int(angle - 1e-3) <= bin <= int(angle + 1e-3) or bin == 7


def test_gearnet_forward_and_backward():
    torch.manual_seed(0)
    packed = data.Protein.pack([random_protein(n, seed=n) for n in (20, 9)])
    packed.view = "residue"
    graph = layers.GraphConstruction(
        edge_layers=[geometry.SequentialEdge(2), geometry.SpatialEdge(8, 3), geometry.KNNEdge(4, 3)],
        edge_feature="gearnet")(packed)
    model = models.GearNet(21, [16, 16], num_relation=7, edge_input_dim=59, num_angle_bin=8, batch_norm=True,
                           concat_hidden=True, short_cut=True)
    output = model(graph, graph.node_feature.float())
    assert output["node_feature"].shape == (29, 32) and output["graph_feature"].shape == (2, 32)
    output["graph_feature"].square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
