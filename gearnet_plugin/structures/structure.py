"""One protein structure as plain numpy arrays: what every reader returns and every dataset starts from.

Positions are in Å. ``N`` is the number of residues.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

import numpy as np

from .residues import ONE_LETTER

#: Array fields of a Structure with their dtype; ``str`` stands for numpy's fixed-width text.
ARRAY_FIELDS = {
    "positions": np.float32,
    "residue_types": np.uint8,
    "chain_ids": np.str_,
    "label_chain_ids": np.str_,
    "residue_numbers": np.int32,
    "insertion_codes": np.str_,
    "residue_names": np.str_,
    "confidence": np.float32,
}
CONFIDENCE_KINDS = ("b_factor", "plddt")


@dataclass
class Structure:
    """
    The residues of one chain, or of all protein chains of a file's first model.

    Residues of a chain stand together, in the order of the file. The arrays say nothing about bonds: two
    neighbouring rows may lie on two sides of a gap in the chain (compare ``residue_numbers`` and positions).

    Parameters:
        name (str): name of the structure, e.g. ``1a8o`` or ``1a8o_A``
        positions (np.ndarray): Cα positions in Å, float32 of shape :math:`(N, 3)`
        residue_types (np.ndarray): residue types in TorchDrug's order, 0 to 19, and 20 for unknown,
            uint8 of shape :math:`(N,)`
        chain_ids (np.ndarray): author's chain ids, as PyMOL shows them, of shape :math:`(N,)`
        label_chain_ids (np.ndarray): mmCIF ``label_asym_id``, equal to ``chain_ids`` where the file has none,
            of shape :math:`(N,)`
        residue_numbers (np.ndarray): author's residue numbers, int32 of shape :math:`(N,)`
        insertion_codes (np.ndarray): insertion codes, ``''`` for none, of shape :math:`(N,)`
        residue_names (np.ndarray): residue names as in the file (MSE stays MSE), of shape :math:`(N,)`
        confidence (np.ndarray): B-factor in Å² or pLDDT from 0 to 100 of the Cα, float32 of shape
            :math:`(N,)`
        confidence_kind (str, optional): which of the two, ``b_factor`` or ``plddt``
        resolution (float, optional): resolution in Å, if the file gives one
        method (str, optional): experimental method as in the file, ``predicted`` for models, ``''`` if the
            file does not say
        source (str, optional): file that was read
        dropped (dict, optional): number of residues left out, by reason
        dropped_by_chain (dict, optional): the same for each author's chain id
    """

    name: str
    positions: np.ndarray
    residue_types: np.ndarray
    chain_ids: np.ndarray
    label_chain_ids: np.ndarray
    residue_numbers: np.ndarray
    insertion_codes: np.ndarray
    residue_names: np.ndarray
    confidence: np.ndarray
    confidence_kind: str = "b_factor"
    resolution: float | None = None
    method: str = ""
    source: str = ""
    dropped: dict[str, int] = field(default_factory=dict)
    dropped_by_chain: dict[str, dict[str, int]] = field(default_factory=dict, repr=False)

    def __post_init__(self):
        for key, dtype in ARRAY_FIELDS.items():
            array = np.asarray(getattr(self, key), dtype=dtype)
            shape = (len(self.residue_types), 3) if key == "positions" else (len(self.residue_types),)
            if array.shape != shape:
                raise ValueError(
                    f"structure {self.name!r}: `{key}` has shape {array.shape}, expected {shape}"
                )
            setattr(self, key, array)
        if self.confidence_kind not in CONFIDENCE_KINDS:
            raise ValueError(
                f"structure {self.name!r}: `confidence_kind` is {self.confidence_kind!r}, "
                f"allowed are {', '.join(CONFIDENCE_KINDS)}"
            )

    def __len__(self) -> int:
        return len(self.residue_types)

    def __eq__(self, other) -> bool:
        if not isinstance(other, Structure):
            return NotImplemented
        return all(
            np.array_equal(getattr(self, f.name), getattr(other, f.name))
            if f.name in ARRAY_FIELDS
            else getattr(self, f.name) == getattr(other, f.name)
            for f in fields(self)
        )

    @property
    def sequence(self) -> str:
        """One-letter sequence of the residues held (not SEQRES), ``X`` for unknown."""
        return "".join(ONE_LETTER[residue_type] for residue_type in self.residue_types)

    def select(self, index: np.ndarray, **changes) -> Structure:
        """
        A copy that keeps only some residues.

        Parameters:
            index (np.ndarray): mask or indices of the residues to keep
            changes: other fields to set, e.g. ``name``
        """
        return replace(self, **{key: getattr(self, key)[index] for key in ARRAY_FIELDS}, **changes)

    def chains(self) -> list[Structure]:
        """
        One structure per author's chain id, in the order of the file, named ``<name>_<chain>``.

        A chain without an id (PDB files may leave it blank) keeps the name of the whole.
        """
        order = dict.fromkeys(self.chain_ids.tolist())
        return [
            self.select(
                self.chain_ids == chain,
                name=f"{self.name}_{chain}" if chain else self.name,
                dropped=dict(self.dropped_by_chain.get(chain, {})),
                dropped_by_chain={k: dict(v) for k, v in self.dropped_by_chain.items() if k == chain},
            )
            for chain in order
        ]
