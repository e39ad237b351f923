"""Fold classification (SCOP 1.75): the Fold3D release, or its lists with one's own structures."""
from __future__ import annotations

import os

from torch.utils.data import Subset

from gearnet_plugin.structures.download import fetch
from gearnet_plugin.structures.extract import STAMP, extract
from gearnet_plugin.structures.prepare import Recipe
from torchdrug import core
from torchdrug.core import Registry as R

from .host import warn_without_meaning
from .ieconv import Lists, find_lists, published_lists, read_fold_lists
from .labels import quoted
from .listed import ListedStructures, Reading, chain_of, folder_of
from .sourced import open_structures

FOLDER = "fold3d"
BENCHMARK = "HomologyTAPE"
# names of the files in the Fold3D release and in that of IEConv
STEMS = {"class_map": ("class_map",), "train": ("train", "training"), "valid": ("valid", "validation"),
         "test_fold": ("test_fold",), "test_family": ("test_family",), "test_superfamily": ("test_superfamily",)}
LISTS = {
    "class_map.txt": "0ae0600ef6b50fc40094f4e751acebb789f7d1c56e12bb6c5652775b4035cd62",
    "training.txt": "6e5744682109378374d54987f6c4f99648956bde1162331835fb975fb1f71804",
    "validation.txt": "29c53293bff7fdec5197610889a86d08e214df8743f976236ff537ab7bfac2f2",
    "test_fold.txt": "6264ebb72c8c171eb841f145d386bf0bc93deb896a588dd4be7defd8aeac0e6d",
    "test_family.txt": "29a58ca5c8f2662ba3886f5d4e56c3f21b1141b6c59caad7ade9091b27aec943",
    "test_superfamily.txt": "5ff9f161dca8f3f5504b0ee35e49b6219041af194ac102af58e7153d4b8f00df",
}


@R.register("datasets.FoldStructures")
class FoldStructures(ListedStructures, core.Configurable):
    """
    Protein domains with their fold, one of 1,195 classes of SCOP 1.75.

    An item is ``{"graph": ResidueProtein, "fold_label": class}``, for ``tasks.PropertyPrediction`` with
    ``criterion: ce``. Give that task ``num_class: 1195`` (``script/run.py`` does so by itself): it would otherwise
    count classes by the training set, which lacks some where not all structures are there.

    Domains are ordered as in ``datasets.Fold3D``: split by split, sorted by name. Of 12,312 for training, 736 for
    validation, and for tests 718 of superfamilies that are not trained on (``test_fold``), 1,254 of families that are
    not (``test_superfamily``) and 1,272 of families that are (``test_family``), those count that have a structure.

    Taken from ``path``, in this order: the extracted release (``path`` itself or its folder ``fold3d``) with its lists
    and for each split a folder or zip archive of HDF5 files; ``fold3d.zip``; a download of that. With ``structures``
    only the lists are needed, as ``fold3d.zip`` or IEConv have them; they are downloaded where they are missing. One's
    own structures are found by domain (``d1a3aa_``); a domain that is a whole chain (its id ends with ``_``) also by
    the chain (``1a3a_A``, ``1A3A-A``, ``1a3a.A``, ``1a3aA``). Structures are read once, into the store
    ``<path>/FoldStructures.store``.

    Parameters:
        path (str): folder of the data set
        test_split (str, optional): what :meth:`split` gives as test set: ``test_fold``, ``test_family`` or
            ``test_superfamily``
        verbose (int, optional): 0 logs only warnings
        structures (str or list, optional): one's own structure files in place of those of the release: folders,
            archives, lists or files, see :func:`~gearnet_plugin.structures.find_entries`, or a store
        transform (Callable, optional): protein transformation function, applied to each item
        lazy, atom_feature, bond_feature, residue_feature, mol_feature, kekulize (optional): accepted from
            configurations of TorchDrug, without effect
        unknown (str, optional): what an unknown residue counts as, see :meth:`ResidueProtein.from_arrays`
        num_worker (int, optional): number of processes that read files; by default one a core
        strict (bool, optional): raise if anything was left out, see ``drops``
        download (bool, optional): False to use no network
    """

    urls = ("https://zenodo.org/record/7593591/files/fold3d.zip", "https://oxer11.github.io/fold3d.zip")
    md5 = "7b052a94afa4c66f9bebeb9efd769186"
    splits = ("train", "valid", "test_fold", "test_family", "test_superfamily")
    target = "fold_label"
    num_class = 1195

    def __init__(self, path, test_split="test_fold", verbose=1, structures=None, transform=None, lazy=None,
                 atom_feature=None, bond_feature=None, residue_feature=None, mol_feature=None, kekulize=None,
                 unknown="glycine", num_worker=None, strict=False, download=True):
        if test_split not in self.splits[2:]:
            raise ValueError(f"unknown test_split `{test_split}`; allowed are {quoted(self.splits[2:])}")
        self.configure(transform, unknown)
        warn_without_meaning(self, lazy=lazy, atom_feature=atom_feature, bond_feature=bond_feature,
                             residue_feature=residue_feature, mol_feature=mol_feature, kekulize=kekulize)
        self.path, self.test_split = folder_of(path), test_split

        files = self._lists(structures is None, download, verbose)
        lists = read_fold_lists(files)
        order = sorted(lists.members, key=lambda member: (self.splits.index(member.split), member.name))

        def released():
            return self._released(os.path.dirname(files["class_map"]), download, verbose)

        # a domain may have residues of several chains
        store = open_structures(self.path, "FoldStructures", structures, released, Recipe(per="entry"), num_worker,
                                verbose)
        self.fill(store, Lists(lists.classes, order, lists.faults), readings)
        self.report(strict, verbose)

    @property
    def split_names(self):
        """What :meth:`split` returns by default."""
        return ["train", "valid", "test"]

    def split(self, keys=None):
        """
        Training set, validation set and the test set that ``test_split`` names, or the splits asked for.

        Parameters:
            keys (list of str, optional): names of splits, of ``splits``

        Raises:
            ValueError: there is no such split, or none of the structures of a split can be used
        """
        keys = ["train", "valid", self.test_split] if keys is None else [keys] if isinstance(keys, str) else list(keys)
        for name in keys:
            if name not in self._splits:
                raise ValueError(f"unknown split `{name}`; there are {quoted(self._splits)}")
            if not self._splits[name]:
                raise ValueError(f"no structure of split `{name}` can be used; `drops` says why")
        return [Subset(self, self._splits[name]) for name in keys]

    @property
    def _places(self):
        """Folders that the release may be in."""
        return [self.path, os.path.join(self.path, FOLDER), os.path.join(self.path, FOLDER, FOLDER)]

    def _lists(self, whole, download, verbose):
        """Paths of the lists; unpacks or downloads what is not there, the whole release or the lists alone."""
        if files := find_lists(self._places, STEMS, BENCHMARK):
            return files
        folder = os.path.join(self.path, BENCHMARK)
        if os.path.exists(self._archive) or whole and not os.path.isdir(folder):
            self._unpack(download, verbose)
            if files := find_lists(self._places, STEMS, BENCHMARK):
                return files
            raise ValueError(f"`{self._archive}` is not the Fold3D release: there is no `{FOLDER}/class_map.txt` in it")
        return published_lists(folder, STEMS, BENCHMARK, LISTS, download, verbose)

    def _released(self, folder, download, verbose):
        """Folders of the HDF5 files, beside the lists or of the release."""
        for _ in range(2):
            for place in dict.fromkeys([folder, *self._places]):
                if found := split_folders(place, verbose):
                    return found
            # the second time there is nothing left to do, or it is an error
            self._unpack(download, verbose)
        raise ValueError(f"`{self._archive}` is not the Fold3D release: there is no `{FOLDER}/train.zip` in it")

    @property
    def _archive(self):
        return os.path.join(self.path, "fold3d.zip")

    def _unpack(self, download, verbose):
        fetch(self.urls, self._archive, md5=self.md5, download=download, verbose=verbose)
        extract(self._archive, os.path.join(self.path, FOLDER), verbose=verbose)


def split_folders(folder: str, verbose: int = 1) -> list[str]:
    """
    Folders of the HDF5 files of each split, unpacked where that is needed; none if there are none.

    Parameters:
        folder (str): where to look for folders and zip archives named by splits
        verbose (int, optional): 0 for no progress bar
    """
    found = []
    for split, spellings in STEMS.items():
        for stem in spellings if split != "class_map" else ():
            place = os.path.join(folder, stem)
            if os.path.isfile(f"{place}.zip") and not _is_foreign(place):
                found.append(os.fspath(extract(f"{place}.zip", place, verbose=verbose)))
            elif os.path.isdir(place):
                found.append(place)
    return found


def _is_foreign(folder) -> bool:
    """Whether a folder holds what :func:`extract` did not put there, such as what TorchDrug unpacked."""
    return os.path.isdir(folder) and bool(os.listdir(folder)) and not os.path.exists(os.path.join(folder, STAMP))


def readings(name: str, per_chain: bool) -> list[Reading]:
    """Domains that the name of a structure may stand for: its own, or the whole chain that it names."""
    base = os.path.basename(name)
    found = [Reading(base.lower(), 0, base.lower())]
    head, _, chain = base.rpartition("_")
    if per_chain and head:
        found.append(Reading(head.lower(), 1, base.lower()))
    for place, text in enumerate([base, head] if per_chain else [base]):
        whole = chain_of(text)
        # of a file that is named by a chain, that chain
        if whole and (not place or chain == whole[1]):
            found.append(Reading(f"d{whole[0]}{whole[1].lower()}_", 2, ".".join(whole)))
    return found
