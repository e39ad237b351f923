"""The reader's policy, line by line, on small files written here."""

import dataclasses
import re

import numpy as np
import pytest

from gearnet_plugin.structures import RESIDUE_NAMES, read_structure
from structure_text import atom, backbone, cif_text, names, numbers, pdb_line, pdb_text, write

UNKNOWN = 20


@pytest.fixture
def read(tmp_path):
    """Write a text (or bytes) under a name and read it."""
    return lambda content, name="test.pdb": read_structure(write(tmp_path / name, content))


# === what a Structure holds ===


def test_fields_of_a_plain_file(read, tmp_path):
    text = pdb_text(
        atom("CA", "GLY", -3, (1.5, -2.25, 3.125), b=11.5),
        atom("CA", "TRP", 10, (4, 5, 6), insertion="B", b=12.5),
        "TER",
        atom("CA", "MET", 7, (7, 8, 9), chain="x", b=13.5),
    )
    structure = read(text, "1abc.pdb")
    assert structure.name == "1abc" and structure.source == str(tmp_path / "1abc.pdb")
    assert len(structure) == 3 and structure.sequence == "GWM"
    np.testing.assert_array_equal(structure.positions, [[1.5, -2.25, 3.125], [4, 5, 6], [7, 8, 9]])
    np.testing.assert_array_equal(structure.residue_types, [0, 19, 14])
    assert structure.chain_ids.tolist() == structure.label_chain_ids.tolist() == ["A", "A", "x"]
    assert numbers(structure) == [-3, 10, 7] and structure.insertion_codes.tolist() == ["", "B", ""]
    assert names(structure) == ["GLY", "TRP", "MET"] and structure.confidence.tolist() == [11.5, 12.5, 13.5]
    assert structure.dropped == {} and structure.resolution is None and structure.method == ""
    dtypes = {
        field: getattr(structure, field).dtype for field in ("positions", "residue_types", "confidence")
    }
    assert dtypes == {"positions": np.float32, "residue_types": np.uint8, "confidence": np.float32}
    assert structure.residue_numbers.dtype == np.int32


def test_residue_types_are_in_torchdrugs_order(read):
    order = "GLY ALA SER PRO VAL THR CYS ILE LEU ASN ASP GLN LYS GLU MET HIS PHE ARG TYR TRP".split()
    assert list(RESIDUE_NAMES) == order
    structure = read(pdb_text(*(backbone(name, i) for i, name in enumerate(order))))
    assert (
        structure.residue_types.tolist() == list(range(20)) and structure.sequence == "GASPVTCILNDQKEMHFRYW"
    )


@pytest.mark.parametrize("ending", ["pdb", "cif"])
def test_chains_are_apart_and_carry_their_own_drops(read, ending):
    atoms = [*backbone("ALA", 1), atom("CB", number=2), *backbone("GLY", 1, chain="B"), *backbone("SER", 3)]
    structure = read(cif_text(atoms) if ending == "cif" else pdb_text(atoms), "1abc." + ending)
    assert structure.chain_ids.tolist() == ["A", "A", "B"], "the second part of chain A stands with the first"
    first, second = structure.chains()
    assert (first.name, second.name) == ("1abc_A", "1abc_B")
    assert names(first) == ["ALA", "SER"]
    assert names(second) == ["GLY"] and second.positions.shape == (1, 3)
    assert structure.dropped == first.dropped == {"no CA": 1} and second.dropped == {}
    (again,) = first.chains()
    assert dataclasses.replace(again, name=first.name) == first


def test_blank_chain_id_stays_blank(read):
    structure = read(pdb_text(backbone("ALA", 1, chain=" ")), "blank.pdb")
    assert structure.chain_ids.tolist() == [""] and structure.chains()[0].name == "blank"


def test_structure_refuses_arrays_that_do_not_fit(read):
    structure = read(pdb_text(backbone("ALA", 1)))
    with pytest.raises(ValueError, match=r"`residue_numbers` has shape \(2,\), expected \(1,\)"):
        dataclasses.replace(structure, residue_numbers=[1, 2])
    with pytest.raises(ValueError, match="allowed are b_factor, plddt"):
        dataclasses.replace(structure, confidence_kind="pae")
    assert structure != dataclasses.replace(structure, positions=structure.positions + 1)


def test_author_and_label_chain_of_mmcif(read):
    structure = read(cif_text(backbone("ALA", 1, chain="H"), labels={"H": "AA"}), "x.cif")
    assert structure.chain_ids.tolist() == ["H"] and structure.label_chain_ids.tolist() == ["AA"]


def test_pdb_and_mmcif_of_one_chain_agree(read):
    atoms = [
        *backbone("MSE", -1, record="HETATM"),
        *backbone("ALA", 1, altloc="A", occupancy=0.4, b=5.0),
        *backbone("SER", 1, altloc="B", occupancy=0.6, b=6.0),
        *backbone("GLY", 2, insertion="A"),
        atom("N", "VAL", 3),
        *backbone("UNK", 4),
    ]
    header = "HEADER    X    01-JAN-00   1ABC\nEXPDTA    SOLUTION NMR\n"
    pdb = read(pdb_text(atoms, "TER", header=header), "x.pdb")
    cif = read(cif_text(atoms, "_exptl.method 'SOLUTION NMR'"), "x.cif")
    assert numbers(pdb) == [-1, 1, 2, 4] and pdb.dropped == {"no CA": 1}
    assert dataclasses.replace(pdb, source="") == dataclasses.replace(cif, source="")


# === models, alternate locations ===


def test_first_model_only(read):
    models = [atom("CA", number=i, xyz=(i, 0, 0), model=i) for i in (1, 2)]
    pdb = read(pdb_text("MODEL        1", models[0], "ENDMDL", "MODEL        2", models[1], "ENDMDL", "END"))
    cif = read(cif_text(models), "x.cif")
    assert numbers(pdb) == numbers(cif) == [1]


@pytest.mark.parametrize(
    "alternatives, chosen",
    [
        ([("A", 0.4), ("B", 0.6)], 1),
        ([("A", 0.6), ("B", 0.4)], 0),
        ([("A", 0.5), ("B", 0.5)], 0),
        ([("B", 0.5), ("A", 0.5)], 1),
        ([("B", 0.3)], 0),
        ([("C", 0.0)], 0),
        ([("", 0.3), ("B", 0.7)], 1),
        ([("1", 0.3), ("2", 0.3), ("3", 0.4)], 2),
    ],
)
@pytest.mark.parametrize("ending", ["pdb", "cif"])
def test_altloc_of_highest_occupancy_then_lowest_letter(read, alternatives, chosen, ending):
    atoms = [
        atom("CA", xyz=(float(i), 0, 0), altloc=letter, occupancy=occupancy)
        for i, (letter, occupancy) in enumerate(alternatives)
    ]
    # Another atom in between: the alternatives of an atom need not stand side by side.
    atoms.insert(1, atom("CB"))
    structure = read(cif_text(atoms) if ending == "cif" else pdb_text(atoms), "x." + ending)
    assert structure.positions.tolist() == [[chosen, 0, 0]] and structure.dropped == {}


@pytest.mark.parametrize(
    "occupancies, chosen", [((0.6, 0.4), "SER"), ((0.4, 0.6), "PRO"), ((0.5, 0.5), "SER")]
)
def test_point_mutation_as_altloc_is_one_residue(read, occupancies, chosen):
    text = pdb_text(
        backbone("ALA", 1),
        backbone("SER", 2, altloc="A", occupancy=occupancies[0]),
        backbone("PRO", 2, altloc="B", occupancy=occupancies[1]),
        backbone("GLY", 3),
    )
    assert names(read(text)) == ["ALA", chosen, "GLY"]


def test_variant_without_ca_is_no_missing_residue(read):
    structure = read(pdb_text(backbone("LEU", 1), atom("CB", "ILE", 1, altloc="B", occupancy=0.5)))
    assert names(structure) == ["LEU"] and structure.dropped == {}


def test_one_number_for_two_residues_is_no_variant_without_altloc(read):
    assert names(read(pdb_text(backbone("SER", 2), backbone("PRO", 2)))) == ["SER", "PRO"]


def test_repeated_ca_is_taken_once_and_counted(read):
    structure = read(pdb_text(atom("CA", xyz=(1, 0, 0)), atom("CA", xyz=(2, 0, 0))))
    assert structure.positions.tolist() == [[1, 0, 0]] and structure.dropped == {"repeated CA": 1}


# === residue types ===

PARENTS = dict(
    MSE="MET", SEP="SER", TPO="THR", PTR="TYR", HYP="PRO", LLP="LYS", CSO="CYS", PCA="GLU", DAL="ALA",
    SEC="CYS", PYL="LYS",
    HIE="HIS", HID="HIS", HIP="HIS", HSD="HIS", HSE="HIS", HSP="HIS", CYX="CYS", CYM="CYS", LYN="LYS",
    ASH="ASP", GLH="GLU",
)  # fmt: skip


@pytest.mark.parametrize("name, parent", PARENTS.items())
def test_modified_residue_counts_as_its_parent(read, name, parent):
    structure = read(pdb_text(backbone("ALA", 1), backbone(name, 2), backbone("ALA", 3)))
    assert names(structure) == ["ALA", name, "ALA"]
    assert structure.residue_types[1] == RESIDUE_NAMES.index(parent)


@pytest.mark.parametrize("name", ["UNK", "ASX", "GLX", "XQZ"])
@pytest.mark.parametrize("record", ["ATOM", "HETATM"])
def test_unknown_residue_of_the_chain_is_kept_as_unknown(read, name, record):
    structure = read(pdb_text(backbone("ALA", 1), backbone(name, 2, record=record), backbone("GLY", 3)))
    assert structure.residue_types.tolist() == [1, UNKNOWN, 0] and structure.sequence == "AXG"


def test_parent_declared_by_the_file(read):
    """XQZ is in no table; HSE is a histidine of CHARMM unless the file says it is homoserine."""
    header = "".join(f"MODRES 1ABC {name} A    {i}  SER  SOMETHING\n" for i, name in ((2, "XQZ"), (3, "HSE")))
    text = pdb_text(backbone("ALA", 1), backbone("XQZ", 2), backbone("HSE", 3))
    assert read(text).sequence == "AXH"
    assert read(header + text).sequence == "ASS"


# === what belongs to the chain ===


def test_water_nucleotides_and_ligands_are_out(read):
    text = pdb_text(
        backbone("ALA", 1),
        atom("P", "DA", 1, chain="B", element="P"),
        atom("O", "HOH", 100, record="HETATM"),
        atom("CA", "HEM", 101, record="HETATM"),
        atom("CA", "CA", 102, record="HETATM", element="CA"),
    )
    structure = read(text)
    assert names(structure) == ["ALA"] and structure.dropped == {}


def test_ca_is_a_carbon(read):
    """Calcium is no Cα, whatever the residue is called; but alignment alone makes no calcium."""
    calcium = atom("CA", "GLY", 2, element="CA")
    structure = read(pdb_text(backbone("ALA", 1), calcium))
    assert names(structure) == ["ALA"] and structure.dropped == {"no CA": 1}
    left_aligned = pdb_line(calcium)[:66] + "\n"
    assert left_aligned[12:16] == "CA  "
    assert names(read(pdb_text(backbone("ALA", 1)) + left_aligned)) == ["ALA", "GLY"]


FREE = dict(record="HETATM", chain="A")


@pytest.mark.parametrize("name", ["GLY", "SAM", "MSE", "UNK"])
@pytest.mark.parametrize("ter", [["TER"], []])
def test_free_amino_acid_is_a_ligand(read, name, ter):
    text = pdb_text(backbone("ALA", 1), backbone("VAL", 2), *ter, backbone(name, 90, **FREE))
    assert names(read(text)) == ["ALA", "VAL"]


def test_free_amino_acid_in_mmcif_is_told_by_its_entity(read):
    """In spite of an ATOM record next to the chain's end."""
    atoms = [*backbone("ALA", 1), *backbone("GLY", 2, entity="2")]
    assert names(read(cif_text(atoms, entities=(("1", "polymer"), ("2", "non-polymer"))), "x.cif")) == ["ALA"]


def test_mmcif_polymer_needs_no_bond(read):
    atoms = [*backbone("ALA", 1), *backbone("GLY", 9, record="HETATM"), *backbone("XQZ", 20, record="HETATM")]
    assert read(cif_text(atoms), "x.cif").sequence == "AGX"


def test_mmcif_without_entities_is_read_like_pdb(read):
    atoms = [*backbone("ALA", 1), *backbone("MSE", 2, record="HETATM"), *backbone("GLY", 90, record="HETATM")]
    text = re.sub(r"loop_\n_entity.id.*?(?=loop_)", "", cif_text(atoms), flags=re.DOTALL)
    assert "_entity." not in text
    assert names(read(text, "x.cif")) == ["ALA", "MSE"]


@pytest.mark.parametrize(
    "parts, expected",
    [
        # A modified residue alone between gaps: before TER, or before more of the chain.
        ([backbone("ALA", 1), backbone("MSE", 9, **FREE), "TER"], ["ALA", "MSE"]),
        ([backbone("MSE", 1, **FREE), backbone("ALA", 9)], ["MSE", "ALA"]),
        # Bonded through another HETATM residue, forwards and backwards.
        ([backbone("ALA", 1), backbone("XQZ", 2, **FREE), backbone("GLY", 3, **FREE)], ["ALA", "XQZ", "GLY"]),
        ([backbone("GLY", 1, **FREE), backbone("XQZ", 2, **FREE), backbone("ALA", 3)], ["GLY", "XQZ", "ALA"]),
        # TER at a gap within the chain.
        ([backbone("ALA", 1), "TER", backbone("GLY", 9), backbone("MSE", 10, **FREE)], ["ALA", "GLY", "MSE"]),
        # A chain all of HETATM records.
        ([backbone("DAL", 1, **FREE), backbone("DLE", 2, **FREE)], ["DAL", "DLE"]),
        # CA traces have no C-N bonds.
        ([atom("CA", "ALA", 1), atom("CA", "MSE", 2, (3.8, 0, 0), **FREE)], ["ALA", "MSE"]),
        ([atom("CA", "ALA", 1), atom("CA", "XQZ", 2, (3.8, 0, 0), **FREE)], ["ALA", "XQZ"]),
        ([atom("CA", "ALA", 1), atom("CA", "GLY", 2, (9.0, 0, 0), **FREE)], ["ALA"]),
        # Ligands: a free glycine before the chain; what is bonded to the chain but stands after TER.
        ([backbone("GLY", 1, **FREE), backbone("ALA", 9)], ["ALA"]),
        ([backbone("ALA", 1), "TER", backbone("XQZ", 2, **FREE)], ["ALA"]),
        # A variant in HETATM records is bonded to the residue before its other variant.
        (
            [
                backbone("ALA", 1),
                backbone("MET", 2, altloc="B", occupancy=0.3),
                backbone("XQZ", 2, altloc="A", occupancy=0.7, **FREE),
            ],
            ["ALA", "XQZ"],
        ),
    ],
)
def test_hetatm_residues_of_the_chain(read, parts, expected):
    assert names(read(pdb_text(*parts))) == expected


@pytest.mark.parametrize("residues", [[("GLY", 1)], [("DAL", 1), ("DLE", 9)]])
def test_hetatm_residues_alone_are_no_chain(read, residues):
    with pytest.raises(ValueError, match="no protein residue with a CA atom"):
        read(pdb_text(*(backbone(name, number, **FREE) for name, number in residues)))


# === what is dropped ===


def test_residue_without_ca_is_counted(read):
    structure = read(pdb_text(backbone("ALA", 1), atom("N", "GLY", 2), backbone("VAL", 3)))
    assert names(structure) == ["ALA", "VAL"] and structure.dropped == {"no CA": 1}


@pytest.mark.parametrize("bad", ["nan", "inf", "?", "1e5", "-1e5", "1e30"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_bad_coordinates_are_counted(read, bad, axis):
    xyz = [0, 0, 0]
    xyz[axis] = bad
    atoms = [atom("CA"), atom("CA", number=2, xyz=xyz), atom("CA", number=3, xyz=(0, 99999.0, 0))]
    structure = read(cif_text(atoms), "x.cif")
    assert numbers(structure) == [1, 3] and structure.dropped == {"bad coordinates": 1}


def test_bad_coordinates_in_pdb(read):
    structure = read(pdb_text(atom("CA"), atom("CA", number=2, xyz=("nan", 0, 0))))
    assert numbers(structure) == [1] and structure.dropped == {"bad coordinates": 1}


def test_residue_without_number_is_counted(read):
    structure = read(pdb_text(atom("CA"), atom("CA", "GLY", number="")))
    assert numbers(structure) == [1] and structure.dropped == {"no residue number": 1}


# === where the file comes from ===

ALPHAFOLD_TITLE = "TITLE     ALPHAFOLD MONOMER V2.0 PREDICTION FOR SOMETHING\n"


@pytest.mark.parametrize(
    "header, name, expected",
    [
        ("", "x.pdb", ("", "b_factor")),
        (ALPHAFOLD_TITLE, "x.pdb", ("predicted", "plddt")),
        ("REMARK   1 MODEL OF THE ALPHAFOLD DATABASE\n", "x.pdb", ("predicted", "plddt")),
        ("HEADER    ALPHAFOLD MODEL".ljust(80) + "\n", "x.pdb", ("predicted", "plddt")),
        ("TITLE     ESMFOLD V1 PREDICTION FOR INPUT\n", "x.pdb", ("predicted", "plddt")),
        ("", "AF-P12345-F1-model_v4.pdb", ("predicted", "plddt")),
        ("", "AF-tagged.pdb", ("", "b_factor")),
        ("EXPDTA    THEORETICAL MODEL\n", "x.pdb", ("predicted", "b_factor")),
        ("EXPDTA    X-RAY DIFFRACTION\n", "x.pdb", ("X-RAY DIFFRACTION", "b_factor")),
        (
            "EXPDTA    X-RAY DIFFRACTION\nREMARK 200 STARTING MODEL: ALPHAFOLD\n",
            "x.pdb",
            ("X-RAY DIFFRACTION", "b_factor"),
        ),
        ("_ma_qa_metric.id 1\n_ma_qa_metric.name pLDDT\n", "x.cif", ("predicted", "plddt")),
        ("_ma_qa_metric.id 1\n_ma_qa_metric.name QMEANDisCo\n", "x.cif", ("predicted", "b_factor")),
        ("_database_2.database_id AlphaFoldDB\n", "x.cif", ("predicted", "plddt")),
        ("_entry.id AF-P12345-F1\n", "x.cif", ("predicted", "plddt")),
        ("_struct.title 'AlphaFold prediction'\n", "x.cif", ("predicted", "plddt")),
        (
            "_exptl.method 'ELECTRON MICROSCOPY'\n_struct.title 'Alphafold fits'\n",
            "x.cif",
            ("ELECTRON MICROSCOPY", "b_factor"),
        ),
    ],
)
def test_method_and_confidence_kind(read, header, name, expected):
    atoms = backbone("ALA", 1, b=70.5)
    text = cif_text(atoms, header) if name.endswith("cif") else pdb_text(atoms, header=header)
    structure = read(text, name)
    assert (structure.method, structure.confidence_kind) == expected
    assert structure.confidence.tolist() == [70.5]


def test_plddt_from_0_to_1_is_rescaled_and_b_factors_are_not(read):
    text = pdb_text(backbone("ALA", 1, b=0.5), backbone("ALA", 2, b=1.0))
    assert read(ALPHAFOLD_TITLE + text).confidence.tolist() == [50, 100]
    assert read(text).confidence.tolist() == [0.5, 1]


def test_resolution(read):
    atoms = backbone("ALA", 1)
    assert read(pdb_text(atoms, header="REMARK   2 RESOLUTION.    1.85 ANGSTROMS.\n")).resolution == 1.85
    assert read(pdb_text(atoms, header="REMARK   2 RESOLUTION. NOT APPLICABLE.\n")).resolution is None
    assert (
        read(cif_text(atoms, "_refine.pdbx_refine_id 1\n_refine.ls_d_res_high 2.5"), "x.cif").resolution
        == 2.5
    )


def test_endless_chain_id_is_refused(tmp_path):
    """Every residue carries its chain id, so one of a million characters would fill the memory."""
    atoms = [a for number in range(1, 4) for a in backbone("GLY", number, chain="A" * 1000)]
    path = write(tmp_path / "long.cif", cif_text(atoms))
    with pytest.raises(ValueError, match="long.cif.*a chain id has 1000 characters, more than 64"):
        read_structure(path)


def test_overlong_residue_name_is_refused(read):
    """It would widen the name of every residue."""
    with pytest.raises(ValueError, match="long.cif.*a residue name has 1000 characters, more than 64"):
        read(cif_text([*backbone("ALA", 1), *backbone("X" * 1000, 2)]), "long.cif")


def test_numbers_beside_the_coordinates_are_finite(read):
    atoms = [atom("CA", number=number, b=b) for number, b in ((1, 20.5), (2, "nan"), (3, "inf"))]
    header = "_exptl.method 'X-RAY DIFFRACTION'\n_refine.pdbx_refine_id x\n_refine.ls_d_res_high {}"
    structure = read(cif_text(atoms, header.format("inf")), "x.cif")
    assert structure.confidence.tolist() == [20.5, 0, 0] and structure.resolution is None
    assert read(cif_text(atoms, header.format("1.5")), "x.cif").resolution == 1.5


def test_negative_confidence_is_no_fraction(read):
    atoms = [atom("CA", number=number, b=b) for number, b in ((1, -1e38), (2, 0.5))]
    structure = read(cif_text(atoms, "_struct.title 'ALPHAFOLD'"), "x.cif")
    assert structure.confidence_kind == "plddt" and structure.confidence[1] == 0.5
