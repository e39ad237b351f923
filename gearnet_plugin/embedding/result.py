"""What an encoder made of structures: vectors, what each belongs to, and what was left out."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import dataclass, field

import numpy as np

from .layout import RESIDUE_KEYS, Table, Texts, check_ending, write_table

# B proteins, N residues of all of them, D width of the encoder

@dataclass
class Embeddings:
    """
    Embeddings of proteins and, if asked for, of their residues.

    Parameters:
        names (list of str): name of each protein, ``<file>_<chain>``
        sources (list of str): file of each protein, ``""`` for a Structure that came from none
        lengths (np.ndarray): number of residues of each protein
        protein (np.ndarray, optional): float32 of shape :math:`(B, D)`
        residue (list of np.ndarray, optional): float32 of shape :math:`(length, D)` for each protein
        keys (list of dict, optional): for each protein ``chain_id``, ``residue_number``, ``insertion_code``
            and ``residue_name`` of the rows of ``residue``, arrays of shape :math:`(length,)`
        drops (list of (str, str), optional): files that gave nothing, and the reason
        info (dict, optional): which encoder made them
        chains (list of str, optional): author's id of each protein's chain, of several separated by ``;``
    """

    names: list[str]
    sources: list[str]
    lengths: np.ndarray
    protein: np.ndarray | None = None
    residue: list[np.ndarray] | None = None
    keys: list[dict[str, np.ndarray]] | None = None
    drops: list[tuple[str, str]] = field(default_factory=list)
    info: dict = field(default_factory=dict)
    chains: list[str] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def save(self, path: str | os.PathLike) -> str:
        """
        Write an ``.npz``, ``.h5``, ``.parquet`` or ``.pt`` file without pickled objects, whole or not at all; the
        layouts are in :mod:`.layout`. :meth:`load` reads ``.npz``.

        Parameters:
            path (str or Path): file

        Returns:
            str: the path
        """
        path = os.path.abspath(os.path.expanduser(os.fspath(path)))
        check_ending(path)
        if not os.path.isdir(os.path.dirname(path)):
            raise FileNotFoundError(
                f"there is no folder `{os.path.dirname(path)}` for `{os.path.basename(path)}`; make it first"
            )
        chains = [""] * len(self) if self.chains is None else self.chains
        table = Table(self.names, self.sources, chains, self.lengths, self.protein, drops=self.drops, info=self.info)
        if self.residue is not None and self.keys is not None:
            table.residue = np.concatenate(self.residue)
            columns = {key: np.concatenate([keys[key] for keys in self.keys]) for key in RESIDUE_KEYS}
            table.keys = {k: v if k == "residue_number" else Texts.of(v) for k, v in columns.items()}
        write_table(path, table)
        return path

    @classmethod
    def load(cls, path: str | os.PathLike) -> Embeddings:
        """Read what :meth:`save` wrote."""
        path = os.path.expanduser(os.fspath(path))
        # of anything else, numpy advises to unpickle it
        if os.path.isfile(path) and not zipfile.is_zipfile(path):
            raise ValueError(f"`{path}` is no .npz file, or is cut off")
        with np.load(path, allow_pickle=False) as file:
            if not hasattr(file, "files") or not {"names", "sources", "chains", "lengths", "drops", "info"} <= set(
                file.files
            ):
                raise ValueError(f"`{path}` holds no embeddings written by this package")
            arrays = {name: file[name] for name in file.files}
        residue = keys = None
        if "residue" in arrays:
            cuts = arrays["offsets"][1:-1]
            residue = np.split(arrays["residue"], cuts)
            columns = {key: np.split(arrays[key], cuts) for key in RESIDUE_KEYS}
            keys = [dict(zip(columns, values)) for values in zip(*columns.values())]
        return cls(
            arrays["names"].tolist(),
            arrays["sources"].tolist(),
            arrays["lengths"],
            arrays.get("protein"),
            residue,
            keys,
            [tuple(drop) for drop in arrays["drops"].tolist()],
            json.loads(str(arrays["info"])),
            arrays["chains"].tolist(),
        )

    def to_table(self, level: str = "protein") -> dict[str, np.ndarray]:
        """
        Columns by name, as ``pandas.DataFrame`` and ``pyarrow.table`` take them; dimensions are ``e0``, ...

        Parameters:
            level (str, optional): a row for each ``protein`` or each ``residue``
        """
        columns = {
            "name": np.array(self.names),
            "source": np.array(self.sources),
            "length": np.asarray(self.lengths),
        }
        if level == "protein" and self.protein is not None:
            values = self.protein
        elif level == "residue" and self.residue is not None and self.keys is not None:
            columns = {name: np.repeat(column, self.lengths) for name, column in columns.items()}
            columns.update({key: np.concatenate([keys[key] for keys in self.keys]) for key in RESIDUE_KEYS})
            values = np.concatenate(self.residue)
        else:
            raise ValueError(
                f"there are no embeddings of level `{level}`; a table is made of `protein` or `residue`, "
                f"if `embed` was asked for it"
            )
        columns.update({f"e{i}": values[:, i] for i in range(values.shape[1])})
        return columns
