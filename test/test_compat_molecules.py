"""TorchDrug's molecules on the current RDKit."""
import matplotlib
import pytest
import torch
from matplotlib import pyplot
from rdkit import Chem
from rdkit.Chem import QED, Crippen

from torchdrug import data, metrics

# aspirin, a salt, a charged ring with stereochemistry, one atom
SMILES = ["CC(=O)Oc1ccccc1C(=O)O", "[NH4+].[Cl-]", "C[C@H]1CC[NH2+]C1", "O"]


@pytest.mark.parametrize("smiles", SMILES)
def test_atoms_and_bonds_are_rdkits(smiles):
    molecule = data.Molecule.from_smiles(smiles)
    reference = Chem.MolFromSmiles(smiles)
    assert molecule.atom_type.tolist() == [atom.GetAtomicNum() for atom in reference.GetAtoms()]
    assert molecule.formal_charge.tolist() == [atom.GetFormalCharge() for atom in reference.GetAtoms()]
    pairs = {frozenset((bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())) for bond in reference.GetBonds()}
    edges = molecule.edge_list[:, :2].tolist()
    # both directions of each bond
    assert {frozenset(edge) for edge in edges} == pairs and len(edges) == 2 * len(pairs)


@pytest.mark.parametrize("smiles", SMILES)
def test_smiles_round_trip(smiles):
    molecule = data.Molecule.from_smiles(smiles)
    assert molecule.to_smiles(isomeric=True) == Chem.CanonSmiles(smiles)
    assert molecule.is_valid_rdkit


def test_batch_equals_single():
    batch = data.PackedMolecule.from_smiles(SMILES)
    assert batch.to_smiles(isomeric=True) == [Chem.CanonSmiles(smiles) for smiles in SMILES]
    assert batch.num_atoms.tolist() == [13, 2, 6, 1]
    for one, smiles in zip(batch.unpack(), SMILES):
        alone = data.Molecule.from_smiles(smiles)
        assert torch.equal(one.atom_feature, alone.atom_feature)
        assert torch.equal(one.bond_feature, alone.bond_feature)
        assert torch.equal(one.edge_list, alone.edge_list)


@pytest.mark.parametrize("name", ["default", "symbol", "center_identification", "synthon_completion",
                                  "property_prediction", "explicit_property_prediction", "pretrain"])
def test_atom_features(name):
    molecule = data.Molecule.from_smiles(SMILES[0], atom_feature=name)
    assert molecule.atom_feature.shape[0] == 13 and molecule.atom_feature.dim() == 2
    # each atom its symbol at the least
    assert molecule.atom_feature.sum(1).min() > 0


def test_molecule_fingerprint():
    feature = data.Molecule.from_smiles(SMILES[0], mol_feature="ecfp").mol_feature
    assert feature.shape == (1024,) and set(feature.unique().tolist()) == {0, 1}


def test_substructure_scaffold_and_subgraph():
    molecule = data.Molecule.from_smiles(SMILES[0])
    assert molecule.to_scaffold() == "c1ccccc1"
    ring = molecule.subgraph((molecule.atom_type == 6) & (molecule.node2graph == 0))
    assert ring.num_atom == 9
    phenyl = molecule.subgraph(list(range(4, 10)))
    assert phenyl.to_smiles() == "c1ccccc1"


def test_ions_become_neutral():
    molecule = data.Molecule.from_smiles("CC(=O)[O-]")
    molecule = molecule.ion_to_molecule()
    assert molecule.formal_charge.tolist() == [0] * 4


def test_wrong_smiles():
    with pytest.raises(ValueError, match="Invalid SMILES `C1CC`"):
        data.Molecule.from_smiles("C1CC")


def test_drawing(tmp_path):
    """One molecule, several, and a plain graph; the picture is not empty."""
    matplotlib.use("Agg")
    batch = data.PackedMolecule.from_smiles(SMILES[:2])
    batch[0].visualize(title="aspirin", save_file=str(tmp_path / "one.png"))
    batch.visualize(["aspirin", "salt"], save_file=str(tmp_path / "both.png"))
    data.Graph([[0, 1]], num_node=2).visualize(save_file=str(tmp_path / "graph.png"))
    for name in ("one", "both", "graph"):
        assert pyplot.imread(tmp_path / ("%s.png" % name)).std() > 0.01
    pyplot.close("all")


def test_scores_of_molecules():
    smiles = [SMILES[0], "CCO"]
    batch = data.PackedMolecule.from_smiles(smiles)
    reference = [Chem.MolFromSmiles(s) for s in smiles]
    assert metrics.QED(batch).tolist() == pytest.approx([QED.qed(mol) for mol in reference], rel=1e-5)
    assert metrics.logP(batch).tolist() == pytest.approx([Crippen.MolLogP(mol) for mol in reference], rel=1e-5)
    assert metrics.chemical_validity(batch).tolist() == [1, 1]
