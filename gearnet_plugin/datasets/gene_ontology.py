"""Chains with their Gene Ontology terms."""
from __future__ import annotations

from torchdrug import core
from torchdrug.core import Registry as R

from .host import warn_without_meaning
from .labels import quoted
from .protein_functions import FunctionStructures

BRANCHES = {"MF": "molecular_function", "BP": "biological_process", "CC": "cellular_component"}


@R.register("datasets.GeneOntologyStructures")
class GeneOntologyStructures(FunctionStructures, core.Configurable):
    """
    Protein chains with their Gene Ontology terms of a branch: the data set of DeepFRI, in the splits of
    ``datasets.GeneOntology``.

    An item is ``{"graph": ResidueProtein, "targets": Tensor}``, the targets zeros and ones of shape
    :math:`(\\text{number of terms},)` in the order of ``tasks``: 489 terms for MF, 1943 for BP, 320 for CC. All
    branches have the same chains, and share their store; a chain without a term of the branch has zeros only, and
    counts.

    Where structures and tables are taken from is said at :class:`EnzymeCommissionStructures`; here the archive is
    ``GeneOntology.zip``, the tables are ``nrPDB-GO_annot.tsv`` (``nrPDB-GO_2019.06.18_annot.tsv``) and so on, and the
    store is ``<path>/GeneOntologyStructures.store``.

    Parameters:
        path (str): folder of the data set
        branch (str, optional): ``MF`` (molecular function), ``BP`` (biological process) or ``CC`` (cellular component)
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

    release_name = "GeneOntology"
    prefix = "nrPDB-GO"
    url = "https://zenodo.org/record/6622158/files/GeneOntology.zip"
    md5 = "376be1f088cd1fe720e1eaafb701b5cb"
    branches = tuple(BRANCHES)
    num_functions = {"MF": 489, "BP": 1943, "CC": 320}

    def __init__(self, path, branch="MF", test_cutoff=0.95, verbose=1, transform=None, lazy=None, atom_feature=None,
                 bond_feature=None, residue_feature=None, mol_feature=None, kekulize=None, structures=None,
                 unknown="glycine", num_worker=None, strict=False, download=True):
        if branch not in BRANCHES:
            raise ValueError(f"unknown branch `{branch}`; allowed are {quoted(BRANCHES)}")
        self.branch = branch
        self.configure(transform, unknown)
        warn_without_meaning(self, lazy=lazy, atom_feature=atom_feature, bond_feature=bond_feature,
                             residue_feature=residue_feature, mol_feature=mol_feature, kekulize=kekulize)
        column = f"GO-terms ({BRANCHES[branch]})"
        self.load(path, column, test_cutoff, structures, num_worker, strict, download, verbose)

    @classmethod
    def label_counts(cls, config):
        return {"targets": cls.num_functions.get(config.get("branch", "MF"))}
