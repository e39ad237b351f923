"""Enzymes: chains with their EC numbers."""
from __future__ import annotations

from torchdrug import core
from torchdrug.core import Registry as R

from .host import warn_without_meaning
from .protein_functions import FunctionStructures


@R.register("datasets.EnzymeCommissionStructures")
class EnzymeCommissionStructures(FunctionStructures, core.Configurable):
    """
    Protein chains with the EC numbers of the reactions they catalyse: the data set of DeepFRI, in the splits of
    ``datasets.EnzymeCommission``.

    An item is ``{"graph": ResidueProtein, "targets": Tensor}``, the targets zeros and ones of shape :math:`(538,)` in
    the order of ``tasks``: numbers of three and of four levels.

    Structures and tables are taken from under ``path``, in one of these forms:

    - ``EnzymeCommission.zip``, the released archive; downloaded if it is not there
    - that archive unpacked, as ``<path>/EnzymeCommission`` or ``path`` itself: ``nrPDB-EC_annot.tsv``,
      ``nrPDB-EC_test.csv``, and ``train``, ``valid`` and ``test`` as folders or zip archives of files ``1ABC-A_.pdb``.
      A file is an item, whatever chains are in it
    - with ``structures``, the tables alone, as DeepFRI publishes them (``nrPDB-EC_2020.04_annot.tsv``, ``_test.csv``,
      ``_train.txt``, ``_valid.txt``, ``_test.txt``) or as released. Without the lists, the folders ``train``, ``valid``
      and ``test`` of the structures tell the splits

    They are read once, into the store ``<path>/EnzymeCommissionStructures.store``. ``drops`` names every chain with
    labels that is no item, with the reason, but for those that ``test_cutoff`` leaves out.

    Parameters:
        path (str): folder of the data set
        test_cutoff (float, optional): largest sequence identity of a chain for testing to one for training: 0.3, 0.4,
            0.5, 0.7 or 0.95. Training and validation do not depend on it
        verbose (int, optional): 0 logs only what is missing, and shows no progress
        transform (Callable, optional): protein transformation function, applied to each item
        lazy, atom_feature, bond_feature, residue_feature, mol_feature, kekulize (optional): without meaning here
        structures (str or list, optional): one's own structures: folder, archive, glob pattern, list of these, or a
            store that ``gearnet prepare`` made. Files are found by chain (``1ABC-A``, ``1abc_A``, ``1ABC_A``,
            ``1abcA``) or by entry (``1abc``, ``pdb1abc``)
        unknown (str, optional): what an unknown residue counts as, see :meth:`ResidueProtein.from_arrays`
        num_worker (int, optional): number of processes that read structures; by default one a core
        strict (bool, optional): after going through all, raise if any chain with labels was left out
        download (bool, optional): whether the archive may be downloaded
    """

    release_name = "EnzymeCommission"
    prefix = "nrPDB-EC"
    url = "https://zenodo.org/record/6622158/files/EnzymeCommission.zip"
    md5 = "33f799065f8ad75f87b709a87293bc65"
    num_function = 538

    def __init__(self, path, test_cutoff=0.95, verbose=1, transform=None, lazy=None, atom_feature=None,
                 bond_feature=None, residue_feature=None, mol_feature=None, kekulize=None, structures=None,
                 unknown="glycine", num_worker=None, strict=False, download=True):
        self.configure(transform, unknown)
        warn_without_meaning(self, lazy=lazy, atom_feature=atom_feature, bond_feature=bond_feature,
                             residue_feature=residue_feature, mol_feature=mol_feature, kekulize=kekulize)
        self.load(path, "EC-numbers", test_cutoff, structures, num_worker, strict, download, verbose)
