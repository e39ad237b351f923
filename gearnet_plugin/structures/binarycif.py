"""BinaryCIF: columns decoded by biotite and handed to the mmCIF reader as the same table of atoms.

Of the atoms only those are handed on that decide which residues are read (see :func:`_needed`), which takes a
tenth of the time that all of them would.
"""

from __future__ import annotations

import re

import gemmi
import numpy as np

from .content import FREE_BYTES, MAX_RATIO

#: Columns of ``_atom_site`` that the reader uses.
ATOM_COLUMNS = (
    "group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id label_entity_id label_seq_id "
    "pdbx_PDB_ins_code Cartn_x Cartn_y Cartn_z occupancy B_iso_or_equiv auth_seq_id auth_comp_id auth_asym_id "
    "auth_atom_id pdbx_PDB_model_num"
).split()
#: Columns that tell one residue from the next.
RESIDUE_COLUMNS = ("auth_seq_id", "pdbx_PDB_ins_code", "auth_asym_id", "label_asym_id", "label_seq_id", "label_comp_id")
BACKBONE = ("N", "CA", "C")
#: Categories that the reader uses.
CATEGORIES = re.compile(
    "atom_site|entry|entity|entity_poly|struct|struct_asym|struct_keywords|exptl|refine|reflns|em_3d_reconstruction|"
    "database_2|pdbx_struct_mod_residue|ma_.*"
)
#: Columns of those that have a hundred others.
FEW_COLUMNS = {
    "refine": ("entry_id", "pdbx_refine_id", "ls_d_res_high"),
    "reflns": ("entry_id", "pdbx_ordinal", "d_resolution_high"),
    "em_3d_reconstruction": ("entry_id", "id", "resolution"),
    "atom_site": ATOM_COLUMNS,
}
# What the mask of a column says of a value; 2 is unknown.
PRESENT, ABSENT = 0, 1


def read_block(data: bytes) -> gemmi.cif.Block:
    """
    The first data block that has atoms, as mmCIF.

    Parameters:
        data (bytes): content of a BinaryCIF file

    Raises:
        ValueError: it is damaged, or has no atoms
    """
    import msgpack

    try:
        # A column names how long it is unpacked. No table here is longer than the file has bytes.
        for block in msgpack.unpackb(data, raw=False)["dataBlocks"]:
            categories = {category["name"].lstrip("_"): _columns(category) for category in block["categories"]}
            if "Cartn_x" in categories.get("atom_site", {}):
                return _convert(block["header"], categories, len(data))
    except Exception as error:  # noqa: BLE001  a damaged file makes the decoder raise nearly anything
        raise ValueError(f"BinaryCIF cannot be decoded ({type(error).__name__}: {error})") from None
    raise ValueError("no data block with _atom_site coordinates")


def _columns(category: dict) -> dict[str, dict]:
    return {column["name"]: column for column in category["columns"]}


def _convert(name: str, categories: dict, most: int) -> gemmi.cif.Block:
    block = gemmi.cif.Block(name)
    for category, columns in categories.items():
        few = FEW_COLUMNS.get(category, columns)
        if CATEGORIES.fullmatch(category):
            decoded = {key: _Column(column, most) for key, column in columns.items() if key in few}
            _add(block, category, decoded, _needed(decoded) if category == "atom_site" else None)
    return block


def _add(block: gemmi.cif.Block, category: str, columns: dict, rows: np.ndarray | None = None) -> None:
    if columns:
        loop = block.init_loop(f"_{category}.", list(columns))
        loop.set_all_values([column.texts(rows) for column in columns.values()])


def _needed(atoms: dict) -> np.ndarray:
    """
    Rows of the first model's atoms N, CA and C, and the first two of each residue.

    Two, because residues of a single atom have rules of their own.
    """
    keep = atoms["label_atom_id"].is_in(BACKBONE)
    starts = np.zeros(len(keep), dtype=bool)
    starts[:1] = True
    for key in RESIDUE_COLUMNS:
        if key in atoms:
            values = atoms[key].codes
            starts[1:] |= values[1:] != values[:-1]
    keep |= starts
    keep[1:] |= starts[:-1]
    if "pdbx_PDB_model_num" in atoms:
        models = atoms["pdbx_PDB_model_num"].codes
        keep &= models == models[:1]
    return np.flatnonzero(keep)


class _Column:
    """
    A column, decoded: numbers, or places in a table of strings.

    Parameters:
        content (dict): column as the file has it
        most (int): largest number of values it may have
    """

    def __init__(self, content: dict, most: int):
        self.strings = None
        packed = content["data"]
        kind = packed["encoding"][0]
        if kind["kind"] == "StringArray":
            self.codes = _decode(packed["data"], kind["dataEncoding"], most)
            ends = _decode(kind["offsets"], kind["offsetEncoding"], most)
            text = kind["stringData"]
            if (ends[1:] < ends[:-1]).any() or (self.codes < -1).any() or (self.codes >= len(ends) - 1).any():
                raise ValueError("the table of strings of a column is damaged")
            self.strings = [text[start:end] for start, end in zip(ends.tolist(), ends[1:].tolist())]
            # An index of -1 is a missing value.
            lengths = np.array([*map(len, self.strings), 1])
            if lengths[self.codes].sum() > max(FREE_BYTES, MAX_RATIO * most):
                raise ValueError(f"the strings of a column are more than {MAX_RATIO} times as long as the file")
        else:
            self.codes = _decode(packed["data"], packed["encoding"], most)
        self.mask = None
        if content.get("mask") is not None:
            self.mask = _decode(content["mask"]["data"], content["mask"]["encoding"], most)

    def is_in(self, values: tuple[str, ...]) -> np.ndarray:
        """Which rows hold one of some strings, a mask of shape :math:`(N,)`."""
        return np.isin(self.codes, [place for place, string in enumerate(self.strings or ()) if string in values])

    def texts(self, rows: np.ndarray | None = None) -> list[str]:
        """Values of some rows, or all, as they stand in mmCIF."""
        codes = self.codes if rows is None else self.codes[rows]
        if self.strings is None:
            texts = codes.astype(str).tolist()
        else:
            quoted = [*map(gemmi.cif.quote, self.strings), "?"]
            texts = [quoted[code] for code in codes.tolist()]
        if self.mask is not None:
            mask = self.mask if rows is None else self.mask[rows]
            for place in np.flatnonzero(mask != PRESENT).tolist():
                texts[place] = "." if mask[place] == ABSENT else "?"
        return texts


def _decode(data: bytes, encoding: list[dict], most: int) -> np.ndarray:
    """Numbers of a column. What a damaged encoding would make of a few bytes is refused before it is made."""
    from biotite.structure.io.pdbx import BinaryCIFData

    for step in encoding:
        if step["kind"] in ("RunLength", "IntegerPacking") and not 0 <= step["srcSize"] <= most:
            raise ValueError(f"a column should have {step['srcSize']} values, more than the file has bytes")
    return BinaryCIFData.deserialize({"data": data, "encoding": encoding}).array
