"""TorchDrug's own proteins are embedded like the files they come from, and what they lack is told."""

import gzip
import tempfile

import numpy as np
import pytest
import torch

from gearnet_plugin.embedding import LoadedEncoder
from gearnet_plugin.embedding.stock import to_structure
from gearnet_plugin.models import GearNetEncoder
from gearnet_plugin.structures import RESIDUE_NAMES, Structure, read_structure
from gearnet_plugin.structures.bundled import bundled_structures, bundled_table
from proteins import construction
from torchdrug import data


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return LoadedEncoder(GearNetEncoder(21, [16, 16], 7, batch_norm=True), construction())


@pytest.fixture(scope="module")
def files():
    """The bundled structures of at most 80 residues."""
    short = {row["structure"] for row in bundled_table() if row["length"] <= 80}
    return [str(path) for path in bundled_structures() if path.name in short]


def close(left, right):
    np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-5 * np.abs(right).max())


@pytest.fixture(scope="module")
def stock(files):
    """A bundled structure as `data.Protein.from_pdb` reads it, and its file."""
    # TorchDrug knows no modified residues
    path = next(f for f in files if ".pdb" in f and set(read_structure(f).residue_names) <= set(RESIDUE_NAMES))

    with tempfile.NamedTemporaryFile("wb", suffix=".pdb") as plain:
        plain.write(gzip.open(path).read())
        plain.flush()
        return data.Protein.from_pdb(plain.name, atom_feature=None, bond_feature=None), path


def test_a_stock_protein_is_embedded_like_its_file(model, stock):
    protein, path = stock
    expected = model.embed(path, level="both")
    found = model.embed(protein, level="both")
    assert found.names == ["protein0"] and found.sources == [""] and found.chains == expected.chains
    close(found.protein, expected.protein)
    close(found.residue[0], expected.residue[0])
    for key in ("chain_id", "residue_number", "insertion_code"):
        assert np.array_equal(found.keys[0][key], expected.keys[0][key])


def test_every_form_of_stock_protein(model, stock):
    """Atoms or residues, one or packed, alone or with files: rows in the order given."""
    protein, path = stock
    expected = model.embed(path).protein[0]
    carbons = protein.subgraph(protein.atom_name == data.Protein.atom_name2id["CA"])
    carbons.view = "residue"
    packed = data.Protein.pack([protein, protein])
    result = model.embed([protein, packed, path, carbons, packed[:1]])
    assert result.names[:3] == ["protein0", "protein1", "protein2"] and result.names[4:] == ["protein3", "protein4"]
    for vector in result.protein:
        close(vector, expected)


def test_stock_proteins_that_cannot_be(model, stock):
    protein, path = stock
    sequence = data.Protein.from_sequence("ARND", atom_feature=None, bond_feature=None)
    no_carbon = protein.subgraph(protein.atom_name != data.Protein.atom_name2id["CA"])
    result = model.embed([sequence, no_carbon, path])
    assert len(result) == 1
    assert [name for name, _ in result.drops] == ["protein0", "protein1"]
    assert "has no `node_position`; read it with" in result.drops[0][1] and "no Cα atom" in result.drops[1][1]
    with pytest.raises(ValueError, match=r"none of 1 structures can be read:\n  protein0: .*no `node_position`"):
        model.embed(sequence)


def test_unknown_and_incomplete_residues_of_stock_proteins(model, stock, caplog):
    """A residue without Cα is counted, an unknown one counts as unknown, not as glycine."""
    protein, _ = stock
    carbons = (protein.atom_name == data.Protein.atom_name2id["CA"]).nonzero().squeeze(-1)
    keep = torch.ones(int(protein.num_node), dtype=torch.bool)
    keep[carbons[3]] = False
    structure = to_structure(protein.subgraph(keep), "x")
    assert structure.dropped == {"no CA": 1} and len(structure) == len(carbons) - 1
    changed = protein.clone()
    with changed.residue():
        changed.residue_feature = changed.residue_feature.clone()
        changed.residue_feature[5] = 0
        changed.residue_feature[5, 20] = 1
    changed.residue_type[5] = 0
    structure = to_structure(changed, "x")
    assert isinstance(structure, Structure)
    assert structure.residue_types[5] == 20 and structure.residue_names[5] == "UNK"
    close(model.embed(changed).protein, model.embed(structure).protein)
    assert "protein0: 1 of %d residues are of unknown type" % len(structure) in caplog.text


def test_a_read_structure_and_a_stock_protein_are_equal(stock):
    protein, path = stock
    found, expected = to_structure(protein, "x"), read_structure(path)
    for name in ("positions", "residue_types", "chain_ids", "residue_numbers", "insertion_codes", "confidence"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name
