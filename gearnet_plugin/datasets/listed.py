"""Structures that lists give a class and a split each, found in a store by the usual spellings of their names."""
from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from gearnet_plugin.structures import StructureStore, split_ending

from .base import StructureDataset
from .ieconv import Lists
from .stored import StoredStructures

# 1abc_A, 1ABC-A, 1abc.A, 1abcA, pdb1abc_A; the id of a chain is case-sensitive, that of an entry is not
CHAIN = re.compile(r"(?:pdb)?(\d[a-z0-9]{3})[._:-]?([A-Za-z0-9]+)", re.IGNORECASE | re.ASCII)


class Reading(NamedTuple):
    """
    A member that the name of a structure may stand for.

    Parameters:
        key (str): the member, as the lists' names are compared
        rank (int): how far-fetched that is; of several structures, those of the lowest rank count
        form (str): what the name says; structures of one form are taken for copies, of others for different ones
    """

    key: str
    rank: int
    form: str


class ListedStructures(StructureDataset):
    """
    A data set whose classes and splits come from lists. A subclass calls :meth:`fill`.

    Attributes:
        classes (dict): names of the classes by number, for the one target
        kinds (dict): ``class``, for the one target
        coverage (dict): for each split the numbers of structures that are used and that the lists name
        left_out (dict): numbers of ``drops`` by what they are: rows of the lists, structures that the lists name and
            that are not there, and structures that no list names or that are there twice
    """

    #: key of the class in an item
    target = "label"
    #: names of the splits that the lists make
    splits = ()
    #: number of classes in the published lists
    num_class = 0

    @classmethod
    def label_counts(cls, config):
        """
        Return how many classes the published lists have, known without them.

        Parameters:
            config (dict): arguments in a configuration

        Returns:
            dict: ``{target: number}``
        """
        return {cls.target: cls.num_class}

    def fill(self, store: StructureStore, lists: Lists, readings: Callable[[str, bool], list[Reading]]) -> None:
        """
        Take the structures of a store that the lists name, in the order of the lists.

        Parameters:
            store (StructureStore): structures
            lists (Lists): classes, and the structures with their classes and splits
            readings (Callable): of the name of a structure, what it may stand for; and whether the store holds
                single chains, so that names may end with that of the chain

        Raises:
            ValueError: no structure is in the lists
        """
        per_chain = store.manifest.recipe["per"] == "chain"
        names = list(store.names)
        found, unused = match([member.key for member in lists.members], names, lambda name: readings(name, per_chain))
        members = [member for member in lists.members if isinstance(found.get(member.key), int)]
        if not members:
            raise ValueError(f"none of {len(lists.members)} structures in the lists is in the store `{store.path}`: "
                             f"it has {len(names)}, such as `{names[0]}`, where names such as "
                             f"`{lists.members[0].name}` are expected")
        missing = _missing(lists.members, found, store, readings)
        self.drops = lists.faults + missing + unused
        self.left_out = {"rows": len(lists.faults), "listed without structure": len(missing),
                         "structures without use": len(unused)}
        self.structures = StoredStructures(store, np.array([found[member.key] for member in members]))
        self.targets = {self.target: [member.label for member in members]}
        self.classes, self.kinds = {self.target: lists.classes}, {self.target: "class"}
        listed = Counter(member.split for member in lists.members)
        # a split of which nothing is left is an error when it is asked for, not a split less
        self._splits = {split: [] for split in dict.fromkeys([*self.splits, *listed])}
        for index, member in enumerate(members):
            self._splits[member.split].append(index)
        self.coverage = {split: (len(indices), listed[split]) for split, indices in self._splits.items()}

    @property
    def num_classes(self):
        """Number of classes of the target: those of the lists, whether or not the training set has them all."""
        return {name: len(classes) for name, classes in self.classes.items()}

    @property
    def num_samples(self):
        """Number of items of each split."""
        return [len(indices) for indices in self._splits.values()]

    def __repr__(self):
        lines = [f"#sample: {len(self)} of {self.structures.num_file} files",
                 "left out: " + ", ".join(f"{count} {what}" for what, count in self.left_out.items()),
                 "split: " + ", ".join(f"{name} {used} of {listed}" for name, (used, listed) in self.coverage.items())]
        lines += [f"target `{name}`: class x {count}" for name, count in self.num_classes.items()]
        return "{}(\n  {}\n)".format(type(self).__name__, "\n  ".join(lines))


def folder_of(path) -> str:
    """The folder of a data set as text; it need not exist yet."""
    path = os.path.expanduser(os.fspath(path))
    if os.path.isfile(path):
        raise ValueError(f"path should be the folder of the data set, but `{path}` is a file; give its folder")
    return path


def match(keys: Iterable[str], names: list[str],
          readings: Callable[[str], list[Reading]]) -> tuple[dict[str, int | str], list[tuple[str, str]]]:
    """
    Find members among the names of structures.

    Parameters:
        keys (iterable of str): members
        names (list of str): names of structures, by number
        readings (Callable): what a name may stand for

    Returns:
        for each member that is there, the number of its structure, or why none can be chosen; and what is not used:
        (name of the structure, reason)
    """
    wanted, groups, drops = set(keys), {}, []
    for number, name in enumerate(names):
        meant = [reading for reading in readings(name) if reading.key in wanted]
        if not meant:
            drops.append((name, "structure without a class: no list names it"))
        for reading in meant:
            groups.setdefault(reading.key, []).append((reading.rank, number, reading.form))
    found = {}
    for key, group in groups.items():
        best = min(rank for rank, _, _ in group)
        group = [(number, form) for rank, number, form in group if rank == best]
        if len({form for _, form in group}) > 1:
            several = ", ".join(f"`{names[number]}`" for number, _ in group[:5])
            found[key] = f"several structures may be meant: {several}"
        else:
            found[key] = group[0][0]
    used = {number for number in found.values() if isinstance(number, int)}
    reasons = {number: (key, found[key]) for key, group in groups.items() for _, number, _ in group
               if number not in used}
    drops += [(names[number], f"another structure of `{key}`: `{names[other]}` is taken" if isinstance(other, int)
               else f"for `{key}` {other}") for number, (key, other) in reasons.items()]
    return found, drops


def _missing(members, found, store, readings) -> list[tuple[str, str]]:
    """Members without a structure, and why."""
    unread = {reading.key: f"its file cannot be read: {reason}" for file, reason in store.lost()
              for reading in readings(split_ending(file)[0] or os.path.basename(file), False)}
    # lists without their folder, since there may be thousands of rows
    return [(member.name, f"{os.path.basename(member.path)}, row {member.row}: "
                          f"{found.get(member.key) or unread.get(member.key, 'there is no such structure')}")
            for member in members if not isinstance(found.get(member.key), int)]


def chain_of(name: str) -> tuple[str, str] | None:
    """PDB id, in lower case, and chain that a name spells, e.g. ``1ABC-A``; None if it does not."""
    found = CHAIN.fullmatch(name)
    return found and (found[1].lower(), found[2])
