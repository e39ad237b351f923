"""
Where the files of a released set of labelled structures lie: a zip archive, downloaded or put there, or a folder that
was unpacked from it.

The archive ``<name>.zip`` holds the folder ``<name>`` with tables and ``train.zip``, ``valid.zip``, ``test.zip``, each
with a folder of that name full of structures. What has to be unpacked goes to ``<path>/<name>.files``, which may be
removed once the store is made, but for the tables.
"""
from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass

from gearnet_plugin.structures.download import fetch
from gearnet_plugin.structures.extract import extract

from .deepfri import SPLITS
from .labels import quoted


@dataclass(frozen=True)
class Release:
    """
    Parameters:
        name (str): name of the archive and of the folder in it
        url (str): where the archive is
        md5 (str, optional): its MD5; ``None`` takes any
        path (str): folder where it is or shall be
    """

    name: str
    url: str
    md5: str | None
    path: str

    @property
    def archive(self) -> str:
        """The zip archive."""
        return os.path.join(self.path, f"{self.name}.zip")

    @property
    def places(self) -> list[str]:
        """Folders that may be the released one."""
        return [os.path.join(self._scratch("archive"), self.name), os.path.join(self.path, self.name), self.path]

    def find(self, has_tables: Callable[[str], bool], prepared: bool, download: bool = True, verbose: int = 1) -> str:
        """
        The folder with the tables, and with the structures unless they are in a store already.

        Parameters:
            has_tables (Callable): whether a folder has the tables
            prepared (bool): whether there is a store, so that structures are not needed
            download (bool, optional): whether to download the archive if it is not there
            verbose (int, optional): 0 for no progress bars

        Raises:
            FileNotFoundError: there is no such folder, and the archive was not to be had
            ValueError: the archive is another one
        """
        with_tables = [place for place in self.places if has_tables(place)]
        for place in with_tables:
            if prepared or not missing_splits(place):
                return place
        if with_tables and not os.path.exists(self.archive):
            raise FileNotFoundError(
                f"`{with_tables[0]}` has the tables, but neither folder nor zip archive of the structures "
                f"{quoted(missing_splits(with_tables[0]))}; add them, or name your own structure files by "
                f"`structures`, or give an empty path, and the release is downloaded")
        archive = fetch(self.url, self.archive, md5=self.md5, verbose=verbose, download=download)
        folder = extract(archive, self._scratch("archive"), verbose=verbose)
        place = os.path.join(folder, self.name)
        if not has_tables(place) or missing_splits(place):
            raise ValueError(f"`{self.archive}` should have a folder `{self.name}` with an annotation and "
                             f"{', '.join(f'{split}.zip' for split in SPLITS)}, but it has not; move it away, and the "
                             f"release is downloaded")
        return place

    def split_folders(self, place: str, verbose: int = 1) -> list[str]:
        """
        The folders of the structures, unpacked where they are not yet.

        Parameters:
            place (str): folder of the release
            verbose (int, optional): 0 for no progress bars
        """
        folders = []
        for split in SPLITS:
            folder, archive = os.path.join(place, split), os.path.join(place, f"{split}.zip")
            if os.path.isfile(archive) and not _is_unpacked(archive, place):
                folder = os.fspath(extract(archive, self._scratch(split), verbose=verbose))
            folders.append(folder)
        return folders

    def _scratch(self, name: str) -> str:
        return os.path.join(self.path, f"{self.name}.files", name)


def missing_splits(place: str | os.PathLike) -> list[str]:
    """Splits of which a folder has neither structures nor an archive."""
    paths = {split: os.path.join(place, split) for split in SPLITS}
    return [split for split, path in paths.items() if not os.path.isdir(path) and not os.path.isfile(f"{path}.zip")]


def split_of(source: str) -> str:
    """The split of a structure by the folder of its file, ``""`` if it is in none."""
    # a folder further up may be called `test` by chance
    folder = os.path.basename(os.path.dirname(source))
    return folder if folder in SPLITS else ""


def _is_unpacked(archive: str, folder: str) -> bool:
    """Whether all files of an archive are in a folder: TorchDrug, killed while unpacking, leaves some of them."""
    try:
        with zipfile.ZipFile(archive) as opened:
            return all(os.path.getsize(os.path.join(folder, info.filename)) == info.file_size
                       for info in opened.infolist() if not info.is_dir())
    except (OSError, zipfile.BadZipFile):
        return False
