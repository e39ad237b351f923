"""
Names of EC classes, as the IUBMB has them: what the first one, two or three numbers of an EC number say.

There are the classes, most subclasses and a few large sub-subclasses. What is not here gets the
name of what is above it.
"""

import re

_ON = "Oxidoreductases acting on "
_TO = "Transferases of "
_FORMING = "Ligases forming "
_OF = "Translocases of "

NAMES = {
    "1": "Oxidoreductases",
    "1.1": _ON + "the CH-OH group of donors",
    "1.2": _ON + "the aldehyde or oxo group of donors",
    "1.3": _ON + "the CH-CH group of donors",
    "1.4": _ON + "the CH-NH2 group of donors",
    "1.5": _ON + "the CH-NH group of donors",
    "1.6": _ON + "NADH or NADPH",
    "1.7": _ON + "other nitrogenous compounds as donors",
    "1.8": _ON + "a sulfur group of donors",
    "1.9": _ON + "a heme group of donors",
    "1.10": _ON + "diphenols and related substances as donors",
    "1.11": _ON + "a peroxide as acceptor",
    "1.12": _ON + "hydrogen as donor",
    "1.13": _ON + "single donors with incorporation of molecular oxygen",
    "1.14": _ON + "paired donors, with incorporation or reduction of molecular oxygen",
    "1.15": _ON + "superoxide as acceptor",
    "1.16": "Oxidoreductases oxidizing metal ions",
    "1.17": _ON + "CH or CH2 groups",
    "1.18": _ON + "iron-sulfur proteins as donors",
    "1.19": _ON + "reduced flavodoxin as donor",
    "1.20": _ON + "phosphorus or arsenic in donors",
    "1.21": "Oxidoreductases catalysing the reaction X-H + Y-H = X-Y",
    "1.97": "Other oxidoreductases",
    "2": "Transferases",
    "2.1": _TO + "one-carbon groups",
    "2.2": _TO + "aldehyde or ketonic groups",
    "2.3": "Acyltransferases",
    "2.4": "Glycosyltransferases",
    "2.5": _TO + "alkyl or aryl groups, other than methyl groups",
    "2.6": _TO + "nitrogenous groups",
    "2.7": _TO + "phosphorus-containing groups",
    "2.8": _TO + "sulfur-containing groups",
    "2.9": _TO + "selenium-containing groups",
    "2.10": _TO + "molybdenum- or tungsten-containing groups",
    "3": "Hydrolases",
    "3.1": "Hydrolases acting on ester bonds",
    "3.2": "Glycosylases",
    "3.3": "Hydrolases acting on ether bonds",
    "3.4": "Peptidases",
    "3.5": "Hydrolases acting on carbon-nitrogen bonds, other than peptide bonds",
    "3.6": "Hydrolases acting on acid anhydrides",
    "3.7": "Hydrolases acting on carbon-carbon bonds",
    "3.8": "Hydrolases acting on halide bonds",
    "3.9": "Hydrolases acting on phosphorus-nitrogen bonds",
    "3.10": "Hydrolases acting on sulfur-nitrogen bonds",
    "3.11": "Hydrolases acting on carbon-phosphorus bonds",
    "3.12": "Hydrolases acting on sulfur-sulfur bonds",
    "3.13": "Hydrolases acting on carbon-sulfur bonds",
    "4": "Lyases",
    "4.1": "Carbon-carbon lyases",
    "4.2": "Carbon-oxygen lyases",
    "4.3": "Carbon-nitrogen lyases",
    "4.4": "Carbon-sulfur lyases",
    "4.5": "Carbon-halide lyases",
    "4.6": "Phosphorus-oxygen lyases",
    "4.7": "Carbon-phosphorus lyases",
    "4.99": "Other lyases",
    "5": "Isomerases",
    "5.1": "Racemases and epimerases",
    "5.2": "cis-trans-Isomerases",
    "5.3": "Intramolecular oxidoreductases",
    "5.4": "Intramolecular transferases",
    "5.5": "Intramolecular lyases",
    "5.6": "Isomerases altering macromolecular conformation",
    "5.99": "Other isomerases",
    "6": "Ligases",
    "6.1": _FORMING + "carbon-oxygen bonds",
    "6.2": _FORMING + "carbon-sulfur bonds",
    "6.3": _FORMING + "carbon-nitrogen bonds",
    "6.4": _FORMING + "carbon-carbon bonds",
    "6.5": _FORMING + "phosphoric ester bonds",
    "6.6": _FORMING + "nitrogen-metal bonds",
    "7": "Translocases",
    "7.1": _OF + "hydrons",
    "7.2": _OF + "inorganic cations",
    "7.3": _OF + "inorganic anions and their chelates",
    "7.4": _OF + "amino acids and peptides",
    "7.5": _OF + "carbohydrates and their derivatives",
    "7.6": _OF + "other compounds",
    # some large sub-subclasses
    "1.1.1": _ON + "the CH-OH group of donors, with NAD+ or NADP+ as acceptor",
    "1.11.1": "Peroxidases",
    "2.1.1": "Methyltransferases",
    "2.4.1": "Hexosyltransferases",
    "2.4.2": "Pentosyltransferases",
    "2.6.1": "Transaminases",
    "2.7.1": "Phosphotransferases with an alcohol group as acceptor",
    "2.7.7": "Nucleotidyltransferases",
    "2.7.10": "Protein-tyrosine kinases",
    "2.7.11": "Protein-serine/threonine kinases",
    "3.1.1": "Carboxylic-ester hydrolases",
    "3.1.3": "Phosphoric-monoester hydrolases",
    "3.4.21": "Serine endopeptidases",
    "3.4.22": "Cysteine endopeptidases",
    "3.4.23": "Aspartic endopeptidases",
    "3.4.24": "Metalloendopeptidases",
    "3.4.25": "Threonine endopeptidases",
    "4.1.1": "Carboxy-lyases",
    "4.2.1": "Hydro-lyases",
}
NUMBER = re.compile(r"(?:EC[ :]?\s*)?([1-7])(?:\.(\d+|-))?(?:\.(\d+|-))?(?:\.(n?\d+|-))?", re.ASCII | re.IGNORECASE)


def ec_name(label: str) -> str:
    """
    The name of the class of an EC number, as far down as it is known: of ``3.4.21.4`` that of ``3.4.21``.

    Parameters:
        label (str): such as ``3.4.21.4``, ``2.7.-.-`` or ``EC 1.1.1.1``

    Returns:
        str: name, empty for what is no EC number
    """
    match = NUMBER.fullmatch(label.strip())
    if match is None:
        return ""
    parts = [part for part in match.groups()[:3] if part not in (None, "-")]
    found = (NAMES.get(".".join(parts[:depth])) for depth in range(len(parts), 0, -1))
    return next((name for name in found if name), "")
