"""DeepFRI's tables: functions, splits and cutoffs as they are written, and chains under the names of files."""
import csv
import os

import pytest

from deepfri_files import (
    CHAINS,
    CUTOFF_HEADER,
    CUTOFFS,
    EC,
    EC_OF,
    GO,
    GO_OF,
    ec_annotation,
    go_annotation,
    write_tables,
)
from gearnet_plugin.datasets.chain_names import ChainNames, split_name
from gearnet_plugin.datasets.deepfri import TEST_CUTOFFS, find_tables, read_annotation, read_cutoffs, read_lists


def write(path, text):
    path.write_text(text)
    return str(path)


def functions_of(annotation, chain):
    return [annotation.functions[place] for place in annotation.of(chain)]


# === annotation ===


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_ec_numbers_of_each_chain(tmp_path, end):
    path = tmp_path / "annot.tsv"
    path.write_bytes(ec_annotation().replace("\n", end).encode())
    annotation = read_annotation(path, "EC-numbers")
    assert annotation.functions == annotation.descriptions == EC
    assert list(annotation.rows) == list(EC_OF)
    for chain, cell in EC_OF.items():
        assert set(functions_of(annotation, chain)) == set(cell.split(","))


@pytest.mark.parametrize("place, branch", list(enumerate(GO)))
def test_go_terms_of_each_branch(tmp_path, place, branch):
    annotation = read_annotation(write(tmp_path / "annot.tsv", go_annotation()), f"GO-terms ({branch})")
    assert annotation.functions == GO[branch]
    assert annotation.descriptions == [f'"{term}", named' for term in GO[branch]]
    for chain, cells in GO_OF.items():
        assert set(functions_of(annotation, chain)) == set(filter(None, cells[place].split(",")))


def test_cells_missing_at_the_end_are_empty(tmp_path):
    """Editors strip tabs at line ends."""
    text = go_annotation().replace("1UBI-A\tGO:0000049\t\t", "1UBI-A\tGO:0000049")
    annotation = read_annotation(write(tmp_path / "annot.tsv", text), "GO-terms (cellular_component)")
    assert functions_of(annotation, "1UBI-A") == []
    assert functions_of(annotation, "1BD2-B") == ["GO:0000123"]


@pytest.mark.parametrize("change, message", [
    (("1ORC-A\t1.1.1.-", "1ORC-A\t1.1.1.-,9.9.9.9"), r"tsv, row 6, column `EC-numbers`: `9.9.9.9` is none of the 4"),
    (("1ORC-A\t1.1.1.-", "1BX8-A\t1.1.1.-"), r"row 6, column `PDB-chain`: `1BX8-A` is already in row 4; keep one"),
    (("1ORC-A\t1.1.1.-", "1ORC-A"), r"row 6: expected 2 cells separated by tabs, but found 1; the file may be cut off"),
    (("1ORC-A\t1.1.1.-", "1ORC-A\t1.1.1.-\tmore"), r"row 6: expected 2 cells separated by tabs, but found 3"),
    (("1ORC-A\t1.1.1.-", "\t1.1.1.-"), r"row 6, column `PDB-chain`: the cell is empty"),
    (("### EC-numbers\n", "EC-numbers\n"), r"row 1: expected a title that begins with `###`, but found `EC-numbers`"),
    (("### PDB-chain\tEC-numbers", "### PDB-chain\tGO-terms (molecular_function)"),
     r"should have the functions `EC-numbers`, but row 3 names the columns `GO-terms \(molecular_function\)`"),
    (("2.7.7.7\t2.7.7.-", "2.7.7.7\t2.7.7.7"), r"`2.7.7.7` stands twice among the 4 functions `EC-numbers`"),
    ((ec_annotation(), ""), r"no row `### PDB-chain` among its 0; the file is empty or cut off"),
    ((ec_annotation(), "### EC-numbers\n1.1.1.-\n"), r"no row `### PDB-chain` among its 2"),
    ((ec_annotation(), ec_annotation({})), r"it has a head, but no chains"),
])
def test_wrong_annotation(tmp_path, change, message):
    assert change[0] in ec_annotation()
    with pytest.raises(ValueError, match=message):
        read_annotation(write(tmp_path / "annot.tsv", ec_annotation().replace(*change)), "EC-numbers")


def test_no_text_and_no_file(tmp_path):
    (tmp_path / "annot.tsv").write_bytes(b"### EC-numbers\n\xff\xfe\n")
    with pytest.raises(ValueError, match="not UTF-8 text"):
        read_annotation(tmp_path / "annot.tsv", "EC-numbers")
    with pytest.raises(FileNotFoundError, match="no such table: `.*none.tsv`, looked from"):
        read_annotation(tmp_path / "none.tsv", "EC-numbers")


# === splits ===


@pytest.mark.parametrize("cutoff", TEST_CUTOFFS)
def test_cutoffs_are_found_by_their_column(tmp_path, cutoff):
    """In whichever order the columns stand."""
    order = [0, 3, 5, 1, 2, 4]
    rows = [CUTOFF_HEADER.split(","), *([chain, *row.split(",")] for chain, row in CUTOFFS.items())]
    path = write(tmp_path / "test.csv", "\n".join(",".join(row[i] for i in order) for row in rows))
    place = TEST_CUTOFFS.index(cutoff)
    expected = {chain: row.split(",")[place] == "1" for chain, row in CUTOFFS.items()}
    assert read_cutoffs(path, cutoff) == read_cutoffs(write_tables(tmp_path / "x") + "_test.csv", cutoff) == expected


@pytest.mark.parametrize("text, message", [
    ("", "the table is empty"),
    ("PDB-chain,<30%\n1A8O-A,1\n", r"row 1: expected a column `<70%` for test_cutoff 0.7, but the header has `PDB"),
    ("chain,<70%\n1A8O-A,yes\n", "row 2, column `<70%`: expected 0 or 1, but found `yes`"),
    ("chain,<70%\n1A8O-A\n", "row 2: expected 2 cells like the header, but found 1"),
    ("chain,<70%\n1A8O-A,1\n1A8O-A,0\n", "row 3, column `chain`: `1A8O-A` is already in row 2"),
])
def test_wrong_cutoffs(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read_cutoffs(write(tmp_path / "test.csv", text), 0.7)


def test_lists(tmp_path):
    tables = find_tables(os.path.dirname(write_tables(tmp_path, lists=True)), "nrPDB-EC")
    assert read_lists(tables.lists) == {chain: split for split, chains in CHAINS.items() for chain in chains}


@pytest.mark.parametrize("text, message", [
    ("1A8O-A\n1BX8-A\n", r"valid.txt, row 2: `1BX8-A` is already in .*train.txt, row 1; a chain belongs to one split"),
    ("1A8O-A\n\n1A8O-A\n", r"valid.txt, row 3: `1A8O-A` is already in .*valid.txt, row 1"),
    ("\n", r"valid.txt: the list is empty"),
])
def test_wrong_lists(tmp_path, text, message):
    paths = {"train": write(tmp_path / "train.txt", "1BX8-A\n"), "valid": write(tmp_path / "valid.txt", text)}
    with pytest.raises(ValueError, match=message):
        read_lists(paths)


def test_tables_are_found_by_both_names(tmp_path):
    assert find_tables(tmp_path, "nrPDB-EC") is None
    assert find_tables(tmp_path / "none", "nrPDB-EC") is None
    write_tables(tmp_path / "released")
    write_tables(tmp_path / "published", date="2020.04", lists=True)
    released, published = (find_tables(tmp_path / name, "nrPDB-EC") for name in ("released", "published"))
    assert os.path.basename(released.annotation) == "nrPDB-EC_annot.tsv" and released.lists == {}
    assert os.path.basename(published.cutoffs) == "nrPDB-EC_2020.04_test.csv"
    assert list(published.lists) == list(CHAINS)
    assert find_tables(tmp_path / "published", "nrPDB-GO") is None


def test_missing_and_doubled_tables(tmp_path):
    stem = write_tables(tmp_path, date="2020.04", lists=True)
    os.remove(f"{stem}_valid.txt")
    with pytest.raises(FileNotFoundError, match="2020.04_valid.txt` is missing, but the list of another split is"):
        find_tables(tmp_path, "nrPDB-EC")
    os.remove(f"{stem}_test.csv")
    with pytest.raises(FileNotFoundError, match=r"2020.04_test.csv` is missing beside `nrPDB-EC_2020.04_annot.tsv`"):
        find_tables(tmp_path, "nrPDB-EC")
    write_tables(tmp_path)
    with pytest.raises(ValueError, match="has several annotations, `nrPDB-EC_2020.04_annot.tsv`, `nrPDB-EC_annot.tsv`"):
        find_tables(tmp_path, "nrPDB-EC")


# === names ===


@pytest.mark.parametrize("name, expected", [
    ("1ABC-A", ("1ABC", "A")), ("1ABC-A_", ("1ABC", "A")), ("1ABC-A_2.5", ("1ABC", "A")), ("1abc_A", ("1ABC", "A")),
    ("1ABC_A", ("1ABC", "A")), ("1abc_A_", ("1ABC", "A")), ("1abcA", ("1ABC", "A")), ("pdb1abc", ("1ABC", "")),
    ("1abc", ("1ABC", "")), ("pdb1abc_A", ("1ABC", "A")), ("PDB1ABC-A", ("1ABC", "A")), ("pdb_00001abc", ("1ABC", "")),
    ("1abc-a", ("1ABC", "a")), ("6KMX-aA", ("6KMX", "aA")), ("6UE0-AAA", ("6UE0", "AAA")), ("1R9W-1", ("1R9W", "1")),
    ("AF-P12345-F1", None), ("notes", None), ("1abc_A_B", None), ("abcd-A", None), ("", None),
])
def test_spellings_of_a_chain(name, expected):
    assert split_name(name) == expected


def test_chain_ids_are_case_sensitive_and_entries_are_not():
    names = ChainNames(["4N9F-a", "4N9F-A", "1ABC-A"])
    assert names.find("4n9f_a") == "4N9F-a" and names.find("4N9F_A") == "4N9F-A"
    assert names.find("1ABC-a") is None and names.find("1abc-A") == "1ABC-A"
    assert names.find("pdb4n9f", "a") == "4N9F-a" and names.find("pdb4n9f", "B") is None
    assert names.of_file("pdb4n9f") == ["4N9F-a", "4N9F-A"] and names.of_file("4n9f_a") == ["4N9F-a"]
    assert names.of_file("2xyz") == []


def test_names_that_are_no_entries_are_taken_as_they_are():
    names = ChainNames(["mine", "P12345-A"])
    assert names.find("mine") == "mine" and names.find("P12345-A_relaxed") == "P12345-A" and names.find("other") is None


def test_structures_of_files():
    """A file named by a chain is that chain, whatever id is in it, unless it holds several."""
    names = ChainNames(["1ABC-A", "1ABC-B", "2XYZ-C"])
    structures = [
        ("pdb1abc_B", "x/pdb1abc.ent", "1ABC-B"),
        ("pdb1abc_Z", "x/pdb1abc.ent", None),
        ("1abc_A_Q", "x/1abc_A.pdb", "1ABC-A"),
        ("y_1/2XYZ-C_B", "y_1/2XYZ-C.pdb", None),
        ("y_1/2XYZ-C_C", "y_1/2XYZ-C.pdb", "2XYZ-C"),
        ("2xyz", "x/2xyz.cif", None),
        ("2xyz.pdb#2_C", "x/2xyz.pdb", "2XYZ-C"),
        ("notes_A", "x/notes.pdb", None),
    ]
    found = names.of_structures([row[0] for row in structures], [row[1] for row in structures])
    assert found == [row[2] for row in structures]


# === the published tables ===


def plain_rows(path, delimiter):
    with open(path, newline="") as file:
        return list(csv.reader(file, delimiter=delimiter))


def test_published_ec_tables(shared_data):
    """Every label of every chain, every list and every cutoff, read a second time with csv alone."""
    tables = find_tables(os.path.join(shared_data, "original"), "nrPDB-EC")
    annotation = read_annotation(tables.annotation, "EC-numbers")
    rows = plain_rows(tables.annotation, "\t")
    assert annotation.functions == rows[1] and len(rows[1]) == 538
    assert list(annotation.rows) == [row[0] for row in rows[3:]] and len(rows) - 3 == 19201
    for chain, cell in rows[3:]:
        assert sorted(annotation.of(chain)) == sorted(rows[1].index(number) for number in cell.split(","))
    splits = read_lists(tables.lists)
    for split, number in (("train", 15551), ("valid", 1729), ("test", 1919)):
        with open(tables.lists[split]) as file:
            chains = file.read().split()
        assert [chain for chain in splits if splits[chain] == split] == chains and len(chains) == number
    check_cutoffs(tables, [720, 902, 1117, 1476, 1919])


def test_published_go_tables(shared_data):
    folder = os.path.join(shared_data, "original")
    # the annotation itself is not held, only its last rows
    stem = os.path.join(folder, "nrPDB-GO_2019.06.18")
    splits = read_lists({split: f"{stem}_{split}.txt" for split in CHAINS})
    assert [list(splits.values()).count(split) for split in CHAINS] == [29902, 3323, 3416]
    rows = plain_rows(f"{stem}_test.csv", ",")[1:]
    for place, (cutoff, number) in enumerate(zip(TEST_CUTOFFS, [1717, 1937, 2199, 2733, 3416], strict=True), 1):
        stays = read_cutoffs(f"{stem}_test.csv", cutoff)
        assert stays == {row[0]: row[place] == "1" for row in rows} and sum(stays.values()) == number


def test_last_rows_of_the_published_go_annotation(shared_data, tmp_path):
    tail = plain_rows(os.path.join(shared_data, "original", "nrPDB-GO_2019.06.18_annot.TAIL6.tsv"), "\t")
    for place, branch in enumerate(GO, 1):
        terms = sorted({term for row in tail for term in row[place].split(",") if term})
        titles = "\t".join(["### PDB-chain", *(f"GO-terms ({each})" for each in GO)])
        head = [f"### GO-terms ({branch})", "\t".join(terms), titles]
        path = write(tmp_path / "annot.tsv", "\n".join(head + ["\t".join(row) for row in tail]))
        annotation = read_annotation(path, f"GO-terms ({branch})")
        for row in tail:
            assert set(functions_of(annotation, row[0])) == set(filter(None, row[place].split(",")))


@pytest.mark.parametrize("branch, number", [
    ("molecular_function", 488), ("biological_process", 1940), ("cellular_component", 320)])
def test_derived_go_annotation(shared_data, branch, number):
    path = os.path.join(shared_data, "labels", "nrPDB-GO_derived_annot.tsv")
    annotation = read_annotation(path, f"GO-terms ({branch})")
    rows = plain_rows(path, "\t")
    place = list(GO).index(branch)
    assert annotation.functions == rows[4 * place + 1] and annotation.descriptions == rows[4 * place + 3]
    assert len(annotation.functions) == number and list(annotation.rows) == [row[0] for row in rows[13:]]
    for row in rows[13:]:
        terms = row[place + 1].split(",") if row[place + 1] else []
        assert sorted(functions_of(annotation, row[0])) == sorted(terms)


def check_cutoffs(tables, numbers):
    rows = plain_rows(tables.cutoffs, ",")[1:]
    for place, (cutoff, number) in enumerate(zip(TEST_CUTOFFS, numbers, strict=True), 1):
        stays = read_cutoffs(tables.cutoffs, cutoff)
        assert stays == {row[0]: row[place] == "1" for row in rows} and sum(stays.values()) == number
