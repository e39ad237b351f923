"""Damaged BinaryCIF, FoldComp and HDF5 files, each made from a bundled structure and a seed."""

import contextlib
import io
import random
from functools import cache
from pathlib import Path

from mutants import bases, cut_out, junk_bytes, nul_bytes, repeat_whole, truncate


@cache
def binary_bases():
    """Names and contents of bundled structures in the binary formats, as far as what writes them is installed."""
    texts = [(Path(name), text) for name, text in bases() if not name.startswith("two_models")]
    found = []
    with contextlib.suppress(ImportError):
        from biotite.structure.io import pdbx

        for name, text in texts:
            if name.suffix == ".cif":
                file = io.BytesIO()
                blocks = pdbx.CIFFile.read(io.StringIO(text.decode())).items()
                converted = {key: _converted(pdbx, block) for key, block in blocks}
                pdbx.compress(pdbx.BinaryCIFFile(converted)).write(file)
                found.append((f"{name.stem}.bcif", file.getvalue()))
    with contextlib.suppress(ImportError):
        import foldcomp

        for name, text in texts:
            if name.suffix == ".pdb":
                found.append((f"{name.stem}.fcz", foldcomp.compress(name.stem, text.decode())))
    with contextlib.suppress(ImportError):
        import h5py

        for name, text in texts[:2]:
            file = io.BytesIO()
            with h5py.File(file, "w") as tables:
                for key, values in _tables(text).items():
                    tables[key] = values
            found.append((f"{name.stem}.hdf5", file.getvalue()))
    return found


def _tables(text):
    """The tables of the Fold3D data from a PDB text."""
    rows = [line for line in text.decode().splitlines() if line.startswith("ATOM")]
    return {
        "atom_pos": [[[float(row[k : k + 8]) for k in (30, 38, 46)] for row in rows]],
        "atom_names": [row[12:16].strip().encode() for row in rows],
        "atom_residue_id": [int(row[22:26]) for row in rows],
        "atom_residue_names": [row[17:20].strip().encode() for row in rows],
    }


def _converted(pdbx, block):
    """A block of mmCIF as one of BinaryCIF."""
    categories = {}
    for name, category in block.items():
        columns = {}
        for key, column in category.items():
            values = column.as_array(str)
            with contextlib.suppress(ValueError):
                values = values.astype(float if key.startswith(("Cartn", "occ", "B_")) else int)
            mask = None if column.mask is None else pdbx.BinaryCIFData(column.mask.array)
            columns[key] = pdbx.BinaryCIFColumn(pdbx.BinaryCIFData(values), mask)
        categories[name] = pdbx.BinaryCIFCategory(columns)
    return pdbx.BinaryCIFBlock(categories)


def few_bytes(draw, data):
    """One byte to four are others."""
    data = bytearray(data or b"\0")
    for _ in range(draw.randrange(1, 5)):
        # Headers decide most and are short.
        place = draw.randrange(min(len(data), draw.choice((80, 4000, len(data)))))
        data[place] = draw.choice((0, 1, 127, 128, 255, draw.randrange(256), data[place] ^ 1 << draw.randrange(8)))
    return bytes(data)


def other_fields(draw, data):
    """MessagePack whose values are others: numbers, kinds and lengths that lie, values that are gone."""
    import msgpack

    try:
        tree = msgpack.unpackb(data, raw=False, strict_map_key=False)
    except Exception:  # noqa: BLE001 it has been damaged already
        return few_bytes(draw, data)
    places = list(_places(tree))
    new = (0, -1, 1, 255, 2**31 - 1, 2**31, 2**63, 0.0, float("nan"), None, "", "x", b"", b"\x01", [], {}, [0], True)
    kinds = ("ByteArray", "FixedPoint", "IntervalQuantization", "RunLength", "Delta", "IntegerPacking", "StringArray")
    for _ in range(draw.choice((1, 1, 3))):
        if not places:
            break
        parent, key = draw.choice(places)
        action = draw.randrange(4)
        with contextlib.suppress(KeyError, IndexError):
            if action == 0:
                del parent[key]
            elif action == 1 and isinstance(parent[key], bytes):
                parent[key] = few_bytes(draw, parent[key] or b"x")
            elif action == 2 and isinstance(parent[key], list):
                parent[key] = parent[key] * draw.choice((2, 1000))
            elif key == "kind":
                parent[key] = draw.choice(kinds)
            else:
                parent[key] = draw.choice(new)
    return msgpack.packb(tree)


def _places(tree):
    """Containers and their keys, everywhere in a tree."""
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        yield tree, key
        if isinstance(value, (dict, list)):
            yield from _places(value)


BINARY_MUTATIONS = (truncate, cut_out, junk_bytes, nul_bytes, few_bytes, few_bytes, few_bytes, repeat_whole)


def binary_mutant(seed):
    """The file of a seed, as :func:`mutants.mutant` gives it."""
    draw = random.Random(seed)
    name, data = draw.choice(binary_bases())
    done = [name]
    for _ in range(draw.choice((1, 1, 2))):
        bcif = name.endswith(".bcif")
        change = other_fields if bcif and draw.random() < 0.6 else draw.choice(BINARY_MUTATIONS)
        data = change(draw, data)
        done.append(change.__name__)
    return f"mutant{seed}{Path(name).suffix}", data, done
