"""What the datasets of protein functions share: chains of DeepFRI's tables, each with any number of functions."""
from __future__ import annotations

import logging
import os

import numpy as np
import torch

from gearnet_plugin.structures import StructureStore, split_ending
from gearnet_plugin.structures.manifest import MANIFEST
from gearnet_plugin.structures.prepare import Recipe

from .base import StructureDataset
from .chain_names import ChainNames
from .deepfri import (
    SOURCE,
    SPLITS,
    TEST_CUTOFFS,
    Annotation,
    find_tables,
    read_annotation,
    read_cutoffs,
    read_lists,
)
from .labels import quoted
from .prepared import prepared_store
from .release import Release, split_of
from .sourced import open_structures
from .stored import StoredStructures

logger = logging.getLogger(__name__)


class FunctionStructures(StructureDataset):
    """
    Chains and their functions.

    A subclass sets the class attributes and calls :meth:`load`.

    Attributes:
        release_name (str): name of the released archive, and of this class without ``Structures``
        prefix (str): how the names of the tables begin
        url (str): where the released archive is
        md5 (str): its MD5
        num_function (int): number of functions in its tables
        test_cutoffs (tuple): values that ``test_cutoff`` may have
        chains (list of str): chain of each item as the tables call it, ``1ABC-A``
        targets (dict): number of each function, by its EC number or GO term
        descriptions (list of str): what the functions are called
    """

    release_name = prefix = url = md5 = ""
    num_function = 0
    test_cutoffs = TEST_CUTOFFS

    @classmethod
    def label_counts(cls, config):
        """
        Return how many labels the released tables have, known without them.

        Parameters:
            config (dict): arguments in a configuration

        Returns:
            dict: ``{"targets": number}``
        """
        return {"targets": cls.num_function}

    def load(self, path, column, test_cutoff, structures, num_worker, strict, download, verbose):
        """
        Set structures, labels and splits; arguments as of the subclass.

        Parameters:
            column (str): title of the column of functions
        """
        if test_cutoff not in self.test_cutoffs:
            raise ValueError(f"unknown test_cutoff `{test_cutoff}`; allowed are {quoted(self.test_cutoffs)}: the "
                             f"largest sequence identity of a test chain to a chain for training")
        path = os.path.abspath(os.path.expanduser(os.fspath(path)))
        name = f"{self.release_name}Structures"
        release = Release(self.release_name, self.url, self.md5, path)
        if structures is None:
            prepared = os.path.exists(os.path.join(path, f"{name}.store", MANIFEST))
            place = release.find(self._has_tables, prepared, download, verbose)
        else:
            place = self._own_tables(release)
        tables = find_tables(place, self.prefix)
        # wrong tables are better told before an hour of reading than after
        self.annotation = read_annotation(tables.annotation, column)
        stays = read_cutoffs(tables.cutoffs, test_cutoff)
        lists = read_lists(tables.lists) if structures is not None else {}

        if structures is None:
            store = prepared_store(path, name, lambda: release.split_folders(place, verbose), Recipe(per="entry"),
                                   num_worker, verbose)
        else:
            store = open_structures(path, name, structures, None, Recipe(per="chain"), num_worker, verbose)
        found = _Found(store, self.annotation, lists)
        self._select(found, stays, tables, own=structures is not None)
        self.test_cutoff = test_cutoff
        self.report(strict, verbose)

    def _has_tables(self, folder):
        return find_tables(folder, self.prefix) is not None

    def _own_tables(self, release):
        for place in reversed(release.places):
            if self._has_tables(place):
                return place
        raise FileNotFoundError(
            f"no `{self.prefix}_annot.tsv` (or `{self.prefix}_<date>_annot.tsv`) in `{release.path}`, which "
            f"`structures` needs beside it, with the table of cutoffs and the lists of the splits; they are published "
            f"at {SOURCE}")

    def _select(self, found, stays, tables, own):
        """Set structures, labels and splits to what can be used, and ``drops`` to what cannot."""
        kept = self._keep(found, stays, tables)
        self.drops += [(chain, reason) for chain, reason in found.missing() if stays.get(chain, True)]
        # one's own pile may hold any number of structures that have nothing to do with the tables
        self.drops += found.repeated if own else found.repeated + found.unlabelled
        self.num_unlabelled = len(found.unlabelled)
        if own and found.unlabelled:
            logger.info("%d structures of `%s` are not among the chains of `%s`", len(found.unlabelled),
                        found.store.path, self.annotation.path)
        if not any(kept.values()):
            why = self.drops[0][1] if self.drops else "test_cutoff keeps none of them"
            raise ValueError(
                f"none of the {len(self.annotation.rows)} chains of `{self.annotation.path}` can be used from the "
                f"store `{found.store.path}`, the first because: {why}. A file is found by a name such as `1ABC-A`, "
                f"`1abc_A` or `pdb1abc`; the first structure is called `{found.store.name(0)}`")

        numbers = [number for split in SPLITS for number in kept[split]]
        self.structures = StoredStructures(found.store, np.array(numbers, dtype=np.int64))
        ends = np.cumsum([0] + [len(kept[split]) for split in SPLITS]).tolist()
        self._splits = {split: range(ends[i], ends[i + 1]) for i, split in enumerate(SPLITS)}
        chains = {number: chain for chain, number in found.numbers.items()}
        self.chains = [chains[number] for number in numbers]
        # TorchDrug's datasets of functions have their names here, from which `tasks` is made
        self.targets = {function: i for i, function in enumerate(self.annotation.functions)}
        self.descriptions = self.annotation.descriptions

    def _keep(self, found, stays, tables):
        """Numbers of the structures of each split that have labels and stay at the cutoff."""
        kept = {split: [] for split in SPLITS}
        for chain, number in found.numbers.items():
            split = found.splits.get(chain)
            if split is None:
                self.drops.append((chain, "no list names it, and its file is in no folder " + quoted(SPLITS)))
            elif stays.get(chain, True):
                kept[split].append(number)
            elif split != "test":
                self.drops.append((chain, f"it is in split `{split}`, but `{tables.cutoffs}` has it among those for "
                                          f"testing and leaves it out at this cutoff"))
        unknown = [chain for chain in found.numbers if found.splits.get(chain) == "test" and chain not in stays]
        if unknown:
            logger.warning("`%s` has no row for %d test chains, which stay at every cutoff, the first: %s",
                           tables.cutoffs, len(unknown), quoted(unknown, 5))
        return kept

    @property
    def num_samples(self):
        """Number of items for training, validation and testing."""
        return [len(indices) for indices in self._splits.values()]

    def labels(self, index):
        targets = torch.zeros(len(self.annotation.functions))
        targets[torch.from_numpy(self.annotation.of(self.chains[index]).astype(np.int64))] = 1
        return {"targets": targets}

    def __repr__(self):
        store = self.structures.store
        lines = [f"#sample: {len(self)} of {len(self.annotation.rows)} chains",
                 "split: " + ", ".join(f"{split} {len(indices)}" for split, indices in self._splits.items())
                 + f" (test_cutoff {self.test_cutoff})",
                 f"#task: {len(self.targets)}",
                 f"without any label: {sum(not len(self.annotation.of(chain)) for chain in self.chains)}",
                 f"left out: {len(self.drops)}"]
        residues = store.manifest.counts["residues_left_out"]
        if residues:
            lines.append("residues left out in the store: "
                         + ", ".join(f"{number} x {reason}" for reason, number in residues.items()))
        return "{}(\n  {}\n)".format(type(self).__name__, "\n  ".join(lines))


class _Found:
    """Which structure of a store is which chain of the tables."""

    def __init__(self, store: StructureStore, annotation: Annotation, lists: dict[str, str]):
        self.store, self.annotation, self.lists = store, annotation, lists
        self.names = ChainNames(dict.fromkeys([*annotation.rows, *lists]))
        sources = list(store.sources)
        chains = self.names.of_structures(list(store.names), sources)
        #: number of the structure of each chain, in the order of the items
        self.numbers, self.splits = {}, dict(lists)
        self.repeated, self.unlabelled = [], []
        order = range(len(chains))
        if lists:
            # as the release would have it, where a file is called `1ABC-A_.pdb`
            order = sorted(order, key=lambda number: (f"{chains[number]}_", number))
        for number in order:
            chain, source = chains[number], sources[number]
            if chain is None or chain not in annotation.rows:
                self.unlabelled.append((source, f"no label: `{annotation.path}` has no such chain"))
            elif chain in self.numbers:
                first = sources[self.numbers[chain]]
                self.repeated.append((source, f"another structure of `{chain}`; that of `{first}` is taken"))
            else:
                self.numbers[chain] = number
                if not lists and (split := split_of(source)):
                    self.splits[chain] = split

    def missing(self) -> list[tuple[str, str]]:
        """Chains that the tables name but that are no item, with reasons."""
        unread = {}
        missing = []
        for file, reason in self.store.lost():
            chains = list(self.names.of_file(split_ending(file)[0]))
            for chain in chains:
                unread.setdefault(chain, f"{file}: {reason}")
            if not set(chains) & set(self.annotation.rows):
                missing.append((file, reason))
        for chain in self.annotation.rows:
            if chain in self.numbers:
                continue
            if self.lists and chain not in self.lists:
                missing.append((chain, f"`{self.annotation.path}` has labels for it, but no list names it"))
            else:
                missing.append((chain, unread.get(chain, f"there is no structure of it in `{self.store.path}`")))
        missing += [(chain, f"the list of {split} names it, but `{self.annotation.path}` has no labels for it")
                    for chain, split in self.lists.items() if chain not in self.annotation.rows]
        return missing
