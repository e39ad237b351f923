"""Formats beyond PDB and mmCIF: BinaryCIF, FoldComp and HDF5 give what the plain file of the same atoms gives."""

import gzip
import importlib.util
import io
import os
import random
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

import gemmi
import numpy as np
import pytest

from gearnet_plugin.structures import fcz, find_entries, missing_formats, parse_structure, read_entry, read_structure
from gearnet_plugin.structures.bundled import bundled_path, bundled_structures
from structure_text import atom, backbone, cif_text, names, pdb_text, write

ROOT = Path(__file__).resolve().parents[1]
# The structures package without its parent, which would import torch.
ALONE = (
    "import sys, types; parent = types.ModuleType('gearnet_plugin'); "
    f"parent.__path__ = [{str(ROOT / 'gearnet_plugin')!r}]; sys.modules['gearnet_plugin'] = parent\n"
)


def text_of(path):
    return gzip.open(path, "rt").read() if str(path).endswith(".gz") else Path(path).read_text()


def alone(code, *arguments, **options):
    """Run code that a crash may end in a process of its own."""
    return subprocess.run([sys.executable, "-c", ALONE + code, *map(str, arguments)], capture_output=True, **options)


# === BinaryCIF ===


def to_binarycif(text):
    """BinaryCIF of an mmCIF text by biotite's writer."""
    pdbx = pytest.importorskip("biotite.structure.io.pdbx")
    file = pdbx.BinaryCIFFile()
    for name, source in pdbx.CIFFile.read(io.StringIO(text)).items():
        file[name] = block = pdbx.BinaryCIFBlock()
        for category in source:
            block[category] = pdbx.BinaryCIFCategory(
                {key: _column(pdbx, source[category][key]) for key in source[category]}
            )
    stream = io.BytesIO()
    pdbx.compress(file).write(stream)
    return stream.getvalue()


def _column(pdbx, column):
    """Numbers as numbers, as files of the PDB have them."""
    values, mask = column.data.array, column.mask and column.mask.array
    for dtype in (int, float):
        try:
            values = np.where(mask, "0", values).astype(dtype) if mask is not None else values.astype(dtype)
            break
        except ValueError:
            continue
    return pdbx.BinaryCIFColumn(values, mask)


TRICKY = cif_text(
    [
        *backbone("MSE", 1, record="HETATM"),
        *backbone("ALA", 2, altloc="B", occupancy=0.4),
        *backbone("GLY", 2, altloc="C", occupancy=0.6),
        atom("N", "SER", 3, (11.0, 0, 0)),
        *backbone("XYZ", 4),
        atom("CA", "QQQ", 5, (19.0, 0, 0)),
        atom("CA", "RRR", 6, (22.8, 0, 0)),
        atom("CB", "RRR", 6, (22.9, 1, 0)),
        *backbone("TRP", -7, insertion="A", chain="B"),
        atom("O5'", "DA", 1, (1, 2, 3), chain="D", entity="2"),
        atom("CA", "CA", 1, (1, 2, 3), chain="E", entity="3", record="HETATM"),
        *backbone("ALA", 1, model=2),
    ],
    entities=(("1", "polymer"), ("2", "polymer"), ("3", "non-polymer")),
    header="_struct.title 'a \"quoted\" title'\n_exptl.method 'X-RAY DIFFRACTION'\n"
    "_refine.pdbx_refine_id x\n_refine.ls_d_res_high 1.75",
    labels={"B": "Z"},
)


def test_binarycif_follows_the_policy_of_mmcif():
    expected = parse_structure(TRICKY.encode(), "x", "x.cif")
    assert names(expected) == ["MSE", "GLY", "XYZ", "QQQ", "TRP"]
    assert expected.dropped == {"no CA": 1} and expected.resolution == 1.75
    assert parse_structure(to_binarycif(TRICKY), "x", "x.cif") == expected


def test_binarycif_of_bundled_structures_equals_their_mmcif():
    files = [file for file in bundled_structures() if file.name.endswith(".cif.gz")][:6]
    assert len(files) == 6
    for file in files:
        text = text_of(file)
        assert parse_structure(to_binarycif(text), "x", "x") == parse_structure(text.encode(), "x", "x"), file


def test_binarycif_of_other_writers(shared_data):
    pytest.importorskip("biotite")
    for packed, plain in [
        ("biopython/1gbt.bcif.gz", "biopython/1GBT.cif"),
        ("biopython/3jqh.bcif.gz", "biopython/3JQH.cif"),
        ("biotite/1o1z.bcif", "biotite/1o1z.pdb"),
        ("biotite/5h73.bcif", "biotite/5h73.pdb"),
    ]:
        left, right = (read_structure(os.path.join(shared_data, "edge", name)) for name in (packed, plain))
        left.name, left.source, left.label_chain_ids = right.name, right.source, right.label_chain_ids
        assert left == right, packed


def test_content_decides_here_too(tmp_path):
    data = to_binarycif(cif_text(backbone("ALA", 1)))
    for name, content in [
        ("x.bcif", data),
        ("x.bcif.gz", gzip.compress(data)),
        ("x.cif", data),
        ("x.pdb.gz", data),
        ("x.bcif", cif_text(backbone("ALA", 1))),
    ]:
        assert names(read_structure(write(tmp_path / name, content))) == ["ALA"]


def test_damaged_binarycif_is_a_value_error():
    draw = random.Random(0)
    whole = to_binarycif(TRICKY)
    outcomes = {True: 0, False: 0}
    for _ in range(300):
        data = bytearray(whole if draw.random() < 0.7 else whole[: draw.randrange(30, len(whole))])
        for _ in range(draw.randrange(1, 4)):
            data[draw.randrange(30, len(data))] = draw.randrange(256)
        try:
            assert np.isfinite(parse_structure(bytes(data), "x", "x.bcif").positions).all()
            outcomes[True] += 1
        except ValueError as error:
            outcomes[False] += "cannot read structure 'x.bcif'" in str(error)
    assert sum(outcomes.values()) == 300 and min(outcomes.values()) > 10


def test_binarycif_that_declares_more_than_it_can_hold_is_refused():
    msgpack = pytest.importorskip("msgpack")
    whole = to_binarycif(TRICKY)
    plain = [{"kind": "ByteArray", "type": 3}]

    def changed(name, data, **encoding):
        content = msgpack.unpackb(whole)
        atoms = next(
            category for category in content["dataBlocks"][0]["categories"] if category["name"] == "_atom_site"
        )
        column = next(column for column in atoms["columns"] if column["name"] == name)
        column["data"] = {"data": data, "encoding": [encoding]}
        return msgpack.packb(content)

    run = {"kind": "RunLength", "srcSize": 1 << 31, "srcType": 3}
    strings = {"kind": "StringArray", "dataEncoding": plain, "offsetEncoding": plain}
    for data, message in [
        (changed("id", struct.pack("<2i", 1, 1 << 30), **run), "2147483648 values, more than the file has bytes"),
        (
            changed(
                "auth_asym_id",
                struct.pack("<2i", 0, 1),
                stringData="ab",
                offsets=struct.pack("<3i", 0, 2, 0),
                **strings,
            ),
            "table of strings of a column is damaged",
        ),
        (
            changed(
                "auth_asym_id",
                struct.pack("<2i", 0, -2),
                stringData="ab",
                offsets=struct.pack("<3i", 0, 1, 2),
                **strings,
            ),
            "table of strings of a column is damaged",
        ),
        (
            changed(
                "auth_asym_id",
                bytes(4 * 30_000),
                stringData="x" * 100_000,
                offsets=struct.pack("<2i", 0, 100_000),
                **strings,
            ),
            "strings of a column are more than 200 times as long as the file",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            parse_structure(data, "x", "x.bcif")


# === FoldComp ===

FOLDED = ["1ahs_A", "1bx8_A", "1ejg_A", "1afs_A"]


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
    """FoldComp entries by name, made in another process: foldcomp may crash on what it compresses."""
    pytest.importorskip("foldcomp")
    folder = tmp_path_factory.mktemp("fcz")
    code = (
        "import foldcomp, gzip, sys\nfor i in range(1, len(sys.argv), 2):\n"
        "    text = gzip.open(sys.argv[i], 'rt').read()\n"
        "    open(sys.argv[i + 1], 'wb').write(foldcomp.compress('a title', text))"
    )
    paths = [path for name in FOLDED for path in (bundled_path() / f"{name}.pdb.gz", folder / f"{name}.fcz")]
    assert alone(code, *paths).returncode == 0
    return {name: (folder / f"{name}.fcz").read_bytes() for name in FOLDED}


def entry_of(text, title="a title"):
    return pytest.importorskip("foldcomp").compress(title, text)


def peptide(first=1, number=8):
    """A helix with all heavy atoms of alanine, which foldcomp compresses without harm."""
    turns = [
        (name, radius, angle, rise)
        for name, radius, angle, rise in [
            ("N", 1.55, -28, -0.9),
            ("CA", 2.28, 0, 0),
            ("C", 1.66, 26, 1.1),
            ("O", 2.0, 33, 2.3),
            ("CB", 3.3, -18, 0.7),
        ]
    ]
    atoms = []
    for i in range(number):
        for name, radius, angle, rise in turns:
            phase = np.deg2rad(100 * i + angle)
            xyz = (float(radius * np.cos(phase)), float(radius * np.sin(phase)), 1.5 * i + rise)
            atoms.append(atom(name, "ALA", first + i, xyz, b=50.0 + i))
    return pdb_text(atoms)


def test_foldcomp_keeps_residues_and_nearly_their_places(entries):
    for name, data in entries.items():
        folded, plain = parse_structure(data, name, "x.fcz"), read_structure(bundled_path() / f"{name}.pdb.gz")
        assert folded.sequence == plain.sequence and folded.chain_ids.tolist() == plain.chain_ids.tolist()
        assert folded.residue_numbers[0] == plain.residue_numbers[0]
        away = np.linalg.norm(folded.positions - plain.positions, axis=1)
        assert np.median(away) < 0.1 and away.max() < 0.6, name
        assert np.abs(folded.confidence - plain.confidence).max() < np.ptp(plain.confidence) / 200 + 0.01
        assert folded.confidence_kind == "b_factor"


def test_foldcomp_gives_what_foldcomp_itself_writes(entries):
    foldcomp = pytest.importorskip("foldcomp")
    for data in entries.values():
        lines = foldcomp.decompress(data)[1].splitlines()
        expected = [[float(line[30 + 8 * k : 38 + 8 * k]) for k in range(3)] for line in lines if line[12:16] == " CA "]
        assert np.array_equal(parse_structure(data, "x", "x").positions, np.float32(expected))


def test_foldcomp_numbers_titles_and_kinds_of_confidence():
    for first in (-3, 1, 9990):
        assert parse_structure(entry_of(peptide(first)), "x", "x").residue_numbers.tolist() == [
            *range(first, first + 8)
        ]
    false = pdb_text(backbone("TRP", 1))
    assert parse_structure(entry_of(peptide(), "first\n" + false), "x", "x").sequence == "A" * 8
    plddt = parse_structure(entry_of(peptide(), "ALPHAFOLD MONOMER V2.0 PREDICTION"), "x", "x")
    assert (plddt.confidence_kind, plddt.method) == ("plddt", "predicted")
    np.testing.assert_allclose(plddt.confidence, np.arange(50, 58), atol=0.02)
    for title, name in [
        ("AF-P12345-F1-model_v4", "x"),
        ("", "AF-P12345-F1-model_v4"),
        ("AF-P12345-F1-model_v4.cif.gz", "x"),
    ]:
        assert parse_structure(entry_of(peptide(), title), name, "x").confidence_kind == "plddt"
    assert parse_structure(entry_of(peptide()), "x", "x").confidence_kind == "b_factor"


def test_foldcomp_entry_with_too_few_side_chains_is_read(entries):
    """foldcomp writes such for residues that share a number, and then reads beyond them."""
    data = entries["1ahs_A"]
    angles, length, anchors = (
        struct.unpack_from(code, data, at)[0] for code, at in (("<I", 16), ("<I", 24), ("B", 12))
    )
    residues = struct.unpack_from("<H", data, 4)[0]
    end = 76 + 40 * anchors + length + 13 + 8 * residues + angles
    fewer = data[:16] + struct.pack("<I", angles - 6) + data[20 : end - 6] + data[end:]
    assert parse_structure(fewer, "x", "x") == parse_structure(data, "x", "x")


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda data: data[:20], "of 20 bytes is cut off"),
        (lambda data: data[:-1], "is damaged or cut off: it has"),
        (lambda data: data + b"more", "is damaged or cut off: it has"),
        (lambda data: data[:4] + struct.pack("<H", 60000) + data[6:], "is damaged or cut off: it has"),
        (lambda data: data[:24] + struct.pack("<I", 1 << 31) + data[28:], "is damaged or cut off: it has"),
        (lambda data: data[:76] + struct.pack("<i", -5) + data[80:], "anchors of its FoldComp entry are damaged"),
        (lambda data: data[:80] + struct.pack("<i", 1 << 30) + data[84:], "anchors of its FoldComp entry are damaged"),
        (lambda data: data[:20] + b"?" + data[21:], "residues of its FoldComp entry are damaged"),
        (
            lambda data: data[:28] + struct.pack("<f", float("nan")) + data[32:],
            "holds numbers that are none, or too large",
        ),
        (lambda data: strange_residue(data), "residues of unknown type 31"),
    ],
)
def test_damaged_foldcomp_entries(entries, change, message):
    with pytest.raises(ValueError, match=message):
        parse_structure(change(entries["1ahs_A"]), "x", "x.fcz")


def strange_residue(data):
    start = 76 + 40 * data[12] + struct.unpack_from("<I", data, 24)[0] + 13
    return data[: start + 80] + b"\xff" + data[start + 81 :]


def test_damaged_foldcomp_never_ends_the_process(entries, tmp_path):
    """Entries changed at random are read or refused. foldcomp alone dies of one in eight of them."""
    (tmp_path / "x.fcz").write_bytes(entries["1ahs_A"])
    code = """
import random
import numpy as np
from gearnet_plugin.structures import parse_structure
whole, draw, outcomes = open(sys.argv[1], "rb").read(), random.Random(0), [0, 0]
for _ in range(500):
    data = bytearray(whole if draw.random() < 0.8 else whole[: draw.randrange(4, len(whole))])
    most = draw.choice([200, len(data)])
    for _ in range(draw.randrange(1, 4)):
        data[draw.randrange(4, min(most, len(data)))] = draw.randrange(256)
    try:
        assert np.isfinite(parse_structure(bytes(data), "x", "x").positions).all()
        outcomes[0] += 1
    except ValueError:
        outcomes[1] += 1
print(*outcomes)
"""
    done = alone(code, tmp_path / "x.fcz", text=True)
    assert done.returncode == 0, done.stderr
    assert min(map(int, done.stdout.split())) > 50


def test_foldcomp_in_files_archives_and_databases(entries, tmp_path):
    expected = {name: parse_structure(data, name, "x") for name, data in entries.items()}
    folder = tmp_path / "files"
    folder.mkdir()
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, data in entries.items():
            (folder / f"{name}.fcz").write_bytes(data)
            archive.add(folder / f"{name}.fcz", f"{name}.fcz")
    (tmp_path / "db").write_bytes(b"".join(data + b"\0" for data in entries.values()))
    ends = np.cumsum([0] + [len(data) + 1 for data in entries.values()])
    index = [f"{key}\t{start}\t{end - start}\n" for key, (start, end) in enumerate(zip(ends, ends[1:]))]
    (tmp_path / "db.index").write_text("".join(index))
    (tmp_path / "db.lookup").write_text("".join(f"{key}\t{name}\t0\n" for key, name in enumerate(entries)))
    for source in (folder, tmp_path / "x.tar", tmp_path / "db"):
        found = [read_entry(entry) for entry in find_entries(source)]
        assert {structure.name: structure.sequence for structure in found} == {
            name: structure.sequence for name, structure in expected.items()
        }
        assert all(np.array_equal(structure.positions, expected[structure.name].positions) for structure in found)


def test_database_of_foldcomp_is_read_as_foldcomp_reads_it(entries, tmp_path):
    """foldcomp opens the files that the tests write, so that these are what it calls a database."""
    foldcomp = pytest.importorskip("foldcomp")
    data = entries["1bx8_A"]
    (tmp_path / "db").write_bytes(data + b"\0")
    (tmp_path / "db.index").write_text(f"0\t0\t{len(data) + 1}\n")
    with foldcomp.open(str(tmp_path / "db")) as database:
        assert len(database) == 1 and database[0][1] == foldcomp.decompress(data)[1]


def test_side_chain_angles_are_one_a_heavy_atom_beyond_n_ca_and_c():
    """Heavy atoms of the residues by their chemical formulas, without the water of the peptide bond."""
    heavy = dict(
        A=5, R=11, N=8, D=8, C=6, Q=9, E=9, G=4, H=10, I=8, L=8, K=9, M=8, F=11, P=7, S=6, T=7, W=14, Y=12, V=7
    )
    angles = {letter: fcz.SIDE_CHAIN_ANGLES[code] for code, letter in fcz.LETTERS.items()}
    assert angles == {**{letter: number - 3 for letter, number in heavy.items()}, "X": 0}


# === HDF5 ===


def write_hdf5(path, source, frames=1, **others):
    """The tables of the Fold3D release from the atoms of another file."""
    h5py = pytest.importorskip("h5py")
    residues = [residue for chain in gemmi.read_structure(str(source))[0] for residue in chain]
    atoms = [(residue, one) for residue in residues for one in residue]
    positions = np.array([one.pos.tolist() for _, one in atoms], dtype=np.float32)
    tables = {
        "atom_pos": np.stack([positions + 100 * frame for frame in range(frames)]),
        "atom_names": np.array([one.name.encode() for _, one in atoms]),
        "atom_types": np.zeros(len(atoms), dtype=np.int64),
        "atom_residue_id": np.array([residue.seqid.num for residue, _ in atoms]),
        "atom_residue_names": np.array([residue.name.encode() for residue, _ in atoms]),
        "cov_bond_list": np.zeros((3, 2), dtype=np.int64),
        **others,
    }
    with h5py.File(path, "w") as file:
        for name, table in tables.items():
            if table is not None:
                file[name] = table
    return path


@pytest.mark.parametrize("name", ["1ahs_A", "1a8o_A"])
def test_hdf5_gives_the_residues_of_the_plain_file(tmp_path, name):
    plain = read_structure(bundled_path() / f"{name}.pdb.gz")
    for path, frames in ((tmp_path / "x.hdf5", 1), (tmp_path / "x.h5", 3)):
        read = read_structure(write_hdf5(path, bundled_path() / f"{name}.pdb.gz", frames))
        assert read.residue_names.tolist() == plain.residue_names.tolist() and read.sequence == plain.sequence
        assert read.residue_numbers.tolist() == plain.residue_numbers.tolist()
        np.testing.assert_array_equal(read.positions, plain.positions)
        assert set(read.chain_ids.tolist()) == {""} and [chain.name for chain in read.chains()] == ["x"]
        assert (read.confidence_kind, read.method, read.resolution) == ("b_factor", "", None)


def test_hdf5_leaves_out_what_is_no_amino_acid_of_a_chain(tmp_path):
    text = pdb_text(
        backbone("ALA", 1),
        atom("N", "GLY", 2, (6, 0, 0)),
        backbone("SER", 3),
        atom("CA", "CA", 4, (90, 0, 0)),
        atom("O", "HOH", 5),
        atom("P", "DA", 6),
        backbone("TRP", 1),
    )
    read = read_structure(write_hdf5(tmp_path / "x.h5", write(tmp_path / "x.pdb", text)))
    assert names(read) == ["ALA", "SER", "TRP"] and read.dropped == {"no CA": 1}


def test_hdf5_of_another_kind_or_damaged(tmp_path):
    h5py = pytest.importorskip("h5py")
    source = bundled_path() / "1ahs_A.pdb.gz"
    path = tmp_path / "x.hdf5"
    for others, message in [
        ({"atom_names": None}, "HDF5 of another kind: no table `atom_names`"),
        ({"atom_pos": np.zeros((2, 3))}, r"table `atom_pos` has shape \(2, 3\)"),
        ({"atom_pos": np.zeros((0, 2, 3))}, r"table `atom_pos` has shape \(0, 2, 3\)"),
        ({"atom_residue_id": np.zeros(3)}, "should have a row an atom"),
        ({"atom_names": np.array([b"C" * 99] * 2)}, "should have a row an atom"),
    ]:
        with pytest.raises(ValueError, match=message):
            read_structure(write_hdf5(path, source, **others))
    with h5py.File(path, "a") as file:
        for link in (h5py.ExternalLink("other.h5", "/atom_names"), h5py.SoftLink("/atom_types")):
            del file["atom_names"]
            file["atom_names"] = link
            file.flush()
            with pytest.raises(ValueError, match="no table `atom_names`"):
                parse_structure(path.read_bytes(), "x", "x.h5")
    whole = write_hdf5(path, source).read_bytes()
    with pytest.raises(ValueError, match="HDF5 cannot be read"):
        parse_structure(whole[:900], "x", "x.h5")


def test_hdf5_bomb_is_refused(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("atom_pos", (1, 1 << 28, 3), dtype="f4", chunks=(1, 1 << 20, 3), compression="gzip")
    with pytest.raises(ValueError, match=r"`atom_pos` of shape \(1, 268435456, 3\) is too large for a file of"):
        read_structure(tmp_path / "x.h5")


def test_damaged_hdf5_never_ends_the_process(tmp_path):
    write_hdf5(tmp_path / "x.h5", bundled_path() / "1bx8_A.pdb.gz")
    code = """
import random
import numpy as np
from gearnet_plugin.structures import parse_structure
whole, draw, outcomes = open(sys.argv[1], "rb").read(), random.Random(0), [0, 0]
for _ in range(300):
    data = bytearray(whole if draw.random() < 0.8 else whole[: draw.randrange(8, len(whole))])
    most = draw.choice([3000, len(data)])
    for _ in range(draw.randrange(1, 8)):
        data[draw.randrange(8, min(most, len(data)))] = draw.randrange(256)
    try:
        assert np.isfinite(parse_structure(bytes(data), "x", "x").positions).all()
        outcomes[0] += 1
    except ValueError:
        outcomes[1] += 1
print(*outcomes)
"""
    done = alone(code, tmp_path / "x.h5", text=True)
    assert done.returncode == 0, done.stderr
    assert min(map(int, done.stdout.split())) > 30


def test_foldcomp_container_is_refused_by_name():
    with pytest.raises(ValueError, match="it is a FoldComp container of several chains"):
        parse_structure(b"FCZC\x02\x01", "x", "x.fcz")


# === what is not installed ===


@pytest.mark.parametrize(
    "ending, content, library",
    [
        (".bcif.gz", b"\x83\xa7encoder\xa1x\xa7version\xa10\xaadataBlocks\x90", "biotite"),
        (".fcz", b"FCMP", "foldcomp"),
        (".h5", b"\x89HDF\r\n\x1a\n", "h5py"),
        (".HDF5", b"\x89HDF\r\n\x1a\n", "h5py"),
    ],
)
def test_missing_library_is_named_with_what_to_install(monkeypatch, ending, content, library):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == library else found(name, *rest)
    )
    message = rf'files are read by {library}, which is not installed: pip install "gearnet-plugin\[formats\]"'
    with pytest.raises(ValueError, match=f"cannot read structure 'x{ending}': .*{message}"):
        parse_structure(content, "x", f"x{ending}")
    assert library in missing_formats(ending)
    assert missing_formats(".pdb") is None and missing_formats(".cif.gz") is None
