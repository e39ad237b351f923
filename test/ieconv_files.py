"""Small data in the form of the Fold3D release and of IEConv's ProtFunct, made of bundled structures."""
import os
import zipfile
from types import SimpleNamespace

import gemmi
import numpy as np
import pytest

from gearnet_plugin.structures.bundled import bundled_path, bundled_table

# by length, so that tests are short; each a single chain
SHORT = [row["structure"] for row in sorted(bundled_table(), key=lambda row: (row["length"], row["structure"]))[:14]]


def stem(file):
    """Name of a bundled file without ending, ``1a8o_A``."""
    return file.split(".")[0]


def domain(file):
    """The SCOP id that the whole chain of a bundled file would have, ``d1a8oa_``."""
    entry, chain = stem(file).split("_")
    return f"d{entry}{chain.lower()}_"


def write_hdf5(path, source):
    """The tables that the releases have, from the atoms of another file."""
    h5py = pytest.importorskip("h5py")
    residues = [residue for chain in gemmi.read_structure(str(source))[0] for residue in chain]
    atoms = [(residue, atom) for residue in residues for atom in residue]
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with h5py.File(path, "w") as file:
        file["atom_pos"] = np.array([[atom.pos.tolist() for _, atom in atoms]], dtype=np.float32)
        file["atom_names"] = np.array([atom.name.encode() for _, atom in atoms])
        file["atom_types"] = np.zeros(len(atoms), dtype=np.int64)
        file["atom_residue_id"] = np.array([residue.seqid.num for residue, _ in atoms])
        file["atom_residue_names"] = np.array([residue.name.encode() for residue, _ in atoms])
        file["cov_bond_list"] = np.zeros((3, 2), dtype=np.int64)
    return path


def bundled(file):
    """Path of a bundled file."""
    return bundled_path() / file


def pack(folder, archive, top):
    """Zip a folder, its files below ``top`` in the archive."""
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for root, _, names in sorted(os.walk(folder)):
            for name in sorted(names):
                path = os.path.join(root, name)
                file.write(path, os.path.join(top, os.path.relpath(path, folder)))
    return archive


def write_lists(folder, lists):
    """Text files by name, each with the rows given."""
    os.makedirs(folder, exist_ok=True)
    for name, rows in lists.items():
        with open(os.path.join(folder, f"{name}.txt"), "w") as file:
            file.write("".join(f"{row}\n" for row in rows))
    return folder


def link_lists(shared_data, path, benchmark):
    """The published lists of a benchmark, under the names that they have among the real data."""
    for name in os.listdir(os.path.join(shared_data, "original")):
        if benchmark in name:
            os.symlink(os.path.join(shared_data, "original", name), os.path.join(path, name))


class NamesOnly:
    """A store of which only names are asked for."""

    path = "names"

    def __init__(self, per, names):
        self.names = names
        self.manifest = SimpleNamespace(recipe={"per": per}, counts={"files": 0, "drops": 0})

    def drops(self):
        """Nothing was left out."""
        return []

    lost = drops

    def residues_left_out(self):
        """All residues are there."""
        return {}

    def name(self, number):
        """The name of a structure."""
        return self.names[number]
