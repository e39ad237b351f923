"""Reaction classification (enzyme classes): the lists of IEConv's ProtFunct data, with its HDF5 files or one's own."""
from __future__ import annotations

import os

from gearnet_plugin.structures.extract import extract
from gearnet_plugin.structures.prepare import Recipe
from torchdrug import core
from torchdrug.core import Registry as R

from .host import warn_without_meaning
from .ieconv import find_lists, published_lists, read_reaction_lists
from .listed import ListedStructures, Reading, chain_of, folder_of
from .sourced import open_structures

BENCHMARK = "ProtFunct"
SOURCE = "https://github.com/phermosilla/IEConv_proteins"
STEMS = {"chain_functions": ("chain_functions",), "unique_functions": ("unique_functions",),
         "train": ("training", "train"), "valid": ("validation", "valid"), "test": ("testing", "test")}
LISTS = {
    "chain_functions.txt": "3141f70d99e1577666ab0477ab2f73f7c91b76886178309ef7c125e03e6aab79",
    "unique_functions.txt": "b612bba0a1b798464c08cc0e6671dee53aa6eb71b0e33580c56e3be0042c08d3",
    "training.txt": "b3caaea7bee88412d4297df36ab5c88b36c4c4ed22a88d7976e502f277fd665c",
    "validation.txt": "a250a08d705a17bb862c652b73fc5c6e00ecf39e5cf4a5d9268ed4852c8b88fb",
    "testing.txt": "aac62706b774901d2835373df5ceaf41b6596a0223aa2a3ebaf250619eefcad2",
}


@R.register("datasets.ReactionStructures")
class ReactionStructures(ListedStructures, core.Configurable):
    """
    Protein chains with the reaction that they catalyse, one of 384 EC numbers.

    An item is ``{"graph": ResidueProtein, "reaction_label": class}``, for ``tasks.PropertyPrediction`` with
    ``criterion: ce``. Give that task ``num_class: 384`` (``script/run.py`` does so by itself): it would otherwise
    count classes by the training set, which lacks some where not all structures are there.

    Chains are in the order of the lists. Of 29,215 for training, 2,562 for validation and 5,651 for test, those count
    that have a structure.

    Lists (``chain_functions.txt``, ``unique_functions.txt``, ``training.txt``, ``validation.txt``, ``testing.txt``) are
    taken from ``path`` or its folder ``ProtFunct``, and downloaded where they are missing. Structures are those of
    IEConv, in the folder ``data`` beside the lists or its archive ``data.zip``, or one's own, given by ``structures``:
    a file a chain (``1abc.A``, ``1abc_A``, ``1ABC-A``, ``1abcA``), or whole entries (``1abc``, ``pdb1abc``), of which
    each author's chain is looked up. They are read once, into the store ``<path>/ReactionStructures.store``.

    Parameters:
        path (str): folder of the data set
        verbose (int, optional): 0 logs only warnings
        structures (str or list, optional): structure files: folders, archives, lists or files, see
            :func:`~gearnet_plugin.structures.find_entries`, or a store
        transform (Callable, optional): protein transformation function, applied to each item
        lazy, atom_feature, bond_feature, residue_feature, mol_feature, kekulize (optional): accepted from
            configurations of TorchDrug, without effect
        unknown (str, optional): what an unknown residue counts as, see :meth:`ResidueProtein.from_arrays`
        num_worker (int, optional): number of processes that read files; by default one a core
        strict (bool, optional): raise if anything was left out, see ``drops``
        download (bool, optional): False to use no network
    """

    target = "reaction_label"
    num_class = 384
    splits = ("train", "valid", "test")

    def __init__(self, path, verbose=1, structures=None, transform=None, lazy=None, atom_feature=None,
                 bond_feature=None, residue_feature=None, mol_feature=None, kekulize=None, unknown="glycine",
                 num_worker=None, strict=False, download=True):
        self.configure(transform, unknown)
        warn_without_meaning(self, lazy=lazy, atom_feature=atom_feature, bond_feature=bond_feature,
                             residue_feature=residue_feature, mol_feature=mol_feature, kekulize=kekulize)
        self.path = folder_of(path)

        files = find_lists([self.path], STEMS, BENCHMARK) or published_lists(
            os.path.join(self.path, BENCHMARK), STEMS, BENCHMARK, LISTS, download, verbose)
        lists = read_reaction_lists(files, key)
        folder = os.path.dirname(files["unique_functions"])
        store = open_structures(self.path, "ReactionStructures", structures, lambda: released_files(folder, verbose),
                                Recipe(per="chain"), num_worker, verbose)
        self.fill(store, lists, readings)
        self.report(strict, verbose)


def released_files(folder: str, verbose: int = 1) -> list[str]:
    """
    Folder of the released HDF5 files, unpacked where that is needed.

    Parameters:
        folder (str): where the lists are
        verbose (int, optional): 0 for no progress bar
    """
    place = os.path.join(folder, "data")
    if os.path.isfile(f"{place}.zip"):
        return [os.fspath(extract(f"{place}.zip", f"{place}.unpacked", verbose=verbose))]
    if not os.path.isdir(place):
        raise FileNotFoundError(f"no structures at `{os.path.abspath(place)}`: download `Protein function` by the link "
                                f"on {SOURCE}, extract it in `{os.path.abspath(folder)}`, and give the same command "
                                f"again; or give your own structures by `structures`")
    return [place]


def key(name: str) -> str:
    """Chain that a name spells, as ``1abc.A``; names of another kind as they are."""
    chain = chain_of(name)
    return ".".join(chain) if chain else name


def readings(name: str, per_chain: bool) -> list[Reading]:
    """
    Chains that the name of a structure may stand for.

    ``1abc_A`` is chain A of the file ``1abc`` or the file of that chain. Of a file that is named by a chain, that chain
    counts, or its only one: many programs rename what they cut out.
    """
    base = os.path.basename(name)
    if chain_of(base):
        return [Reading(key(base), 0, key(base))]
    head, _, chain = base.rpartition("_")
    whole = chain_of(head) if per_chain else None
    if whole:
        return [Reading(key(head), 0, key(head)) if chain == whole[1] else Reading(key(head), 1, base)]
    return [Reading(base, 0, base)]
