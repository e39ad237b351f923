"""Many small structure files, and stores of them, for the tests of preparation."""
import os
import random

from structure_text import backbone, pdb_text

NAMES = ("ALA", "GLY", "SER", "LEU", "LYS", "MSE")


def peptide(rng, length, chain="A", first=1):
    """PDB text of a chain of residues drawn by ``rng``."""
    residues = [backbone(rng.choice(NAMES), first + i, chain=chain, b=rng.uniform(10, 90)) for i in range(length)]
    return pdb_text(*residues)


def write_peptides(folder, count, seed=0, broken=()):
    """Files ``p0000.pdb``, ...; those whose numbers are in ``broken`` hold no structure."""
    rng = random.Random(seed)
    os.makedirs(folder, exist_ok=True)
    for number in range(count):
        text = peptide(rng, rng.randint(1, 12))
        with open(os.path.join(folder, f"p{number:04d}.pdb"), "w") as file:
            file.write("nothing\n" if number in broken else text)
    return os.fspath(folder)


def files_of(folder):
    """All files below a folder with their bytes, by relative path."""
    found = {}
    for root, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(root, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, folder)] = file.read()
    return found
