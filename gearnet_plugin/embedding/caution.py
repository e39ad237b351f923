"""
What speaks against a prediction: a structure that is unlike those the model was trained on, or little of a structure.

Each warning is a code and words with the number that it is about. B-factors are no measure of confidence here: they
depend on resolution and refinement, so only pLDDT is judged.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from gearnet_plugin.structures import UNKNOWN_TYPE, Structure

#: Fewer residues hardly fold by themselves, whatever a training set holds.
SHORT = 20
#: Below this mean pLDDT a model is one of low confidence in the classes of AlphaFold DB.
LOW_PLDDT = 70
#: Of unknown residues only the place is seen; a twentieth of them is more than modified ends and tags.
MOST_UNKNOWN = 0.05
#: Å between neighbouring Cα atoms, above which the chain is interrupted: 3.8 where it is not, and room for poor models.
BREAK = 5.0
#: A loop that is not resolved is in most crystal structures; more than this part of the residues is a part of the fold.
MOST_MISSING = 0.05
#: Interruptions for each hundred residues, for structures whose numbers do not tell what is missing.
MOST_BREAKS = 2
#: What is farther from the training proteins than this part of the validation proteins were is unlike either.
FAR = 0.99

CODES = {
    "long": "longer than all training proteins",
    "short": "shorter than all training proteins, or than 20 residues",
    "low_confidence": "predicted structures of low confidence",
    "unknown_residues": "many unknown residues",
    "gaps": "chain gaps",
    "far": "far from the training proteins",
}


class Facts(NamedTuple):
    """
    What of a structure is judged.

    Parameters:
        length (int): residues
        plddt (float, optional): mean, None for B-factors
        unknown (int): residues of unknown type
        breaks (int): interruptions of chains
        missing (int): residues that the numbering leaves out there
    """

    length: int
    plddt: float | None
    unknown: int
    breaks: int
    missing: int

    @classmethod
    def of(cls, structure: Structure) -> Facts:
        """Those of a structure."""
        predicted = structure.confidence_kind == "plddt"
        apart = np.linalg.norm(np.diff(structure.positions, axis=0), axis=1) > BREAK
        apart &= structure.chain_ids[1:] == structure.chain_ids[:-1]
        # numbers that fall or jump by thousands are no count of residues
        steps = np.diff(structure.residue_numbers.astype(np.int64))[apart]
        missing = steps[(steps > 1) & (steps < 1000)] - 1
        return cls(
            len(structure),
            float(structure.confidence.mean()) if predicted else None,
            int((structure.residue_types == UNKNOWN_TYPE).sum()),
            int(apart.sum()),
            int(missing.sum()),
        )


class Caution:
    """
    What is told of structures.

    Parameters:
        lengths (dict, optional): ``min`` and ``max`` of the training proteins
        quantiles (dict, optional): of the distance of validation proteins from the training proteins
    """

    def __init__(self, lengths: dict | None, quantiles: dict | None):
        self.lengths = lengths or {"min": 0, "max": None}
        self.far = (quantiles or {}).get(FAR)

    def warnings(self, facts: Facts, distance: float | None = None) -> list[tuple[str, str]]:
        """
        Warnings, as code and words.

        Parameters:
            facts (Facts): of the structure
            distance (float, optional): from the training proteins
        """
        length, least, most = facts.length, self.lengths["min"], self.lengths["max"]
        found = []
        if most is not None and length > most:
            found.append(("long", f"{length:,} residues, the longest training protein has {most:,}"))
        if length < least:
            found.append(("short", f"{length:,} residues, the shortest training protein has {least:,}"))
        elif length < SHORT:
            found.append(("short", f"{length:,} residues, fewer than {SHORT}"))
        if facts.plddt is not None and facts.plddt < LOW_PLDDT:
            found.append(("low_confidence", f"mean pLDDT {facts.plddt:.1f}, below {LOW_PLDDT}"))
        if facts.unknown > MOST_UNKNOWN * length:
            share = 100 * facts.unknown / length
            found.append(("unknown_residues", f"{facts.unknown:,} residues of unknown type ({share:.0f} %)"))
        if facts.missing > MOST_MISSING * length or facts.breaks > MOST_BREAKS * max(1.0, length / 100):
            missing = f", at least {facts.missing:,} residues missing" if facts.missing else ""
            found.append(("gaps", f"{facts.breaks:,} chain gaps{missing}"))
        if self.far is not None and distance is not None and distance > self.far:
            found.append(
                (
                    "far",
                    f"distance {distance:.2f} from the training proteins, above {self.far:.2f}, which "
                    f"{100 * FAR:.0f} % of the validation proteins are within",
                )
            )
        return found
