"""Predicted structures of AlphaFold DB, and whatever else AlphaFold predicted."""
from __future__ import annotations

import logging
import os
from collections import Counter
from operator import itemgetter

import numpy as np

from gearnet_plugin.structures import StructureStore, split_ending
from gearnet_plugin.structures.archives import is_archive
from gearnet_plugin.structures.download import fetch
from gearnet_plugin.structures.prepare import Recipe
from torchdrug import core
from torchdrug.core import Registry as R

from .alphafold_species import TABLE, VERSION, find_species
from .base import StructureDataset
from .host import warn_without_meaning
from .joined import JoinedStructures
from .prepared import prepared_store
from .selection import Selection, check_lengths, nothing_left, told
from .sourced import source_store

logger = logging.getLogger(__name__)


@R.register("datasets.AlphaFoldStructures")
class AlphaFoldStructures(StructureDataset, core.Configurable):
    """
    Structures predicted by AlphaFold, without labels, for pretraining.

    An item is ``{"graph": ResidueProtein}``, one a file. Human proteins of more than 2,700 residues lie in AlphaFold DB
    as overlapping fragments, F1, F2, ...; each is an item of its own.

    What is read is chosen in one of three ways:

    - ``species_id`` and ``split_id``, as ``datasets.AlphaFoldDB`` of TorchDrug, and with its defaults, the first split
      of the first species. A split is 22,000 files in the order of their names. It holds the same proteins as
      TorchDrug's, and those that RDKit cannot read. TorchDrug knows 20 splits of Swiss-Prot; here it has as many as
      its files fill.
    - ``species``, one or several by name, or ``all`` as one dataset. A protein that two archives hold, its proteome
      and Swiss-Prot for instance, counts once.
    - ``source``, one's own files.

    The archive of a species is downloaded into ``path`` (up to 30 GB; one that is there is taken), read where it is,
    and made into the store ``<path>/AlphaFoldStructures.<archive>.store``. The archive is then no longer needed.
    The store of ``source`` is ``<path>/AlphaFoldStructures.store``. Filters select from a store; they never change it.

    Archives hold a structure as PDB and mmCIF file, of which the PDB file is read. Their addresses are
    ``https://ftp.ebi.ac.uk/pub/databases/alphafold/v<version>/``. Those of release 2 are checked by the checksums that
    TorchDrug has; of the other releases no checksums are known. Release 1 has the first 21 species, release 6 none of
    *Enterococcus faecium* and *Mycobacterium ulcerans*, as far as could be told from lists of its archives.

    See https://alphafold.ebi.ac.uk/download. The structures are under CC-BY-4.0.

    Parameters:
        path (str): folder of the dataset
        species_id (int, optional): number of a species, 0 to 20 for model organisms, 21 for Swiss-Prot, 22 to 48
            for organisms of global health
        split_id (int, optional): number of a split. By default 0 with ``species_id``, else all files.
        verbose (int, optional): 0 logs only warnings
        transform (Callable, optional): protein transformation function, applied to each item
        lazy, atom_feature, bond_feature, residue_feature, mol_feature, kekulize (optional): arguments of TorchDrug
            without meaning here
        species (int, str or list, optional): species by number or name, see
            :func:`~.alphafold_species.find_species`; ``all`` for all of the release with Swiss-Prot
        version (int, optional): release of AlphaFold DB, 1, 2, 3, 4 or 6; by default 2, which TorchDrug reads
        source (str, Path or list, optional): folder, files, tar archive, FoldComp database, or a store that
            ``gearnet prepare`` made
        min_confidence (float, optional): leave out structures with a lower mean pLDDT, from 0 to 100. A structure
            without pLDDT stays, and is told.
        min_length (int, optional): leave out what has fewer residues
        max_length (int, optional): leave out what has more residues
        unknown (str, optional): what an unknown residue counts as, see :meth:`ResidueProtein.from_arrays`
        num_worker (int, optional): number of processes that make a store; by default one a core
        strict (bool, optional): raise if a file could not be read
        download (bool, optional): False to use no network: what is missing is an error that says what to fetch

    Attributes:
        filtered (Counter): number of structures that filters left out, by reason
    """

    #: Number of splits of each species that TorchDrug knows.
    species_nsplit = [species.num_split for species in TABLE]
    split_length = 22000

    def __init__(self, path, species_id=None, split_id=None, verbose=1, transform=None, lazy=None, atom_feature=None,
                 bond_feature=None, residue_feature=None, mol_feature=None, kekulize=None, species=None, version=None,
                 source=None, min_confidence=None, min_length=None, max_length=None, unknown="glycine", num_worker=None,
                 strict=False, download=True):
        warn_without_meaning(self, lazy=lazy, atom_feature=atom_feature, bond_feature=bond_feature,
                             residue_feature=residue_feature, mol_feature=mol_feature, kekulize=kekulize)
        self.configure(transform, unknown)
        chosen = _choose(species_id, species, source, version)
        if split_id is None and species is None and source is None:
            split_id = 0
        _check(split_id, chosen, min_confidence)
        check_lengths(min_length, max_length)
        self.path = os.path.abspath(os.path.expanduser(path))

        if source is None:
            version = version or VERSION
            stores = [_species_store(self.path, one, version, num_worker, verbose, download) for one in chosen]
        else:
            stores = [source_store(self.path, type(self).__name__, source, Recipe(per="entry"), num_worker, verbose)]
        self.filtered, parts, seen = Counter(), [], []
        for store in stores:
            numbers, lost = None, store.lost()
            if split_id is not None:
                numbers, lost = _split(store, lost, split_id, self.split_length)
            selection = Selection(store, numbers)
            if len(stores) > 1:
                _leave_out_repeats(selection, seen)
            _leave_out_by_confidence(selection, min_confidence)
            selection.leave_out_by_length(min_length, max_length)
            parts.append(selection.structures())
            self.filtered.update(selection.filtered)
            self.drops += lost
        self.structures = parts[0] if len(parts) == 1 else JoinedStructures(parts)
        if not len(self):
            raise nothing_left(self.filtered, ", ".join(f"`{store.path}`" for store in stores))
        self.report(strict, verbose)

    def split(self):
        """
        Always an error: structures without labels have no splits for training and test.

        Raises:
            ValueError: says what to do instead
        """
        raise ValueError("AlphaFold structures are for pretraining and have no splits for training and test; divide "
                         "them by torch.utils.data.random_split. A part of a species as TorchDrug cuts it is had by "
                         "split_id.")

    def __repr__(self):
        lines = [f"#sample: {len(self)} of {self.structures.num_file} files", f"left out: {len(self.drops)}"]
        if self.filtered:
            lines.append(f"left out by filters: {told(self.filtered)}")
        return "{}(\n  {}\n)".format(type(self).__name__, "\n  ".join(lines))


# === what is asked for ===


def _choose(species_id, species, source, version):
    """The species asked for, None for a source."""
    given = [name for name, value in (("species_id", species_id), ("species", species), ("source", source))
             if value is not None]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(f'`{name}`' for name in given)} each say what to read; give one of them")
    if source is not None:
        if version is not None:
            raise ValueError(f"version {version!r} is of archives to download, but source gives the files; leave it "
                             f"out")
        return None
    if species_id is not None and (isinstance(species_id, bool) or not isinstance(species_id, int)):
        raise ValueError(f"species_id should be a number from 0 to {len(TABLE) - 1}, but found {species_id!r}; give "
                         f"names by species")
    chosen = find_species((species_id or 0) if species is None else species, VERSION if version is None else version)
    if isinstance(species, (list, tuple)) and len(chosen) < len(species):
        logger.warning("%d of the species are named twice and count once", len(species) - len(chosen))
    return chosen


def _check(split_id, chosen, min_confidence):
    """Complain before a download about what cannot be."""
    if split_id is not None:
        if isinstance(split_id, bool) or not isinstance(split_id, int) or split_id < 0:
            raise ValueError(f"split_id should be a number from 0 on, but found {split_id!r}")
        if chosen is not None and len(chosen) > 1:
            raise ValueError(f"split_id {split_id} is a part of one species, but {len(chosen)} are given; leave it out")
    if min_confidence is not None and (isinstance(min_confidence, str) or not 0 <= min_confidence <= 100):
        raise ValueError(f"min_confidence is a mean pLDDT from 0 to 100, but found {min_confidence!r}")


# === stores ===


def _species_store(path, species, version, num_worker, verbose, download) -> StructureStore:
    archive = species.archive(version)

    def sources():
        return [fetch(species.urls(version), os.path.join(path, f"{archive}.tar"),
                      md5=species.md5 if version == VERSION else None, verbose=verbose, download=download)]

    return prepared_store(path, f"{AlphaFoldStructures.__name__}.{archive}", sources, Recipe(per="entry"), num_worker,
                          verbose)


# === which of its structures ===


def _split(store, lost, split_id, length) -> tuple[np.ndarray, list[tuple[str, str]]]:
    """
    The structures of a split, and what of its files could not be read: without these, splits would not begin where
    TorchDrug's do.
    """
    # TorchDrug sorts the names of these files
    files = [(f"{name}.pdb.gz", number) for number, name in enumerate(store.names)]
    # an archive that is cut off is none of its files
    files += [(f"{split_ending(drop[0])[0]}.pdb.gz", drop) for drop in lost if not is_archive(drop[0])]
    files.sort(key=itemgetter(0))
    num_split = -(-len(files) // length)
    if split_id >= num_split:
        raise ValueError(f"split_id {split_id} is beyond the end: the {len(files)} files of `{store.path}` are "
                         f"{num_split} split{'s' * (num_split > 1)} of up to {length}, numbered from 0")
    found = [what for _, what in files[split_id * length:(split_id + 1) * length]]
    drops = [what for what in found if isinstance(what, tuple)] + [drop for drop in lost if is_archive(drop[0])]
    return np.array([what for what in found if not isinstance(what, tuple)], dtype=np.int64), drops


def _leave_out_repeats(selection, seen) -> None:
    """
    Leave out what an earlier store has under the same name, which is that of accession, fragment and release.

    Names are compared by their 64-bit hashes, which the index of a store holds: two different ones among a million are
    taken for one with a chance of 1 in 10 million.
    """
    store = selection.store
    hashes, numbers = store.name_index
    repeated = np.zeros(len(store), dtype=bool)
    if seen:
        repeated[numbers[np.isin(hashes, np.concatenate(seen))]] = True
    selection.leave_out(repeated, "in the archive of an earlier species too")
    seen.append(hashes)


def _leave_out_by_confidence(selection, min_confidence) -> None:
    if min_confidence is None:
        return
    predicted = selection.store.column("confidence_kind") == "plddt"
    low = predicted & (selection.store.column("mean_confidence") < min_confidence)
    selection.leave_out(low, f"with a mean pLDDT below {min_confidence:g}")
    unknown = int((~predicted[selection.numbers]).sum())
    if unknown:
        logger.warning("%d structures of `%s` have no pLDDT and stay, whatever min_confidence is: neither header nor "
                       "name tells that AlphaFold made them", unknown, selection.store.path)
