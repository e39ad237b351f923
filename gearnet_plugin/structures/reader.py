"""Read structure files into Cα arrays.

What is taken from a file:

- **The first model**, all protein chains. Chains stay apart (:meth:`Structure.chains`).
- **One Cα per residue**: an atom ``CA`` that is a carbon (a calcium is none), of the alternate location with
  the highest occupancy, whichever letter it has; ties go to the lowest letter. Where alternate locations hold
  different residues at one position, the residue of the Cα with the highest occupancy is taken.
- **Residue types**: modified residues count as their parent (MSE as MET), by gemmi's table, else by what the
  file declares (MODRES, ``_pdbx_struct_mod_residue``); histidines and the like under the names of simulation
  programs (HIE, CYX, ...) as the plain residue; SEC as CYS, PYL as LYS. UNK, ASX, GLX and any other residue
  with backbone atoms N, CA, C in a protein chain are kept as unknown (type 20). Residue names are reported as
  in the file.
- **Only residues of the chain.** Nucleic acids, water and ligands are left out, and so are free amino acids.
  An mmCIF file says which residues belong to a polymer. Where that is not said, as in PDB files, an amino
  acid in ATOM records belongs to the chain; one in HETATM records does if it is bonded to a residue of the
  chain (C-N below 2 Å; CA-CA below 4.5 Å where those atoms are missing), or if it is a modified residue and
  stands before the TER record or before an ATOM residue of the chain.
- **What is dropped is counted** by reason in ``Structure.dropped``: ``no CA``; ``bad coordinates`` (not
  finite, or |x| ≥ 1e5 Å); ``no residue number``; ``repeated CA`` (a further Cα of the same residue and
  alternate location).
- **Confidence** is the pLDDT for models of AlphaFold and ESMFold and mmCIF models that declare a pLDDT
  metric, on a scale of 0 to 100 (0 to 1 is rescaled); known by the header, or by a
  title or file name ``AF-*-F*-model*``, unless an experimental method is given. Otherwise it is the B-factor.
  What is not finite is taken for 0.

BinaryCIF is read as mmCIF; FoldComp and HDF5, which know neither HETATM nor what belongs to a polymer, as PDB
files of ATOM records. FoldComp entries keep one chain, and number their residues without gaps (:mod:`.fcz`). HDF5
files of the Fold3D release name no chains and no insertion codes, so that inserted residues of one name that
follow each other are one (:mod:`.hdf5`).

Read as the file has them: deposited coordinates, not the biological assembly.
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter

import gemmi
import numpy as np

from .content import as_text, content_format, read_file, split_ending, unpack, unreadable
from .plain_pdb import read_plain
from .polymer import chain_residues
from .structure import Structure

#: Coordinates from here on are no coordinates, in Å.
LIMIT = 1e5
#: Longest chain id and residue name that are taken; the longest in use have five characters. In an array every
#: residue takes as much as the longest.
MAX_NAME = 64

# Without an element column "CA  " means calcium and " CA " carbon. Some programs write all names at the left;
# an atom CA in a residue that is not called CA is a carbon then.
LEFT_ALIGNED_CA = re.compile(rb"^((?:ATOM  |HETATM).{6})CA  (?!.{60}\S|.{61}\S|.\s*CA\s)", re.MULTILINE)
PREDICTED_NAME = re.compile(r"AF-.+-F\d+(-model.*)?", re.IGNORECASE)
PREDICTED_TITLE = re.compile(r"ALPHAFOLD|ESMFOLD", re.IGNORECASE)


def read_structure(path: str | os.PathLike) -> Structure:
    """
    Read all protein chains of the first model of a structure file.

    What counts as a residue is said at the top of this module.

    Parameters:
        path (str or Path): file ``.pdb``, ``.ent``, ``.cif`` or ``.mmcif``; with the extra ``formats`` also
            BinaryCIF ``.bcif``, FoldComp ``.fcz``, and ``.hdf5`` or ``.h5`` as the Fold3D data have it; each
            also with ``.gz``

    Returns:
        Structure: named like the file without its ending

    Raises:
        FileNotFoundError: there is no such file
        ValueError: the file is no structure, empty, damaged, or holds no protein; or what reads its format is
            not installed; the message says which
    """
    return parse_structure(read_file(path), split_ending(path)[0], os.fspath(path))


def parse_structure(data: bytes, name: str, source: str) -> Structure:
    """
    Read a structure from the bytes of a file, as :func:`read_structure` does.

    Parameters:
        data (bytes): content in any of the formats, packed with gzip or not; it tells its format itself
        name (str): name of the structure
        source (str): where it comes from, for messages and :attr:`Structure.source`

    Raises:
        ValueError: as :func:`read_structure`
    """
    data = unpack(source, data)
    format = content_format(source, data)
    try:
        entry, block, columns, dropped = _parse(data, format)
    except (RuntimeError, ValueError, IndexError) as error:
        message = " ".join(str(error).split())
        raise unreadable(source, f"it is damaged, cut off or not in its format: {message}") from None
    if not columns:
        reasons = ", ".join(f"{count} x {reason}" for reason, count in _total(dropped).items())
        raise unreadable(source, f"it holds no protein residue with a CA atom (dropped: {reasons or 'none'})")

    method, confidence_kind = _origin(entry, block, name)
    if confidence_kind == "plddt" and 0 <= columns["confidence"].min() and columns["confidence"].max() <= 1:
        columns["confidence"] = columns["confidence"] * 100
    return Structure(
        name=name,
        **columns,
        confidence_kind=confidence_kind,
        resolution=entry.resolution if 0 < entry.resolution < math.inf else None,
        method=method,
        source=source,
        dropped=dict(_total(dropped)),
        dropped_by_chain=dropped,
    )


def _parse(data: bytes, format: str) -> tuple[gemmi.Structure, gemmi.cif.Block | None, dict, dict]:
    """Entry, block if it is mmCIF, and what :func:`_read_columns` gives."""
    # The modules of the optional formats stay out of the way of those who read none.
    if format in ("mmcif", "bcif"):
        if format == "bcif":
            from .binarycif import read_block

            block = read_block(data)
            entry = gemmi.make_structure_from_block(block)
        else:
            entry, block = _parse_mmcif(as_text(data))
        return entry, block, *_read_columns(entry, from_mmcif=True)
    if format == "hdf5":
        from .hdf5 import read_atoms

        entry = read_atoms(data)
        return entry, None, *_read_columns(entry, from_mmcif=False)
    if format == "fcz":
        from .fcz import decompress

        text, first = decompress(data)
        entry = parse_pdb(text)
        columns, dropped = _read_columns(entry, from_mmcif=False)
        if columns:
            columns["residue_numbers"] += first - 1
        return entry, None, columns, dropped

    data = as_text(data)
    plain = read_plain(data)
    if plain is not None:
        entry, columns, dropped = plain
        return entry, None, columns, dropped
    entry = parse_pdb(data)
    columns, dropped = _read_columns(entry, from_mmcif=False)
    if _total(dropped)["no CA"]:
        aligned = LEFT_ALIGNED_CA.sub(rb"\1 CA ", data)
        if aligned != data:
            entry = parse_pdb(aligned)
            columns, dropped = _read_columns(entry, from_mmcif=False)
    return entry, None, columns, dropped


def _parse_mmcif(data: bytes) -> tuple[gemmi.Structure, gemmi.cif.Block]:
    """The structure of the first data block that has atoms, and the block."""
    document = gemmi.cif.read_string(data)
    block = next((block for block in document if block.find_values("_atom_site.Cartn_x")), None)
    if block is None:
        raise ValueError("no data block with _atom_site coordinates")
    return gemmi.make_structure_from_block(block), block


def parse_pdb(data: bytes) -> gemmi.Structure:
    """The structure of a PDB text, cut after the first model: an NMR entry has twenty."""
    # Looking for MODEL in the header first saves a search through all atoms of an entry without models.
    if data.startswith(b"MODEL") or data.find(b"\nMODEL", 0, data.find(b"\nATOM") + 1) >= 0:
        end = data.find(b"\nENDMDL")
        data = data[:end] + b"\nENDMDL\n" if end >= 0 else data
    try:
        return gemmi.read_pdb_string(data)
    except RuntimeError as error:
        if "charge" not in str(error):
            raise
        # Before 1996 columns 73 to 80 held entry id and line number, where element and charge are now.
        return gemmi.read_pdb_string(data, max_line_length=72)


# === residue by residue ===


def _read_columns(entry: gemmi.Structure, from_mmcif: bool) -> tuple[dict[str, np.ndarray], dict]:
    """The array fields of a Structure, empty without a residue, and what each chain dropped."""
    rows: list[tuple] = []
    chains: list[tuple[str, int]] = []
    dropped: dict[str, dict[str, int]] = {}
    if len(entry) > 0:
        entry.merge_chain_parts()
        parents = {mod.res_id.name: mod.parent_comp_id for mod in entry.mod_residues}
        for chain in entry[0]:
            chain_rows, chain_dropped = _chain_rows(chain_residues(chain, parents, from_mmcif))
            rows += chain_rows
            chains.append((chain.name, len(chain_rows)))
            if chain_dropped:
                dropped[chain.name] = dict(chain_dropped)
    if not rows:
        return {}, dropped
    types, names, numbers, insertions, positions, b_factors, _, labels = zip(*rows, strict=True)
    for kind, texts in (("chain id", [name for name, _ in chains]), ("chain id", labels), ("residue name", names)):
        if (longest := max(map(len, texts))) > MAX_NAME:
            raise ValueError(f"a {kind} has {longest} characters, more than {MAX_NAME}")
    confidence = np.array(b_factors, dtype=np.float32)
    confidence[~np.isfinite(confidence)] = 0
    chain_ids = np.repeat([name for name, _ in chains], [count for _, count in chains])
    return {
        "positions": np.array(positions, dtype=np.float32),
        "residue_types": np.array(types, dtype=np.uint8),
        "chain_ids": chain_ids,
        "label_chain_ids": np.array(labels) if from_mmcif and all(labels) else chain_ids,
        "residue_numbers": np.array(numbers, dtype=np.int32),
        "insertion_codes": np.array(insertions),
        "residue_names": np.array(names),
        "confidence": confidence,
    }, dropped


def _chain_rows(residues: list[tuple[gemmi.Residue, int]]) -> tuple[list[tuple], Counter]:
    """
    Rows of one chain, and what was dropped by reason.

    A row is (type, name, number, insertion code, position, B-factor, rank among variants, label chain).
    """
    rows: list[tuple] = []
    without_ca: list[tuple[int | None, str]] = []
    dropped: Counter[str] = Counter()
    last: tuple | None = None
    for residue, type in residues:
        atom = residue.get_ca()
        seqid = residue.seqid
        number, insertion = seqid.num, seqid.icode.strip()
        if atom is None:
            without_ca.append((number, insertion))
            continue
        if len(residue["CA"]) > 1:
            atom, repeated = _best_atom(residue["CA"])
            dropped.update(repeated)
        position = x, y, z = atom.pos.tolist()
        # Chained comparisons, because NaN and infinity fail them too.
        if not (-LIMIT < x < LIMIT and -LIMIT < y < LIMIT and -LIMIT < z < LIMIT):
            dropped["bad coordinates"] += 1
            continue
        if number is None:
            dropped["no residue number"] += 1
            continue
        rank = (-atom.occ, atom.altloc)
        row = (type, residue.name, number, insertion, position, atom.b_iso, rank, residue.subchain)
        if last and last[2] == number and last[3] == insertion and last[6][1] != rank[1]:
            # Another residue at the same position, under another alternate location.
            rows[-1] = last = min(last, row, key=lambda row: row[6])
        else:
            rows.append(row)
            last = row
    if without_ca:
        # A residue whose variant at the same position has a CA is not missing.
        present = {(row[2], row[3]) for row in rows}
        dropped["no CA"] = sum(position not in present for position in without_ca)
    return rows, +dropped


def _best_atom(group: gemmi.AtomGroup) -> tuple[gemmi.Atom, dict[str, int]]:
    """The CA to take among several, and how many share their alternate location with another one."""
    atoms = [atom for atom in group if atom.element.name == "C"]
    repeated = len(atoms) - len({atom.altloc for atom in atoms})
    return min(atoms, key=lambda atom: (-atom.occ, atom.altloc)), {"repeated CA": repeated}


def _total(dropped: dict[str, dict[str, int]]) -> Counter:
    return sum(map(Counter, dropped.values()), Counter())


# === where the file comes from ===


def _origin(entry: gemmi.Structure, block: gemmi.cif.Block | None, name: str) -> tuple[str, str]:
    """Method and kind of confidence, e.g. ``X-RAY DIFFRACTION, b_factor`` or ``predicted, plddt``."""
    info = {key: entry.info[key] for key in entry.info}
    method = info.get("_exptl.method", "").strip()
    # Experimental entries mention AlphaFold too, as the search model of molecular replacement.
    if method and "THEORETICAL" not in method.upper():
        return method, "b_factor"
    titles = [
        info.get("_struct.title", ""),
        info.get("_struct_keywords.pdbx_keywords", ""),
        *entry.raw_remarks,
    ]
    metrics, is_model = [], bool(method)
    if block is not None:
        titles += block.find_values("_database_2.database_id")
        metrics = [*block.find_values("_ma_qa_metric.type"), *block.find_values("_ma_qa_metric.name")]
        is_model |= any(category.startswith("_ma_") for category in block.get_mmcif_category_names())
    if (
        any(PREDICTED_NAME.fullmatch(text) for text in (name, info.get("_entry.id", ""), titles[0].strip()))
        or any(PREDICTED_TITLE.search(title) for title in titles)
        or any("plddt" in metric.lower() for metric in metrics)
    ):
        return "predicted", "plddt"
    return "predicted" if is_model else "", "b_factor"
