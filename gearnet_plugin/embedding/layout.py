"""
The files that embeddings are written to, each whole or not at all, from arrays that need not be in memory.

Let there be :math:`B` proteins of :math:`N` residues in all and vectors of :math:`D` numbers. Proteins keep the order
of the input, and the rows of protein ``i`` are ``offsets[i]:offsets[i + 1]``.

``.npz`` (read by ``numpy.load`` and :meth:`Embeddings.load`, no pickled objects) and ``.h5`` (a data set each) hold

====================  ===============  ==========================================================================
``names``             text [B]         ``<file>_<chain>``, unique
``sources``           text [B]         file
``chains``            text [B]         author's chain id; of ``per="entry"`` all of them, separated by ``;``
``lengths``           int64 [B]        number of residues
``protein``           float32 [B, D]   level ``protein`` and ``both``
``residue``           float32 [N, D]   this and what follows: level ``residue`` and ``both``
``offsets``           int64 [B + 1]    where the rows of each protein begin
``chain_id``          text [N]         author's chain id, as PyMOL shows it
``residue_number``    int32 [N]        author's residue number
``insertion_code``    text [N]         ``""`` for none
``residue_name``      text [N]         as in the file (MSE stays MSE)
``drops``             text [drops, 2]  file and reason of what was left out
``info``              text             JSON: the encoder, the options, and residues that files had to leave out
====================  ===============  ==========================================================================

``.pt`` (``torch.load(file, weights_only=True)``) holds a dict of the same names: numbers as tensors, ``names``,
``sources``, ``chains`` and ``drops`` as lists, ``info`` as a dict. ``chain_id``, ``insertion_code`` and
``residue_name`` are int32 tensors with places in the lists ``chain_id_values``, ..., because a Python string a residue
would not fit into memory.

``.parquet`` has a row a protein (``name, source, chain, length, embedding``) or a row a residue (``name, source,
chain_id, residue_number, insertion_code, residue_name, embedding``); ``embedding`` is a list of D floats, and ``info``
is in the metadata of the file, under ``gearnet_plugin``. With level ``both`` the residues are in a second file,
``<name>.residues.parquet``.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass, field

import numpy as np

#: Endings of files that embeddings are written to.
ENDINGS = (".npz", ".h5", ".parquet", ".pt")
#: What names a residue, as PyMOL shows it, with the field of a Structure that holds it.
RESIDUE_KEYS = {
    "chain_id": "chain_ids",
    "residue_number": "residue_numbers",
    "insertion_code": "insertion_codes",
    "residue_name": "residue_names",
}
#: Bytes of embeddings that are in memory at once while a file is written.
STEP = 1 << 23


@dataclass(frozen=True)
class Texts:
    """A text for each residue: the few different ones, and their places."""

    values: list[str]
    codes: np.ndarray

    @classmethod
    def of(cls, texts) -> Texts:
        """The same of an array of texts."""
        values, codes = np.unique(np.asarray(texts, dtype=np.str_), return_inverse=True)
        return cls(values.tolist(), codes.astype(np.int32))

    @property
    def dtype(self) -> np.dtype:
        """numpy's fixed-width text that takes all of them."""
        return text_dtype(self.values)

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows) -> np.ndarray:
        return np.array(self.values, dtype=self.dtype)[self.codes[rows]]


@dataclass(frozen=True)
class Words:
    """A text for each protein, made an array only piece by piece: there each takes as much as the longest."""

    values: list[str]

    @property
    def dtype(self) -> np.dtype:
        """numpy's fixed-width text that takes all of them."""
        return text_dtype(self.values)

    def __getitem__(self, rows) -> np.ndarray:
        return np.array(self.values[rows], dtype=self.dtype)


def text_dtype(texts: list[str]) -> np.dtype:
    """numpy's fixed-width text that takes all of some texts."""
    return np.dtype(f"<U{max(map(len, texts), default=1) or 1}")


@dataclass
class Table:
    """
    What is written: the columns of the module's docstring, in memory or mapped.

    Parameters:
        names, sources, chains (list of str): of each protein
        lengths (np.ndarray): number of residues of each
        protein (np.ndarray, optional): float32 of shape :math:`(B, D)`
        residue (np.ndarray, optional): float32 of shape :math:`(N, D)`
        keys (dict, optional): ``residue_number`` as int32 of shape :math:`(N,)`, the other ones as :class:`Texts`
        drops (list of (str, str)): file and reason
        info (dict): encoder and options
    """

    names: list[str]
    sources: list[str]
    chains: list[str]
    lengths: np.ndarray
    protein: np.ndarray | None = None
    residue: np.ndarray | None = None
    keys: dict[str, Texts | np.ndarray] = field(default_factory=dict)
    drops: list[tuple[str, str]] = field(default_factory=list)
    info: dict = field(default_factory=dict)

    @property
    def offsets(self) -> np.ndarray:
        """Where the rows of each protein begin, int64 of shape :math:`(B + 1,)`."""
        return np.concatenate([[0], np.cumsum(self.lengths, dtype=np.int64)]).astype(np.int64)

    @property
    def size(self) -> int:
        """About how many bytes a file of it takes."""
        return sum(array.nbytes for array in (self.protein, self.residue) if array is not None)


def check_ending(path: str | os.PathLike) -> str:
    """
    The ending of a file for embeddings.

    Raises:
        ValueError: embeddings are not written to such files, or what writes them is not installed
    """
    ending = os.path.splitext(os.fspath(path))[1].lower()
    if ending not in ENDINGS:
        raise ValueError(
            f"embeddings are saved in a file ending in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}, but found "
            f"`{os.fspath(path)}`"
        )
    if ending == ".h5" and importlib.util.find_spec("h5py") is None:
        raise ValueError('a file ending in .h5 needs the package h5py: pip install "gearnet-plugin[formats]"')
    return ending


def files_of(path: str, level: str) -> list[str]:
    """The files that embeddings of a level become; several only for Parquet of both levels."""
    stem, ending = os.path.splitext(path)
    return [path, f"{stem}.residues{ending}"] if ending.lower() == ".parquet" and level == "both" else [path]


def write_table(path: str, table: Table) -> list[str]:
    """
    Write embeddings in the format that the ending of the file names.

    Returns:
        list of str: the files

    Raises:
        ValueError: as :func:`check_ending`
    """
    from . import formats

    writers = {
        ".npz": formats.write_npz,
        ".h5": formats.write_h5,
        ".pt": formats.write_pt,
        ".parquet": formats.write_parquet,
    }
    level = "both" if table.protein is not None and table.residue is not None else "one"
    files = files_of(path, level)
    writers[check_ending(path)](files, table)
    return files
