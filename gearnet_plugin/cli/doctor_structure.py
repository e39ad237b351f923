"""What is in a structure file, in words: what the file holds, what the reader made of it, what it left out."""

from __future__ import annotations

import os
from collections.abc import Iterator

import click
import numpy as np

from gearnet_plugin.structures import ONE_LETTER, RESIDUE_NAMES, UNKNOWN_TYPE, Structure, parse_structure, split_ending
from gearnet_plugin.structures.content import content_format, read_bytes, unpack

from .doctor_contacts import APART, BONDED, NEIGHBOURS, RADIUS, SEQUENTIAL, Gap, find_edges, find_gaps, number
from .doctor_molecules import counted, instead, others, words_of
from .doctor_store import B_FACTORS, PLDDT, histogram

FORMATS = {"pdb": "PDB", "mmcif": "mmCIF", "bcif": "BinaryCIF", "fcz": "FoldComp", "hdf5": "HDF5"}
ENDING_FORMATS = {"pdb": "pdb", "ent": "pdb", "cif": "mmcif", "mmcif": "mmcif", "bcif": "bcif", "fcz": "fcz",
                  "hdf5": "hdf5", "h5": "hdf5"}  # fmt: skip
#: Most lines of one kind.
SHOWN = 8
LOW_PLDDT = 70


def examine(path: str, picture: str | None = None, chain: str | None = None) -> int:
    """Tell what is in a structure file, draw it if asked to; the exit code."""
    data = read_bytes(path, 0, os.path.getsize(path), path)
    content = unpack(path, data)
    format = content_format(path, content)
    try:
        whole = parse_structure(content, split_ending(path)[0], path)
    except ValueError:
        for line in instead(content, format):
            click.echo(line)
        raise
    structure = whole if chain is None else choose_chain(whole, chain)
    for line in describe(whole, structure, format, content != data):
        click.echo(line)
    for line in others(content, format, whole):
        click.echo(line)
    for line in _graphs(structure):
        click.echo(line)
    if picture is not None:
        from .doctor_picture import contact_map, save

        save(contact_map(structure, find_edges(structure), find_gaps(structure)), picture)
        click.echo(f"picture: {picture}")
    return 0


def choose_chain(structure: Structure, chain: str) -> Structure:
    """
    The structure of one chain.

    Raises:
        ValueError: there is no such chain; the message names those that are there
    """
    chains = structure.chains()
    ids = [str(part.chain_ids[0]) for part in chains]
    if chain not in ids:
        named = ", ".join(f"`{name}`" if name else "one without an id" for name in ids)
        raise ValueError(f"`{structure.source}` has no chain `{chain}`; its protein chains are {named}")
    return chains[ids.index(chain)]


def describe(whole: Structure, structure: Structure, format: str, packed: bool) -> Iterator[str]:
    """
    What the reader made of a file, as lines of text.

    Parameters:
        whole (Structure): all chains of the file
        structure (Structure): the chains that are asked for
        format (str): its format by content
        packed (bool): whether it is packed with gzip
    """
    ending = split_ending(whole.source)[1]
    yield f"{whole.source}: {FORMATS[format]}{' packed with gzip' if packed else ''}, told by its content"
    if ending and ENDING_FORMATS[ending.removesuffix(".gz").removeprefix(".")] != format:
        yield f"  the name says otherwise (`{ending}`); the content counts"
    method = whole.method or "method not told"
    yield f"  {method}" + (f", resolution {whole.resolution:g} Å" if whole.resolution else "")
    gaps = find_gaps(structure)
    chains = structure.chains()
    yield f"  {counted(len(chains), 'protein chain')}, {counted(len(structure), 'residue')}"
    for part in chains[:SHOWN]:
        yield from _chain(part)
    if len(chains) > SHOWN:
        yield f"    and {len(chains) - SHOWN} more chains"
    if gaps:
        yield f"  {counted(len(gaps), 'gap')} in the chains"
        yield from (f"    {_gap(gap)}" for gap in gaps[:SHOWN])
        if len(gaps) > SHOWN:
            yield f"    and {len(gaps) - SHOWN} more"
        yield "    edges along the chain run straight across; `gaps: number` of ResidueGraphConstruction stops them"
    else:
        yield "  no gap in any chain"
    yield from _residues(structure)
    for reason, count in whole.dropped.items():
        yield f"  left out: {counted(count, 'residue')}, {reason}"
    if not whole.dropped:
        yield "  no amino acid of a chain was left out"
    yield from _confidence(structure)


def _chain(part: Structure) -> Iterator[str]:
    """A line for a chain."""
    name, label = str(part.chain_ids[0]), str(part.label_chain_ids[0])
    also = f" (label_asym_id {label})" if label != name else ""
    inserted = int((part.insertion_codes != "").sum())
    codes = f", {inserted} with an insertion code" if inserted else ""
    yield (
        f"    chain {name or 'without an id'}{also}: {counted(len(part), 'residue')}, {number(part, 0)} to "
        f"{number(part, len(part) - 1)}{codes}"
    )


def _gap(gap: Gap) -> str:
    """A gap in words."""
    place = f"chain {gap.chain or 'without an id'}: between {gap.first} and {gap.second}"
    apart = f"their CA atoms are {gap.distance:.1f} Å apart"
    if gap.missing < 0:
        return f"{place} the numbers go back; {apart}"
    if gap.missing == 0:
        return f"{place} the numbers run on, but {apart}"
    # numberings that follow another protein, as of trypsins, skip numbers
    bonded = ", so the chain itself goes on" if gap.distance <= BONDED else ""
    return f"{place} {counted(gap.missing, 'number')} left out; {apart}{bonded}"


def _residues(structure: Structure) -> Iterator[str]:
    """Unknown and modified residues."""
    types, names = structure.residue_types, structure.residue_names
    unknown = types == UNKNOWN_TYPE
    plain = np.array(RESIDUE_NAMES + ("UNK",))[types]
    modified = ~unknown & (names != plain)
    if unknown.any():
        kinds = words_of(names[unknown].tolist())
        yield f"  {counted(int(unknown.sum()), 'unknown residue')} (kept as type X): {kinds}"
    else:
        yield "  no unknown residue"
    if modified.any():
        pairs = [f"{name} as {parent}" for name, parent in zip(names[modified], plain[modified], strict=True)]
        yield f"  {counted(int(modified.sum()), 'residue')} under another name: {words_of(pairs)}"
    absent = sorted(set(ONE_LETTER[:UNKNOWN_TYPE]) - set(structure.sequence))
    if len(absent) >= UNKNOWN_TYPE // 2:
        yield f"  only {UNKNOWN_TYPE - len(absent)} of the 20 kinds of amino acids occur"


def _confidence(structure: Structure) -> Iterator[str]:
    """B-factors or pLDDT."""
    values = structure.confidence
    if structure.confidence_kind == "plddt":
        yield from (f"  {line}" for line in histogram("pLDDT", values, PLDDT))
        low = int((values < LOW_PLDDT).sum())
        if low:
            yield f"    {counted(low, 'residue')} below {LOW_PLDDT}: there the prediction is not to be trusted"
    elif not values.any():
        yield "  B-factors: all 0, the file tells none"
    else:
        yield from (f"  {line}" for line in histogram("B-factor, Å²", values, B_FACTORS))


def _graphs(structure: Structure) -> Iterator[str]:
    """The graph of each chain for itself, and of all where there are several."""
    yield (
        f"graph of GearNet: sequential up to {SEQUENTIAL} residues, radius {RADIUS:g} Å, the {NEIGHBOURS} nearest, the "
        f"last two at least {APART} residues apart in the sequence"
    )
    chains = structure.chains()
    for part in chains[:SHOWN]:
        yield _graph(part, f"chain {part.chain_ids[0]}" if part.chain_ids[0] else "chain without an id")
    if len(chains) > SHOWN:
        yield f"  and {len(chains) - SHOWN} more chains"
    if len(chains) > 1:
        yield _graph(structure, "all chains in one graph (per: entry)")


def _graph(structure: Structure, title: str) -> str:
    edges = find_edges(structure)
    total = sum(map(len, edges))
    spatial = np.concatenate(edges[1:])
    lonely = len(structure) - len(np.unique(spatial))
    note = f"; {counted(lonely, 'residue')} without a neighbour in space" if lonely else ""
    return (
        f"  {title}: {counted(len(structure), 'node')}, {total:,} edges ({len(edges.sequential):,} sequential, "
        f"{len(edges.radius):,} radius, {len(edges.nearest):,} kNN), {total / len(structure):.1f} a node{note}"
    )
