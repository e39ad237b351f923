"""Experimental structures of the Protein Data Bank."""
from __future__ import annotations

import os

from gearnet_plugin.structures import StructureStore
from gearnet_plugin.structures.manifest import is_store
from gearnet_plugin.structures.prepare import PER, Recipe
from torchdrug import core
from torchdrug.core import Registry as R

from .base import StructureDataset
from .pdb_files import download_files, find_files, read_missing, write_missing
from .pdb_ids import read_ids
from .pdb_rows import find_asked, leave_out_by_chain, leave_out_by_method, leave_out_by_resolution, once_each
from .prepared import prepared_store
from .selection import Selection, check_lengths, nothing_left, told
from .sourced import absolute, is_below, source_store

#: Methods by short names: a part of the names in the files, old files having `NMR, 20 STRUCTURES` and the like.
ALIASES = {"xray": "X-RAY", "x-ray": "X-RAY", "nmr": "NMR", "em": "ELECTRON MICROSCOPY", "neutron": "NEUTRON",
           "predicted": "PREDICTED"}
#: Names of methods in the files of the archive.
METHODS = ("X-RAY DIFFRACTION", "ELECTRON MICROSCOPY", "SOLUTION NMR", "SOLID-STATE NMR", "NEUTRON DIFFRACTION",
           "ELECTRON CRYSTALLOGRAPHY", "FIBER DIFFRACTION", "POWDER DIFFRACTION", "SOLUTION SCATTERING", "EPR",
           "FLUORESCENCE TRANSFER", "INFRARED SPECTROSCOPY", "THEORETICAL MODEL")


@R.register("datasets.PDBStructures")
class PDBStructures(StructureDataset, core.Configurable):
    """
    Experimental structures, without labels, for pretraining.

    An item is ``{"graph": ResidueProtein}``, a protein chain or all protein chains of an entry: the deposited
    coordinates of the first model.

    What is read is one of:

    - ``source``: a local mirror of the archive, a folder or archive of mmCIF or PDB files, or a store.
    - ``source`` and ``ids``: of a mirror these entries or chains only. What is not in it is left out, and told.
    - ``ids``: these entries or chains, downloaded one by one as mmCIF from https://files.rcsb.org, or
      https://files.wwpdb.org where that fails, into ``<path>/mmCIF``; what is there is taken. For more than some
      thousands make a mirror by ``rsync`` (https://www.wwpdb.org/ftp/pdb-ftp-sites).
    - none of the two: the store that is at ``path`` already.

    The structures are kept in the store ``<path>/PDBStructures.store``. Filters and ``ids`` select from it; they never
    change it. Ids that it was not made for are an error. Those that were nowhere to be found then are listed in
    ``<path>/PDBStructures.not_found.tsv``; with the store removed they are looked for again.

    An entry that several files hold counts once, under the first of them in the order of their paths; the others are in
    ``drops``, and so are ids that a list repeats. Looked up by id, the mmCIF file of a mirror comes first.

    The archive is under CC0 1.0. See https://www.wwpdb.org.

    Parameters:
        path (str): folder of the dataset
        source (str, Path or list, optional): mirror, folder, files, archive, or a store that ``gearnet prepare`` made
        ids (str, Path or list, optional): ids such as ``1abc`` or ``1abc_A``, or a file of them, see
            :func:`~.pdb_ids.read_ids`
        per (str, optional): ``chain`` or ``entry``
        chains (str or list, optional): author's chain ids; other chains are left out. Needs ``per: chain``.
        max_resolution (float, optional): leave out structures of worse resolution, in Å
        without_resolution (str, optional): what becomes with ``max_resolution`` of structures whose files tell none,
            all of NMR among them: ``drop`` or ``keep``
        methods (str or list, optional): leave out structures by other methods. Names as in the files, in any case, such
            as ``ELECTRON MICROSCOPY``, or ``xray``, ``em``, ``nmr`` (in solution and solid state), ``neutron``,
            ``predicted``. A structure by several methods needs one of them, one whose file tells none is left out.
        min_length (int, optional): leave out what has fewer residues
        max_length (int, optional): leave out what has more residues
        unknown (str, optional): what an unknown residue counts as, see :meth:`ResidueProtein.from_arrays`
        transform (Callable, optional): protein transformation function, applied to each item
        num_worker (int, optional): number of processes that make the store; by default one a core
        strict (bool, optional): raise if a file could not be read, or an id not be found
        download (bool, optional): False to use no network: what is missing is an error that says what to fetch
        verbose (int, optional): 0 logs only warnings

    Attributes:
        filtered (Counter): number of structures that filters left out, by reason
    """

    def __init__(self, path, source=None, ids=None, per="chain", chains=None, max_resolution=None,
                 without_resolution="drop", methods=None, min_length=None, max_length=None, unknown="glycine",
                 transform=None, num_worker=None, strict=False, download=True, verbose=1):
        self.configure(transform, unknown)
        if per not in PER:
            raise ValueError(f"per should be {' or '.join(f'`{word}`' for word in PER)}, but found `{per}`")
        chains = [chains] if isinstance(chains, str) else chains
        methods = _known_methods(methods)
        _check_resolution(max_resolution, without_resolution)
        check_lengths(min_length, max_length)
        asked = None if ids is None else read_ids(ids)
        _check_chains(per, chains, asked)
        self.path = os.path.abspath(os.path.expanduser(path))

        store, missing = self._open(source, asked, per, num_worker, verbose, download)
        lost = store.lost()
        if asked is None:
            numbers, drops = once_each(store)
            self.drops = lost + drops
        else:
            numbers, self.drops = find_asked(store, asked, lost, missing)
        selection = Selection(store, numbers)
        if chains is not None:
            leave_out_by_chain(selection, chains)
        if methods is not None:
            leave_out_by_method(selection, methods)
        if max_resolution is not None:
            leave_out_by_resolution(selection, max_resolution, without_resolution)
        selection.leave_out_by_length(min_length, max_length)
        self.filtered, self.structures = selection.filtered, selection.structures()
        if not len(self):
            raise nothing_left(self.filtered, f"`{store.path}`")
        self.report(strict, verbose)

    def _open(self, source, asked, per, num_worker, verbose, download) -> tuple[StructureStore, dict[str, str] | None]:
        """The store, and why entries are missing from it; ``None`` if it is whole, whatever is asked for."""
        name, recipe = type(self).__name__, Recipe(per=per)
        own = os.path.join(self.path, f"{name}.store")
        if source is None and asked is None:
            if not is_store(own):
                raise ValueError(f"nothing to read: there is no store `{own}` yet; give source (a mirror, folder or "
                                 f"archive of structures), ids, or both")
            source = own
        if is_store(source):
            store = StructureStore(source)
            if store.manifest.recipe["per"] != per:
                raise ValueError(f"per is `{per}`, but the store `{store.path}` was made with "
                                 f"`{store.manifest.recipe['per']}`; give that, or make another store")
            return store, None
        if asked is None:
            return source_store(self.path, name, source, recipe, num_worker, verbose), None
        mirror = None if source is None else absolute(source)
        if mirror is not None and (len(mirror) > 1 or not os.path.isdir(mirror[0])):
            # an archive is read as a whole: its entries cannot be looked up
            return source_store(self.path, name, source, recipe, num_worker, verbose), None
        note = os.path.join(self.path, f"{name}.not_found.tsv")
        entries = list(dict.fromkeys(one.entry for one in asked))

        def sources():
            if mirror is None:
                files, missing = download_files(os.path.join(self.path, "mmCIF"), entries, verbose, download)
            else:
                files, missing = find_files(mirror[0], entries)
            if not files:
                entry, reason = next(iter(missing.items()))
                raise ValueError(f"none of {len(entries)} entries can be had, the first, {entry}: {reason}")
            write_missing(note, missing)
            return files

        store = prepared_store(self.path, name, sources, recipe, num_worker, verbose)
        made = store.manifest.sources["paths"]
        if mirror is not None and not all(is_below(file, mirror[0]) for file in made):
            raise ValueError(f"the store `{store.path}` was made of other files, such as `{made[0]}`, than those of "
                             f"the source `{mirror[0]}`; give another path, or remove the store, and it is made anew")
        return store, None if store.manifest.sources["paths"] == mirror else read_missing(note)

    def split(self):
        """
        Always an error: structures without labels have no splits.

        Raises:
            ValueError: says what to do instead
        """
        raise ValueError("PDB structures have no splits; divide them by torch.utils.data.random_split, or name them in "
                         "a table with a column `split` and use datasets.StructureFolder")

    def __repr__(self):
        lines = [f"#sample: {len(self)} of {self.structures.num_file} files", f"left out: {len(self.drops)}"]
        if self.filtered:
            lines.append(f"left out by filters: {told(self.filtered)}")
        return "{}(\n  {}\n)".format(type(self).__name__, "\n  ".join(lines))


# === arguments ===


def _known_methods(methods) -> list[str] | None:
    """Methods as parts of the names in the files, in upper case."""
    if methods is None:
        return None
    words = [methods] if isinstance(methods, str) else list(methods)
    for word in words:
        if not isinstance(word, str) or word.lower() not in ALIASES and word.upper() not in METHODS:
            raise ValueError(f"unknown method {word!r}; allowed are {', '.join(f'`{name}`' for name in ALIASES)} and "
                             f"the names in the files: {', '.join(METHODS)}")
    if not words:
        raise ValueError("methods is an empty list, which leaves nothing; leave it out for all of them")
    return [ALIASES.get(word.lower(), word.upper()) for word in words]


def _check_resolution(max_resolution, without_resolution):
    if without_resolution not in ("drop", "keep"):
        raise ValueError(f"without_resolution should be `drop` or `keep`, but found `{without_resolution}`")
    if max_resolution is not None and (isinstance(max_resolution, (str, bool)) or not max_resolution > 0):
        raise ValueError(f"max_resolution should be a positive number, in Å, but found {max_resolution!r}")


def _check_chains(per, chains, asked):
    if per == "chain":
        return
    if chains is not None:
        raise ValueError(f"chains {chains} picks chains, but per is `entry`, which keeps them together; set per to "
                         f"`chain`")
    named = next((one for one in asked or [] if one.chain), None)
    if named:
        raise ValueError(f"ids, row {named.row}: `{named}` names a chain, but per is `entry`; set per to `chain`, or "
                         f"name the entry, `{named.entry}`")
