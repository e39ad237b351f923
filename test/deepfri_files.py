"""Tables as DeepFRI publishes them and the released layout around bundled structures, for the tests of EC and GO."""
import gzip
import os
import shutil
import zipfile

from gearnet_plugin.structures.bundled import bundled_path

#: Chains of the bundled structures by split; all files are in PDB format.
CHAINS = {
    "train": ["1BX8-A", "1H4A-X", "1ORC-A", "1EJG-A"],
    "valid": ["1UBI-A", "1BD2-B"],
    "test": ["1A8O-A", "1AHS-A", "2I39-A", "1LCD-A"],
}
EC = ["1.1.1.-", "2.7.7.7", "2.7.7.-", "3.4.21.4"]
EC_OF = {
    "1BX8-A": "3.4.21.4", "1H4A-X": "2.7.7.-,2.7.7.7", "1ORC-A": "1.1.1.-", "1EJG-A": "2.7.7.-",
    "1UBI-A": "3.4.21.4,1.1.1.-", "1BD2-B": "2.7.7.-",
    "1A8O-A": "1.1.1.-", "1AHS-A": "2.7.7.7,2.7.7.-", "2I39-A": "3.4.21.4", "1LCD-A": "2.7.7.-",
}
CUTOFF_HEADER = "PDB-chain,<30%,<40%,<50%,<70%,<95%"
CUTOFFS = {"1A8O-A": "1,1,1,1,1", "1AHS-A": "0,0,1,1,1", "2I39-A": "0,0,0,0,1", "1LCD-A": "0,0,0,0,0"}
KEPT = {0.3: ["1A8O-A"], 0.4: ["1A8O-A"], 0.5: ["1A8O-A", "1AHS-A"], 0.7: ["1A8O-A", "1AHS-A"],
        0.95: ["1A8O-A", "1AHS-A", "2I39-A"]}

GO = {
    "molecular_function": ["GO:0000049", "GO:0000287", "GO:0000976"],
    "biological_process": ["GO:0000003", "GO:0000027"],
    "cellular_component": ["GO:0000123"],
}
GO_OF = {
    "1BX8-A": ("GO:0000287,GO:0000049", "GO:0000027", "GO:0000123"),
    "1H4A-X": ("GO:0000976", "", "GO:0000123"),
    "1ORC-A": ("", "GO:0000003,GO:0000027", ""),
    "1EJG-A": ("GO:0000976", "GO:0000027", ""),
    "1UBI-A": ("GO:0000049", "", ""),
    "1BD2-B": ("", "", "GO:0000123"),
    "1A8O-A": ("GO:0000976,GO:0000287", "GO:0000003", ""),
    "1AHS-A": ("GO:0000049", "", "GO:0000123"),
    "2I39-A": ("", "GO:0000027", ""),
    "1LCD-A": ("GO:0000049", "", ""),
}


def ec_annotation(labels=EC_OF, functions=EC):
    """Text of an annotation with EC numbers."""
    return "\n".join(["### EC-numbers", "\t".join(functions), "### PDB-chain\tEC-numbers",
                      *(f"{chain}\t{cell}" for chain, cell in labels.items()), ""])


def go_annotation(labels=GO_OF):
    """Text of an annotation with GO terms of three branches."""
    lines = []
    for branch, terms in GO.items():
        lines += [f"### GO-terms ({branch})", "\t".join(terms), f"### GO-names ({branch})",
                  "\t".join(f'"{term}", named' for term in terms)]
    lines.append("\t".join(["### PDB-chain", *(f"GO-terms ({branch})" for branch in GO)]))
    return "\n".join([*lines, *("\t".join((chain, *cells)) for chain, cells in labels.items()), ""])


def write_tables(folder, kind="EC", date="", lists=False):
    """Annotation, cutoffs and, if wanted, lists of the splits; with a date they are called as by DeepFRI."""
    os.makedirs(folder, exist_ok=True)
    stem = os.path.join(folder, f"nrPDB-{kind}" + (f"_{date}" if date else ""))
    texts = {"annot.tsv": ec_annotation() if kind == "EC" else go_annotation(),
             "test.csv": "\n".join([CUTOFF_HEADER, *(f"{chain},{row}" for chain, row in CUTOFFS.items()), ""])}
    if lists:
        texts.update({f"{split}.txt": "\n".join([*chains, ""]) for split, chains in CHAINS.items()})
    for name, text in texts.items():
        with open(f"{stem}_{name}", "w", newline="") as file:
            file.write(text.replace("\n", "\r\n"))
    return stem


def pdb_of(chain):
    """The PDB file of a chain."""
    entry, _, name = chain.partition("-")
    with gzip.open(bundled_path() / f"{entry.lower()}_{name}.pdb.gz", "rt") as file:
        return file.read()


def write_structure(path, chain):
    """The PDB file of a chain under a name of one's own."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(pdb_of(chain))


def write_release(folder, kind="EC"):
    """The released folder, with folders of structures."""
    write_tables(folder, kind)
    for split, chains in CHAINS.items():
        for chain in chains:
            write_structure(os.path.join(folder, split, f"{chain}_.pdb"), chain)
    return os.fspath(folder)


def zip_splits(folder):
    """Put the folders of structures into archives, each with its folder inside."""
    for split in CHAINS:
        with zipfile.ZipFile(os.path.join(folder, f"{split}.zip"), "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted(os.listdir(os.path.join(folder, split))):
                archive.write(os.path.join(folder, split, name), f"{split}/{name}")
        shutil.rmtree(os.path.join(folder, split))


def zip_release(folder, target):
    """Put a released folder, its splits zipped, into the outer archive."""
    name = os.path.basename(folder)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for file in sorted(os.listdir(folder)):
            archive.write(os.path.join(folder, file), f"{name}/{file}")
    return os.fspath(target)
