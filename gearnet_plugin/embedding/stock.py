"""TorchDrug's own proteins as structures: the residues with a Cα atom, whatever the view."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import torch

from gearnet_plugin.structures import RESIDUE_NAMES, UNKNOWN_TYPE, Structure
from torchdrug import data

logger = logging.getLogger(__name__)

ALPHA_CARBON = data.Protein.atom_name2id["CA"]
TYPES = len(data.Protein.residue2id)
UNKNOWN_NAME = "UNK"


@dataclass(frozen=True)
class StockProtein:
    """
    A ``data.Protein``, or one of a ``data.PackedProtein``, which is taken out only when it is its turn.

    Parameters:
        protein (data.Protein): protein or batch of proteins
        index (int, optional): which one of the batch
        name (str): TorchDrug's proteins have none
    """

    protein: data.Protein
    index: int | None
    name: str

    def __len__(self) -> int:
        return int(self.protein.num_residue if self.index is None else self.protein.num_residues[self.index])

    def structure(self) -> Structure:
        """
        Its residues.

        Raises:
            ValueError: it has no coordinates or no residue with a Cα atom
        """
        structure = to_structure(self.protein if self.index is None else self.protein[self.index], self.name)
        unknown = int((structure.residue_types == UNKNOWN_TYPE).sum())
        if unknown:
            logger.warning(
                "%s: %d of %d residues are of unknown type; TorchDrug knows no modified ones such as MSE, while "
                "reading the file here gives them the type of their parent", self.name, unknown, len(structure)
            )  # fmt: skip
        return structure


def stock_proteins(protein: data.Protein, first: int = 0) -> list[StockProtein]:
    """The proteins of one object of TorchDrug, named ``protein0``, ``protein1``, ... from ``first`` on."""
    if isinstance(protein, data.PackedProtein):
        return [StockProtein(protein, i, f"protein{first + i}") for i in range(int(protein.batch_size))]
    return [StockProtein(protein, None, f"protein{first}")]


def to_structure(protein: data.Protein, name: str) -> Structure:
    """
    A single protein of TorchDrug as a structure.

    A residue counts as unknown where TorchDrug's default residue feature says so: its type alone is that of glycine
    then. Residues without a Cα atom are counted in ``dropped``.
    """
    position = getattr(protein, "node_position", None)
    if position is None or len(position) != int(protein.num_node):
        raise ValueError("the TorchDrug protein has no `node_position`; read it with `data.Protein.from_pdb`")
    is_carbon = protein.atom_name == ALPHA_CARBON
    owner = protein.atom2residue[is_carbon]
    # of several Cα atoms of a residue (alternate locations) the first, as the host's AlphaCarbonNode has one, too
    nodes = torch.full((int(protein.num_residue),), -1, dtype=torch.long, device=owner.device)
    nodes[owner.flip(0)] = is_carbon.nonzero().squeeze(-1).flip(0)
    kept = nodes >= 0
    if not kept.any():
        raise ValueError(f"the TorchDrug protein has no Cα atom among {int(protein.num_node)} atoms")
    nodes = nodes[kept]
    types = _types(protein)[kept.cpu().numpy()]
    chains = _letters(_residues(protein, "chain_id", kept))
    missing = int((~kept).sum())
    # neighbours in a Structure are of one chain
    order = np.argsort(_first_places(chains), kind="stable")
    whole = Structure(
        name,
        _numpy(position[nodes]),
        types,
        chains,
        chains,
        _numpy(_residues(protein, "residue_number", kept)),
        _letters(_residues(protein, "insertion_code", kept)),
        np.array([*RESIDUE_NAMES, UNKNOWN_NAME])[types],
        _numpy(protein.b_factor[nodes]) if _has(protein, "b_factor") else np.zeros(len(types)),
        dropped={"no CA": missing} if missing else {},
    )
    return whole.select(order)


def _types(protein) -> np.ndarray:
    types = _numpy(protein.residue_type).astype(np.uint8)
    if _has(protein, "unknown_residue"):
        types[_numpy(protein.unknown_residue)] = UNKNOWN_TYPE
    elif _has(protein, "residue_feature") and protein.residue_feature.shape[-1] == TYPES + 1:
        types[_numpy(protein.residue_feature[:, TYPES]) > 0] = UNKNOWN_TYPE
    return types


def _residues(protein, name, kept):
    """An attribute of the residues that are kept; proteins made of a sequence have none of them."""
    if _has(protein, name):
        return getattr(protein, name)[kept]
    return torch.arange(1, len(kept) + 1)[kept.cpu()] if name == "residue_number" else torch.zeros(int(kept.sum()))


def _has(protein, name) -> bool:
    return getattr(protein, name, None) is not None


def _letters(places) -> np.ndarray:
    """Chain ids and insertion codes of their places in TorchDrug's alphabet, a blank as in a file that has none."""
    alphabet = data.Protein.id2alphabet
    return np.array([alphabet.get(place, str(place)).strip() for place in places.long().tolist()])


def _first_places(chains: np.ndarray) -> np.ndarray:
    """For each residue a number that grows with the first appearance of its chain."""
    order = {chain: place for place, chain in enumerate(dict.fromkeys(chains.tolist()))}
    return np.array([order[chain] for chain in chains.tolist()])


def _numpy(tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()
