"""What an encoder made of structures: vectors, what each belongs to, and what was left out."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field

import numpy as np

from gearnet_plugin.engine.checkpoint import whole_file

# B proteins, N residues of all of them, D width of the encoder

#: What names a residue, as PyMOL shows it, with the field of a Structure that holds it.
RESIDUE_KEYS = {
    "chain_id": "chain_ids",
    "residue_number": "residue_numbers",
    "insertion_code": "insertion_codes",
    "residue_name": "residue_names",
}


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
    """

    names: list[str]
    sources: list[str]
    lengths: np.ndarray
    protein: np.ndarray | None = None
    residue: list[np.ndarray] | None = None
    keys: list[dict[str, np.ndarray]] | None = None
    drops: list[tuple[str, str]] = field(default_factory=list)
    info: dict = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    def save(self, path: str | os.PathLike) -> str:
        """
        Write an ``.npz`` file without pickled objects, whole or not at all; :meth:`load` reads it.

        It holds ``names``, ``sources``, ``lengths``, ``drops`` (file, reason), ``info`` (JSON), and as far as
        there are any ``protein`` :math:`(B, D)`, ``residue`` :math:`(N, D)` with one array a key, all
        proteins after each other. Protein ``i`` has the rows ``offsets[i]:offsets[i + 1]``.

        Parameters:
            path (str or Path): file ending in ``.npz``

        Returns:
            str: the path
        """
        path = os.path.abspath(os.path.expanduser(os.fspath(path)))
        if not path.lower().endswith(".npz"):
            raise ValueError(f"embeddings are saved in a file ending in .npz, but found `{path}`")
        if not os.path.isdir(os.path.dirname(path)):
            raise FileNotFoundError(
                f"there is no folder `{os.path.dirname(path)}` for `{os.path.basename(path)}`; make it first"
            )
        arrays = {
            "names": np.array(self.names, dtype=np.str_),
            "sources": np.array(self.sources, dtype=np.str_),
            "lengths": np.asarray(self.lengths, dtype=np.int64),
            "drops": np.array(self.drops, dtype=np.str_).reshape(-1, 2),
            "info": np.array(json.dumps(self.info)),
        }
        if self.protein is not None:
            arrays["protein"] = self.protein
        if self.residue is not None:
            arrays["residue"] = np.concatenate(self.residue)
            arrays["offsets"] = np.concatenate([[0], np.cumsum(arrays["lengths"])])
            arrays.update({key: np.concatenate([keys[key] for keys in self.keys]) for key in RESIDUE_KEYS})
        with whole_file(path) as file:
            np.savez(file, **arrays)
        return path

    @classmethod
    def load(cls, path: str | os.PathLike) -> Embeddings:
        """Read what :meth:`save` wrote."""
        with np.load(os.path.expanduser(os.fspath(path)), allow_pickle=False) as file:
            if not hasattr(file, "files") or not {"names", "sources", "lengths", "drops", "info"} <= set(
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
        )

    def to_table(self, level: str = "protein") -> dict[str, np.ndarray]:
        """
        Columns by name, as ``pandas.DataFrame`` and ``pyarrow.table`` take them; dimensions are ``e0``, ...

        Parameters:
            level (str, optional): a row for each ``protein`` or each ``residue``
        """
        values = self.protein if level == "protein" else self.residue if level == "residue" else None
        if values is None:
            raise ValueError(
                f"there are no embeddings of level `{level}`; a table is made of `protein` or `residue`, "
                f"if `embed` was asked for it"
            )
        columns = {
            "name": np.array(self.names),
            "source": np.array(self.sources),
            "length": np.asarray(self.lengths),
        }
        if level == "residue":
            columns = {name: np.repeat(column, self.lengths) for name, column in columns.items()}
            columns.update({key: np.concatenate([keys[key] for keys in self.keys]) for key in RESIDUE_KEYS})
            values = np.concatenate(values)
        columns.update({f"e{i}": values[:, i] for i in range(values.shape[1])})
        return columns
