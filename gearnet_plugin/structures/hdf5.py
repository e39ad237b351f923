"""HDF5 files of the Fold3D and IEConv releases: one protein of atoms without chain ids or HETATM marks.

Read by h5py from memory. Nothing is followed out of the file, and no part is taken that is far larger unpacked
than the file: a few bytes of HDF5 can declare either.
"""

from __future__ import annotations

import io

import gemmi
import numpy as np

from .content import FREE_BYTES, MAX_RATIO

#: What is read of a file, of ``n`` atoms: positions in Å of shape :math:`(frames, n, 3)`, of which the first frame
#: is taken; names; number and name of the residue.
FIELDS = ("atom_pos", "atom_names", "atom_residue_id", "atom_residue_names")
#: Longest name of an atom or residue.
MAX_NAME = 16


def read_atoms(data: bytes) -> gemmi.Structure:
    """
    The atoms as a structure of one chain without id, B-factors 0.

    Parameters:
        data (bytes): content of a file

    Raises:
        ValueError: it is damaged, or is HDF5 of another kind
    """
    import h5py

    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            positions, atoms, numbers, residues = (_read(file, key, len(data)) for key in FIELDS)
    except ValueError:
        raise
    except Exception as error:  # noqa: BLE001  a damaged file makes the library raise nearly anything
        raise ValueError(f"its HDF5 cannot be read ({type(error).__name__}: {error})") from None
    if positions.shape != (len(atoms), 3) or not len(atoms) == len(numbers) == len(residues):
        found = ", ".join(f"{key} {value.shape}" for key, value in zip(FIELDS, (positions, atoms, numbers, residues)))
        raise ValueError(f"its tables should have a row an atom, but found {found}")
    if positions.dtype.kind not in "fiu" or numbers.dtype.kind not in "iu":
        raise ValueError("its positions or residue numbers are no numbers")
    return _structure(positions.astype(np.float64), _names(atoms), numbers.astype(np.int64), _names(residues))


def _read(file, key: str, size: int) -> np.ndarray:
    """A table of the file, of ``atom_pos`` the first frame."""
    import h5py

    if not isinstance(file.get(key, getlink=True), h5py.HardLink) or not isinstance(file[key], h5py.Dataset):
        raise ValueError(f"it is HDF5 of another kind: no table `{key}` as the Fold3D and IEConv data have it")
    table = file[key]
    if table.external or table.is_virtual:
        raise ValueError(f"its table `{key}` lies in another file")
    if table.ndim != (3 if key == "atom_pos" else 1) or table.shape[0] == 0:
        raise ValueError(f"its table `{key}` has shape {table.shape}")
    # A chunk is unpacked as a whole, whatever is wanted of it.
    wanted = table.shape[1:] if table.ndim == 3 else table.shape
    values = np.prod(wanted, dtype=float) + np.prod(table.chunks or (0,), dtype=float)
    if values * table.dtype.itemsize > max(FREE_BYTES, MAX_RATIO * size):
        raise ValueError(f"its table `{key}` of shape {table.shape} is too large for a file of {size} bytes")
    return table[0] if table.ndim == 3 else table[:]


def _names(values: np.ndarray) -> list[str]:
    """Names as text, whether stored with a fixed length or not."""
    names = [value.decode("ascii", "replace") if isinstance(value, bytes) else str(value) for value in values.tolist()]
    names = [name.strip() for name in names]
    if longest := max((name for name in names if len(name) > MAX_NAME), default=""):
        raise ValueError(f"it names an atom or residue `{longest[:40]}`")
    return names


def _structure(positions: np.ndarray, atoms: list[str], numbers: np.ndarray, residues: list[str]) -> gemmi.Structure:
    chain = gemmi.Chain("")
    before = None
    for position, name, number, residue in zip(positions.tolist(), atoms, numbers.tolist(), residues, strict=True):
        if before != (number, residue):
            before = number, residue
            added = chain.add_residue(gemmi.Residue())
            added.name = residue
            added.seqid.num = number if abs(number) < 1 << 31 else None
        atom = gemmi.Atom()
        atom.name, atom.element, atom.pos = name, _element(name), gemmi.Position(*position)
        atom.b_iso = 0.0
        added.add_atom(atom)
    model = gemmi.Model(1)
    model.add_chain(chain)
    structure = gemmi.Structure()
    structure.add_model(model)
    return structure


def _element(name: str) -> gemmi.Element:
    """Element of an atom of a protein. A calcium would be a ligand, so CA is a carbon."""
    return gemmi.Element(name.lstrip("0123456789")[:1])
