"""The fast way through plain PDB text: it gives what gemmi's way gives, to the last bit, or leaves the file to it."""

import contextlib
import gzip
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from gearnet_plugin.structures import reader
from gearnet_plugin.structures.bundled import bundled_structures
from gearnet_plugin.structures.plain_pdb import read_plain
from gearnet_plugin.structures.structure import ARRAY_FIELDS
from structure_text import atom, backbone, pdb_text

FREE = dict(record="HETATM")


@pytest.fixture
def gemmi_way(monkeypatch):
    """Text to Structure without the fast way; None if it is refused."""

    def read(data):
        with monkeypatch.context() as patch:
            patch.setattr(reader, "read_plain", lambda data: None)
            try:
                return reader.parse_structure(data, "test", "test.pdb")
            except ValueError:
                return None

    return read


@pytest.fixture
def is_plain(gemmi_way):
    """Whether a text is plain; if it is, both ways have to agree in every bit."""

    def check(text):
        data = text if isinstance(text, bytes) else text.encode()
        found = read_plain(data)
        if found is None:
            return False
        expected = gemmi_way(data)
        assert expected is not None, "read, though gemmi's way refuses it"
        entry, columns, dropped = found
        assert reader._origin(entry, None, "test") == (expected.method, expected.confidence_kind)
        assert (entry.resolution if entry.resolution > 0 else None) == expected.resolution
        if expected.confidence_kind == "plddt" and columns["confidence"].max() <= 1:
            columns["confidence"] = columns["confidence"] * 100
        assert columns.keys() == ARRAY_FIELDS.keys()
        for key in ARRAY_FIELDS:
            ours, theirs = columns[key], getattr(expected, key)
            assert (ours.dtype, ours.shape, ours.tobytes()) == (theirs.dtype, theirs.shape, theirs.tobytes()), key
        assert dropped == expected.dropped_by_chain
        return True

    return check


# === what is plain ===

HEADER = (
    "HEADER    HYDROLASE                               01-JAN-00   1ABC\n"
    "TITLE     A TITLE\nEXPDTA    X-RAY DIFFRACTION\nREMARK   2 RESOLUTION.    1.85 ANGSTROMS.\n"
    "MODRES 1ABC XQY A    7  SER  SOMETHING\n"
)
ALTERNATIVES = [
    atom("N", "SER", 5),
    atom("CA", "SER", 5, (1, 2, 3), altloc="A", occupancy=0.4),
    atom("CB", "SER", 5),
    atom("CA", "SER", 5, (1, 2, 4), altloc="B", occupancy=0.6),
]
RICH = pdb_text(
    backbone("MSE", 1, **FREE),
    backbone("ALA", 2),
    backbone("GLY", 3, altloc="A", occupancy=0.4),
    atom("N", "SER", 4),
    ALTERNATIVES,
    backbone("HIE", 6, insertion="A"),
    backbone("XQY", 7, **FREE),
    backbone("MSE", 8, **FREE),
    "TER",
    backbone("VAL", -1, chain="B", b=-3.5),
    backbone("LEU", 10, chain="B", b=100.0),
    "TER",
    backbone("GLY", 90, **FREE),
    backbone("XQZ", 91, **FREE),
    atom("CA", "CA", 92, element="CA", **FREE),
    atom("O", "HOH", 100, **FREE),
    atom("O", "HOH", 100, chain="B", **FREE),
    "CONECT    1    2",
    "MASTER        0",
    "END",
    header=HEADER,
)
LINES = RICH.splitlines()
ANISOU = "ANISOU    1  CA  ALA A   1      100    200    300      0      0      0"
TRACE = pdb_text(*(atom("CA", "ALA", i, (3.8 * i, -0.0004, -7)) for i in range(1, 6)))


def in_models(text):
    return f"MODEL        1\n{text}ENDMDL\nMODEL        2\n{text}ENDMDL\nEND\n"


@pytest.mark.parametrize(
    "text",
    [
        RICH,
        TRACE,
        "".join(line.ljust(80) + "\n" for line in LINES),
        "".join(line[:66] + "\n" for line in TRACE.splitlines()),
        RICH.replace("\n", "\r\n"),
        RICH + "\n\n",
        RICH.rstrip("\n"),
        TRACE.rstrip("\n"),
        RICH + "WHAT FOLLOWS THE END\nATOM  AND IS NOT READ\n",
        in_models(TRACE),
        HEADER + in_models(TRACE),
        HEADER + in_models(TRACE).replace("MODEL        2", "WHAT FOLLOWS").replace("END\n", ""),
        TRACE.replace("C\n", "C\n" + ANISOU + "\n"),
        TRACE.replace(" C\n", " C1+\n"),
        TRACE.replace("          ", "      SEG1"),
        TRACE.replace(" A ", "   "),
        "TITLE     ALPHAFOLD MONOMER\n" + TRACE.replace("20.00", " 0.95"),
        pdb_text(backbone("ALA", 1), backbone("SER", 1, chain="B"), backbone("ALA", 2)),
        pdb_text(backbone("ALA", 1), backbone("XQZ", 2, chain="B")[:1], atom("P", "DA", 3)),
        # The lower letter of equal ones, though it stands last.
        pdb_text(atom("CA", altloc="B", occupancy=0.5), atom("CA", xyz=(1, 0, 0), altloc="A", occupancy=0.5)),
        # Two chains that take turns, and a name of two letters.
        pdb_text(*(atom("CA", number=i, chain="BA"[i // 3 % 2]) for i in range(99))),
        pdb_text(backbone("XQ", 1), atom("O", "HOH", 2, **FREE), header="MODRES 1ABC  XQ A    1  SER  X\n"),
    ],
)
def test_what_files_usually_hold_is_plain(is_plain, text):
    assert is_plain(text)


def test_the_rich_text_is_read_as_meant():
    """So that agreement on it says something."""
    _, columns, dropped = read_plain(RICH.encode())
    assert columns["residue_names"].tolist() == "MSE ALA GLY SER HIE XQY MSE VAL LEU".split()
    assert columns["residue_numbers"].tolist() == [1, 2, 3, 5, 6, 7, 8, -1, 10] and dropped == {"A": {"no CA": 1}}
    assert columns["positions"][3].tolist() == [1, 2, 4] and columns["insertion_codes"][4] == "A"


def test_the_reader_goes_this_way(monkeypatch):
    seen = []
    monkeypatch.setattr(reader, "read_plain", lambda data: seen.append(data) or read_plain(data))
    reader.parse_structure(RICH.encode(), "x", "x.pdb")
    assert seen == [RICH.encode()]


def replaced(old, new, text=RICH, count=1):
    assert old in text
    return text.replace(old, new, count)


@pytest.mark.parametrize(
    "text",
    [
        replaced("ALA A   2", "ALA A  2 "),
        replaced("ALA A   2", "ALA A A00"),
        replaced("ALA A   2", "ALA A    "),
        replaced("ALA A   2", "ALA B   2"),
        replaced("ALA A   2", "ALAAA   2"),
        replaced("ALA A   2", "SER A   2"),
        replaced("   7.600   0.000", "   7.600     nan"),
        replaced("   7.600   0.000", "   7.600   0.00 "),
        replaced("   7.600   0.000", "   7.600  - .000"),
        replaced("   7.600   0.000", "   7.600  --.000"),
        replaced("   7.600   0.000", "   7.600\t  0.000"),
        replaced("20.00           C", "20.0            C"),
        replaced("20.00           C", "20.00           c"),
        replaced("20.00           C", "20.00      SEGA C"),
        "      1ABC  82".join(TRACE.rsplit("           C", 1)),
        replaced(" CA  ALA", " CA\t ALA"),
        replaced(" CA  ALA", "CA   ALA"),
        replaced(" CA  ALA", "  CA ALA"),
        replaced("ATOM  ", "atom  "),
        replaced("ATOM  ", "ATOM 1"),
        replaced("TER", "TITLE     LATE"),
        replaced("CONECT    1    2", "ENDMDL\n" + pdb_text(atom("CA", number=200)).rstrip()),
        replaced("TER", "TER\n" + ANISOU),
        replaced("TITLE", "END\nTITLE"),
        replaced("TITLE", "MODEL        1\nMODEL        2\nTITLE"),
        HEADER + "ENDMDL\n" + in_models(TRACE),
        HEADER + in_models(pdb_text(backbone("MSE", 1, **FREE), "TER")),
        replaced("TITLE", "DBREF2 1ABC A\nTITLE"),
        "HETNAM     ALA SOMETHING".ljust(71) + "A1ALA\n" + TRACE,
        replaced("\n", "\r", text=TRACE, count=3),
        replaced("\n", " " * 80 + "\n", text=TRACE),
        pdb_text(*(atom("CA", xyz=(x, 0, 0)) for x in (1, 2))),
        pdb_text(backbone("SER", 1, altloc="A"), backbone("PRO", 1, altloc="B")),
        pdb_text(backbone("SER", 1, insertion="a"), backbone("SER", 1, insertion="A")),
        pdb_text(backbone("ALA", 1), atom("N", "GLY", 2), backbone("ALA", 3), backbone("GLY", 2)),
        pdb_text(backbone("ALA", 1), backbone("XQZ", 2)),
        pdb_text(backbone("ALA", 1), backbone("MSE", 9, **FREE)),
        pdb_text(backbone("ALA", 1), backbone("GLY", 2, **FREE), "TER"),
        pdb_text(backbone("ALA", 1), "TER", backbone("GLY", 9), backbone("MSE", 10, **FREE)),
        pdb_text(backbone("ALA", 1), "TER", backbone("MSE", 9, **FREE), "TER"),
        pdb_text(backbone("ALA", 1), atom("O", "HOH", 2, **FREE), "TER", backbone("MSE", 9, **FREE)),
        pdb_text(backbone("ALA", 1), backbone("ALA", 1, chain="B"), backbone("MSE", 9, **FREE), "TER"),
        pdb_text(backbone("ALA", 1), backbone("MSE", 9, **FREE), "ENDMDL", "TER"),
        pdb_text(backbone("GLY", 1, **FREE)),
        pdb_text(atom("N"), atom("C")),
        "REMARK   nothing\n",
    ],
)
def test_what_takes_judgement_is_left_to_gemmi(text):
    assert read_plain(text.encode()) is None


def test_left_aligned_names_are_left_to_gemmi_where_a_residue_lacks_its_ca(is_plain):
    calcium = pdb_text(atom("CA", "CA", 92, element="CA", **FREE))
    assert is_plain(pdb_text(backbone("ALA", 1), atom("N", number=2)) + calcium)
    without_element = calcium[:66].replace("CA     CA", "CA    XCA") + "\n"
    assert not is_plain(pdb_text(backbone("ALA", 1), atom("N", number=2)) + without_element)


# === numbers ===


def test_positions_and_b_factors_are_the_nearest_float32(is_plain):
    """Of thousands of numbers, and -0.000 keeps its sign; multiplying by 0.001 in float32 would miss some."""
    draw = np.random.default_rng(0)
    numbers = np.concatenate([draw.integers(-999_999, 9_999_999, 5997), [0, 9_999_999, -999_999]])
    texts = [f"{number / 1000:8.3f}" for number in numbers]
    texts[0] = "  -0.000"
    b_factors = [f"{number / 100:6.2f}" for number in draw.integers(-9_999, 99_999, 2000)]
    lines = pdb_text(*(atom("CA", number=i, xyz=texts[3 * i : 3 * i + 3]) for i in range(2000))).splitlines()
    text = "".join(f"{line[:60]}{b}{line[66:]}\n" for line, b in zip(lines, b_factors, strict=True))
    _, columns, _ = read_plain(text.encode())
    assert columns["positions"].ravel().tobytes() == np.array(texts, dtype=float).astype(np.float32).tobytes()
    assert columns["confidence"].tobytes() == np.array(b_factors, dtype=float).astype(np.float32).tobytes()
    assert np.signbit(columns["positions"][0, 0]) and is_plain(text)


# === real structures ===


def text_of(path):
    data = Path(path).read_bytes()
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


def is_pdb(path):
    return str(path).removesuffix(".gz").endswith((".pdb", ".ent"))


def test_bundled_structures_are_plain(is_plain):
    paths = [path for path in bundled_structures() if is_pdb(path)]
    assert len(paths) > 20 and all(is_plain(text_of(path)) for path in paths)


#: Least share of plain files in the folders of real structures.
SHARES = {
    "structures": 0.98, "structures_ext": 0.98, "structures_ca": 0.98, "structures_bb3": 1.0,
    "domains": 1.0, "domains_ca": 1.0, "predicted": 1.0, "edge": 0.3,
}  # fmt: skip


def shares(folder, is_plain, step):
    counts = {name: Counter() for name in SHARES}
    for name in SHARES:
        paths = sorted(path for path in (Path(folder) / name).rglob("*") if path.is_file() and is_pdb(path))
        for path in paths[::step]:
            with contextlib.suppress(OSError, EOFError):  # damaged on purpose
                text = text_of(path)
                if b"\0" not in text and text.isascii():
                    counts[name][is_plain(text)] += 1
    return {name: count[True] / sum(count.values()) for name, count in counts.items()}


def test_some_real_structures(shared_data, is_plain):
    found = shares(shared_data, is_plain, step=100)
    assert all(found[name] > 0.9 for name in SHARES if name != "edge"), found


@pytest.mark.slow
def test_all_real_structures(shared_data, is_plain):
    found = shares(shared_data, is_plain, step=1)
    assert all(found[name] >= SHARES[name] for name in SHARES), found


# === damage ===

FIELDS = {
    (0, 6): "ATOM  |HETATM|atom  |ANISOU|SIGATM|ATOM 1|TER   |END   ",
    (12, 16): " CA |CA  |  CA| ca |CA A| N  ",
    (16, 17): "A|B| |1",
    (17, 20): "ALA|MSE|HOH|XQZ|UNK| DA|AL |A  |GLX|ala|   ",
    (21, 22): "A|B| |a",
    (22, 27): "   1 |   1A|   1a|  -1 |A000 |     | 1   |  01 |9999 |  -0 ",
    (30, 38): "     nan|     inf|99999999|-9999.99|  -0.000|      .5|   1.   |- 12.000| --2.000",
    (38, 46): "  +1.000|********|    1e05|",
    (46, 54): "        |   1,000|0001.000|-001.000|   -.100|12345.67",
    (54, 60): "  0.00| -1.00|100.00|  1.0 |      |   nan",
    (60, 66): "  0.00|-10.00|999.99| 1.000|      |   nan",
    (72, 80): "SEGA C  |      C |     C  |      CA|     C1+|     C1 |     C 1|     C11|1ABC  12|     c  |     1  ",
}
RECORDS = [
    "TER", "END", "ENDMDL", "MODEL        1", "MODEL        2", "EXPDTA    X", "ter", "end", ANISOU, "", " ", "T",
    "CONECT    1    2", "MODRES 1ABC XQZ A    1  SER", "TITLE     ALPHAFOLD", "HETATM", "ATOM", "data_x",
    "REMARK " + "X" * 130,
]  # fmt: skip


def damaged(draw, text):
    """The text with one of seven kinds of damage."""
    lines = text.split("\n")
    i, j = draw.randrange(len(lines)), draw.randrange(len(lines))
    kind = draw.randrange(7)
    if kind == 0:
        lines[i] = lines[i][: draw.randrange(len(lines[i]) + 1)]
    elif kind == 1:
        lines[i], lines[j] = lines[j], lines[i]
    elif kind == 2:
        lines.insert(i, draw.choice([*RECORDS, lines[j]]))
    elif kind == 3:
        del lines[i]
    elif kind == 4:
        (start, end), values = draw.choice(list(FIELDS.items()))
        lines[i] = f"{lines[i]:80}"[:start] + draw.choice(values.split("|")) + f"{lines[i]:80}"[end:]
    elif kind == 5:
        start = draw.randrange(len(lines[i]) + 1)
        lines[i] = lines[i][:start] + draw.choice(" -+.0123456789ABCHOMETRNDZabc\t\r*?~") + lines[i][start + 1 :]
    else:
        place = draw.randrange(len(text))
        return text[:place] + chr(draw.randrange(1, 128)) + text[place + 1 :]
    return "\n".join(lines)


def test_damaged_text_is_read_as_by_gemmi_or_left_to_it(is_plain):
    draw = random.Random(0)
    start = "\n".join(text_of(next(filter(is_pdb, bundled_structures()))).decode().split("\n")[:80])
    texts = [RICH, RICH.replace("\n", "\r\n"), TRACE, in_models(TRACE), HEADER + TRACE, start]
    counts = Counter()
    for _ in range(2000):
        text = draw.choice(texts)
        for _ in range(draw.choice([1, 1, 2, 3])):
            text = damaged(draw, text)
        counts[is_plain(text)] += 1
    assert min(counts.values()) > 400, f"both occur: {counts}"
