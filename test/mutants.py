"""Damaged PDB and mmCIF files, each made from a bundled structure and a seed."""

import bz2
import gzip
import lzma
import random
import re
import zlib
from functools import cache

NUMBERS = (
    "nan NaN -nan inf -Inf 1e400 -1e400 1e-400 1e308 3.5e38 1e38 1e5 99999.9999 -99999.999 9e9 0x1p9 1_0 1,5 1. .5 . ? "
    "+ - -0 00000 2147483647 2147483648 -2147483649 4294967296 9223372036854775808 99999999999999999999 A000 A0000 "
    "zzzz ********"
).split()
CIF_WORDS = (
    "' \" ; loop_ data_ data_x save_ save_x stop_ global_ # $ [ ] { } _ _atom_site. _atom_site.id . ? '' \"\" '\"' ''' "
    "_atom_site.Cartn_x _atom_site.pdbx_PDB_model_num _entity.id \\ \\; ;; \\n;\\n \\n;x\\n \\n'\\n"
).split()
RECORDS = (
    "HEADER TITLE COMPND SOURCE KEYWDS EXPDTA NUMMDL REMARK SEQADV MODRES SEQRES HET HETNAM HELIX SHEET SSBOND LINK "
    "LINKR CISPEP SITE CRYST1 ORIGX1 SCALE1 SCALE2 SCALE3 MTRIX1 MTRIX3 MODEL ATOM HETATM ANISOU TER ENDMDL CONECT "
    "MASTER END DBREF DBREF1 DBREF2 SPLIT CAVEAT"
).split()
NUMBER = re.compile(rb"-?\d+\.?\d*")


# === text to text ===
# Each takes the generator and a text (bytes) and gives another text.


def truncate(draw, text):
    return text[: draw.randrange(len(text) + 1)]


def cut_out(draw, text):
    start, end = _span(draw, len(text))
    return text[:start] + text[end:]


def junk_bytes(draw, text):
    """Bytes overwritten, put in or flipped, few or many, printable or not."""
    data = bytearray(text)
    for _ in range(draw.choice((1, 3, 30, 1000))):
        place = draw.randrange(len(data) + 1)
        byte = draw.choice((draw.randrange(256), draw.randrange(32, 127)))
        kind = draw.randrange(3)
        if kind == 0 or place == len(data):
            data.insert(place, byte)
        elif kind == 1:
            data[place] = byte
        else:
            data[place] ^= 1 << draw.randrange(8)
    return bytes(data)


def nul_bytes(draw, text):
    place = draw.randrange(len(text) + 1)
    return text[:place] + b"\0" * draw.choice((1, 80, 5000)) + text[place:]


def other_numbers(draw, text):
    """Some or all numbers, or those of one line or one kind of place, become huge, not finite, or no numbers."""
    share = draw.choice((0.001, 0.01, 0.2, 1.0))
    one = draw.choice(NUMBERS).encode()
    keep_width = draw.random() < 0.5

    def swap(match):
        if draw.random() >= share:
            return match[0]
        new = one if draw.random() < 0.5 else draw.choice(NUMBERS).encode()
        return new.rjust(len(match[0]))[: len(match[0])] if keep_width else new

    return NUMBER.sub(swap, text)


def swap_columns(draw, text):
    """Two ranges of columns (PDB), or two words of each line (mmCIF), change places in some or all atom lines."""
    a, b, c, d = sorted(draw.sample(range(6, 80), 4))
    i, j = draw.randrange(18), draw.randrange(18)
    share = draw.choice((0.02, 1.0))

    def swap(line):
        if not line.startswith((b"ATOM", b"HETATM", b"_atom_site.")) or draw.random() >= share:
            return line
        if _is_cif(text):
            words = line.split(b" ")
            if max(i, j) < len(words):
                words[i], words[j] = words[j], words[i]
            return b" ".join(words)
        return line[:a] + line[c:d] + line[b:c] + line[a:b] + line[d:]

    return b"\n".join(map(swap, text.split(b"\n")))


def constant_column(draw, text):
    """One column (a few characters of PDB, a word of mmCIF) is the same in all atom lines, or another in each."""
    word = draw.choice(("", " ", "A", "B", "CA", "1", "0", "-1", "HOH", "UNK", "?", ".", *NUMBERS)).encode()
    start, width, i = draw.randrange(6, 79), draw.randrange(1, 9), draw.randrange(1, 18)
    each = draw.random() < 0.5

    def change(line):
        if not line.startswith((b"ATOM", b"HETATM")):
            return line
        new = draw.choice((b"A", b"B", b"C", b"1", b" ", b"Z", word)) if each else word
        if _is_cif(text):
            words = line.split(b" ")
            words[i : i + 1] = [new.strip() or b"?"]
            return b" ".join(words)
        return line[:start] + new.ljust(width)[:width] + line[start + width :]

    return b"\n".join(map(change, text.split(b"\n")))


def drop_lines(draw, text):
    share = draw.choice((0.01, 0.3, 0.9))
    return b"\n".join(line for line in text.split(b"\n") if draw.random() >= share)


def drop_a_range_of_lines(draw, text):
    lines = text.split(b"\n")
    start, end = _span(draw, len(lines))
    return b"\n".join(lines[:start] + lines[end:])


def repeat_lines(draw, text):
    share, times = draw.choice(((0.001, 500), (0.05, 3), (1.0, 2)))
    return b"\n".join(
        line for line in text.split(b"\n") for _ in range(times if draw.random() < share else 1)
    )


def shuffle_lines(draw, text):
    """All lines, or those of a range."""
    lines = text.split(b"\n")
    start, end = (0, len(lines)) if draw.random() < 0.3 else _span(draw, len(lines))
    part = lines[start:end]
    draw.shuffle(part)
    return b"\n".join(lines[:start] + part + lines[end:])


def reverse_lines(draw, text):
    return b"\n".join(text.split(b"\n")[::-1])


def repeat_whole(draw, text):
    return draw.choice((b"", b"\n", b"END\n")).join([text] * draw.choice((2, 5, 20)))


def line_ends(draw, text):
    ends = (b"\r\n", b"\r", b"\n\r", b"\r\r\n", b"\n\n", b"", b" ", b"\t", b"\f", b"\v\n", b"\x1a\n", b" " * 99 + b"\n")
    end = draw.choice(ends)
    if draw.random() < 0.3:
        return b"".join(line + draw.choice(ends[:5]) for line in text.split(b"\n"))
    return text.replace(b"\n", end)


def space_around(draw, text):
    """White space or comments before, after or in the middle."""
    blank = draw.choice((b" ", b"\n", b"\r\n", b"\t", b" \n", b"#\n", b"# x\n\n", b"\v", b"\f"))
    blank *= draw.choice((1, 12, 60, 3000, 100_000))
    place = draw.choice((0, 0, 0, len(text), draw.randrange(len(text) + 1)))
    return text[:place] + blank + text[place:]


def long_word(draw, text):
    """One word, or some words, become very long."""
    words = list(re.finditer(rb"[^\s]+", text))
    if not words:
        return text
    long = draw.choice((b"A", b"9", b"-1", b"'x", b"CA ", b'"')) * draw.choice((40, 300, 5000, 200_000))
    chosen = draw.sample(words, min(len(words), draw.choice((1, 1, 1, 3))))
    for word in sorted(chosen, key=lambda word: -word.start()):
        text = text[: word.start()] + long + text[word.end() :]
    return text


def long_line(draw, text):
    lines = text.split(b"\n")
    lines[draw.randrange(len(lines))] += draw.choice((b" ", b"x", b"1 ")) * draw.choice((100, 100_000))
    return b"\n".join(lines)


def thousands_of_chains(draw, text):
    """Each line of an atom, or each few, under another chain: one letter in PDB, any word in mmCIF."""
    every, number = draw.choice((1, 2, 5)), 0
    lines = text.split(b"\n")
    for k, line in enumerate(lines):
        if not line.startswith((b"ATOM", b"HETATM")):
            continue
        number += 1
        chain = number // every
        if _is_cif(text):
            words = line.split(b" ")
            if len(words) > 8:
                words[-2] = words[draw.choice((6, -2))] = b"c%d" % chain
            lines[k] = b" ".join(words)
        else:
            lines[k] = line[:21] + bytes([33 + chain % 94]) + line[22:] + (b"\nTER" if draw.random() < 0.1 else b"")
    return b"\n".join(lines)


def other_words(draw, text):
    """Syntax of mmCIF where it does not belong: quotes, loops, blocks, multi-line strings left open."""
    for _ in range(draw.choice((1, 1, 2, 10))):
        word = draw.choice(CIF_WORDS).replace("\\n", "\n").encode()
        places = [match.start() for match in re.finditer(rb"(?<=\s)\S|\s$" if draw.random() < 0.5 else rb"(?m)^", text)]
        place = draw.choice(places) if places else 0
        keep = text[place:] if draw.random() < 0.5 else re.sub(rb"^\S+", b"", text[place:])
        text = text[:place] + word + draw.choice((b"", b" ", b"\n")) + keep
    return text


def other_records(draw, text):
    """Lines get other record names, or records with junk after their names stand between the lines."""
    lines = text.split(b"\n")
    alphabet = b"0123456789ABCXYZabc .-+'?      "
    for _ in range(draw.choice((1, 5, 100))):
        record = draw.choice(RECORDS).encode().ljust(6)
        place = draw.randrange(len(lines))
        if draw.random() < 0.4:
            lines[place] = record + lines[place][6:]
        else:
            body = bytes(draw.choices(alphabet, k=draw.choice((0, 4, 20, 74, 74, 200))))
            lines.insert(draw.choice((0, place)), record + body)
    return b"\n".join(lines)


def models(draw, text):
    """MODEL and ENDMDL records, many or unpaired; in mmCIF a model number of its own for each atom."""
    lines = text.split(b"\n")
    if _is_cif(text):
        share = draw.choice((0.01, 1.0))
        return b"\n".join(
            re.sub(rb"\S+$", b"%d" % draw.choice((0, 2, -1, k, 2**31)), line)
            if line.startswith(b"ATOM") and draw.random() < share
            else line
            for k, line in enumerate(lines)
        )
    for k in range(draw.choice((1, 3, 2000))):
        record = draw.choice((b"MODEL     %4d" % k, b"MODEL", b"ENDMDL", b"MODEL        1"))
        lines.insert(draw.randrange(len(lines)), record)
    return b"\n".join(lines)


def splice(draw, text):
    """The beginning of this text and the end of another one."""
    _, other = draw.choice(bases())
    return text[: draw.randrange(len(text) + 1)] + other[draw.randrange(len(other) + 1) :]


def case(draw, text):
    return draw.choice((bytes.lower, bytes.upper, bytes.swapcase))(text)


def encoding(draw, text):
    codec = draw.choice(("utf-16", "utf-32-le", "utf-8-sig", "cp037"))
    umlauts = text.decode("latin-1") if draw.random() < 0.5 else text.decode("latin-1").replace("A", "Ä")
    return umlauts.encode(codec, "replace")


def nothing(draw, text):
    return draw.choice((b"", b"\n", b" " * 5000, b"\xef\xbb\xbf", b"data_", b"ATOM", b"loop_", b"_atom_site.Cartn_x"))


TEXT_MUTATIONS = (
    truncate, cut_out, junk_bytes, nul_bytes, other_numbers, other_numbers, swap_columns, constant_column,
    constant_column, drop_lines, drop_a_range_of_lines, repeat_lines, shuffle_lines, reverse_lines, repeat_whole,
    line_ends, space_around, long_word, long_line, thousands_of_chains, other_words, other_words, other_records,
    models, splice, case, encoding, nothing,
)  # fmt: skip


# === text to file ===
# Each takes the generator and a text and gives the bytes of a file whose name ends in .gz.


def plain_named_gz(draw, text):
    return text


def gzip_truncated(draw, text):
    data = _gzip(text)
    return data[: draw.randrange(len(data))]


def gzip_flipped(draw, text):
    data = bytearray(_gzip(text))
    for _ in range(draw.choice((1, 1, 5, 100))):
        data[draw.randrange(draw.choice((20, len(data))))] ^= 1 << draw.randrange(8)
    return bytes(data)


def gzip_of_gzip(draw, text):
    return _gzip(_gzip(text))


def gzip_and_more(draw, text):
    """Zeros, junk, half a member or a whole one after the data."""
    data = _gzip(text)
    junk = bytes(draw.choices(range(256), k=50))
    half = data[: draw.randrange(len(data))]
    return data + draw.choice((b"\0" * 512, junk, half, data, b"\x1f\x8b", b"\x1f\x8b\x08" + junk))


def gzip_header(draw, text):
    """A header with an extra field and a name that lie about their length, or a wrong method or flag."""
    body = _gzip(text)[10:]
    flags = draw.choice((0, 1, 4, 8, draw.randrange(256)))
    fields = draw.choice((b"", b"\xff\xff", b"n" * 9999))
    return bytes([0x1F, 0x8B, draw.choice((8, 8, 8, 7)), flags]) + bytes(6) + fields + body


def other_compression(draw, text):
    return draw.choice((zlib.compress, bz2.compress, lzma.compress))(text)


FILE_MUTATIONS = (
    plain_named_gz, gzip_truncated, gzip_flipped, gzip_flipped, gzip_of_gzip, gzip_and_more, gzip_header,
    other_compression,
)  # fmt: skip
MUTATIONS = (*TEXT_MUTATIONS, *FILE_MUTATIONS)


# === one mutant ===


def mutant(seed):
    """
    The file of a seed.

    Returns:
        (str, bytes, list of str): file name, content, and what was done, the structure it was made from first
    """
    draw = random.Random(seed)
    name, text = draw.choice(bases())
    done = [name]
    zipped = draw.random() < 0.25
    # Damage of the compression alone, or one to three kinds of damage to the text.
    for _ in range(0 if zipped and draw.random() < 0.6 else draw.choice((1, 1, 1, 2, 3))):
        change = draw.choice(TEXT_MUTATIONS)
        text = change(draw, text)
        done.append(change.__name__)
    ending = draw.choice((".cif", ".mmcif") if name.endswith(".cif") else (".pdb", ".ent"))
    if draw.random() < 0.05:
        ending = draw.choice((".pdb", ".cif"))
    if zipped:
        pack = draw.choice(FILE_MUTATIONS)
        text, ending = pack(draw, text), ending + ".gz"
        done.append(pack.__name__)
    return f"mutant{seed}{ending}", text, done


@cache
def bases():
    """Names and texts that are damaged: small bundled structures, and what gemmi writes of one."""
    import gemmi

    from gearnet_plugin.structures.bundled import bundled_path, bundled_table

    rows = sorted(bundled_table(), key=lambda row: (row["length"], row["structure"]))
    names = [row["structure"] for row in rows]
    chosen = [name for ending in (".pdb.gz", ".cif.gz") for name in [n for n in names if n.endswith(ending)][:4]]
    texts = [(name.removesuffix(".gz"), gzip.decompress((bundled_path() / name).read_bytes())) for name in chosen]
    entry = gemmi.read_pdb_string(texts[0][1])
    entry.setup_entities()
    second = entry[0].clone()
    second.num = 2
    entry.add_model(second)
    texts.append(("two_models.pdb", entry.make_pdb_string().encode()))
    texts.append(("two_models.cif", entry.make_mmcif_document().as_string().encode()))
    return texts


def _span(draw, length):
    """A range of indices, mostly a short one."""
    start = draw.randrange(length + 1)
    return start, min(length, start + draw.choice((1, 7, 80, 2000, length)))


def _is_cif(text):
    return b"_atom_site." in text


def _gzip(text):
    return gzip.compress(text, 1, mtime=0)
