"""What many structure files amount to, in words: those of a folder, an archive, a FoldComp database or a list."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import islice

import click
import numpy as np

from gearnet_plugin.structures import UNKNOWN_TYPE, Entry, Structure, find_entries, read_structures, split_ending
from gearnet_plugin.structures.parallel import count_workers

from .doctor_store import B_FACTORS, LENGTHS, PLDDT, histogram, tally

#: Files read with ``--quick``, evenly spaced.
SAMPLE = 200
#: Fewer files are read sooner by one process than by starting others.
ALONE = 300
#: Most files without a reading that are named.
SHOWN = 10


def examine(path: str, quick: bool = False) -> int:
    """Read the structures that a path stands for and tell what they are; the exit code: 1 if none can be read."""
    entries = list(find_entries(path))
    read = entries
    if quick and len(entries) > SAMPLE:
        read = [entries[i] for i in np.linspace(0, len(entries) - 1, SAMPLE).round().astype(int)]
    click.echo(f"{path}: {len(entries):,} structure files")
    for ending, count in tally(split_ending(entry.source)[1] or entry.ending for entry in entries):
        click.echo(f"  {ending or 'without a known ending'}: {count:,}")
    left = _other_files(path)
    if left:
        click.echo(f"  not read for their endings: {sum(left.values()):,} ({_some(left)})")
    if len(read) < len(entries):
        click.echo(f"--quick: {len(read)} of them, evenly spaced, were read")
    workers = 1 if len(read) < ALONE else count_workers(-1)
    summary = Summary()
    for entry, (structure, reason) in zip(read, read_structures(read, workers), strict=True):
        summary.add(entry, structure, reason)
    sys.stderr.flush()
    for line in summary.lines():
        click.echo(line)
    return 0 if summary.lengths else 1


class Summary:
    """Numbers about structures, taken one by one so that none has to be kept."""

    def __init__(self) -> None:
        self.drops: list[tuple[str, str]] = []
        self.lengths: list[int] = []
        self.chains = self.unknown = 0
        self.confidence: dict[str, list[float]] = {"plddt": [], "b_factor": []}
        self.methods: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()

    def add(self, entry: Entry, structure: Structure | None, reason: str) -> None:
        """Count what a file holds, or why nothing was read."""
        if structure is None:
            self.drops.append((entry.source, reason))
            return
        for chain in structure.chains():
            self.lengths.append(len(chain))
            self.confidence[chain.confidence_kind].append(float(chain.confidence.mean()))
        self.chains += 1
        self.unknown += int((structure.residue_types == UNKNOWN_TYPE).sum())
        self.methods[structure.method or "method not told"] += 1
        self.left_out.update(structure.dropped)

    def lines(self) -> Iterator[str]:
        """What was counted, as lines of text."""
        lengths = np.array(self.lengths)
        yield f"read: {self.chains:,} files, {len(lengths):,} protein chains, {int(lengths.sum()):,} residues"
        for method, count in tally(self.methods.elements()):
            yield f"  {method}: {count:,}"
        if self.unknown:
            yield f"  unknown residues: {self.unknown:,}"
        for reason, count in self.left_out.items():
            yield f"  residues left out of files that were read: {count:,} x {reason}"
        yield from histogram("length of the chains, residues", lengths, LENGTHS)
        for kind, title, edges in (("plddt", "mean pLDDT", PLDDT), ("b_factor", "mean B-factor, Å²", B_FACTORS)):
            yield from histogram(title, np.array(self.confidence[kind]), edges)
        if not self.drops:
            yield "every file can be read"
            return
        yield f"cannot be read: {len(self.drops):,}"
        yield from (f"  {source}: {reason}" for source, reason in islice(self.drops, SHOWN))
        if len(self.drops) > SHOWN:
            yield f"  and {len(self.drops) - SHOWN:,} more; `gearnet prepare` writes all of them to drops.tsv"


def _other_files(path: str) -> Counter[str]:
    """Endings of the files of a folder that no reader takes for structures; hidden files are none."""
    found: Counter[str] = Counter()
    if not os.path.isdir(path):
        return found
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            lower = name.lower()
            archive = lower.endswith((".tar", ".tar.gz", ".tgz", ".dbtype", ".index", ".lookup", ".source"))
            if not name.startswith(".") and not split_ending(name)[1] and not archive:
                if not os.path.isfile(os.path.join(folder, name) + ".index"):
                    found[os.path.splitext(lower)[1] or "no ending"] += 1
    return found


def _some(counts: Counter[str]) -> str:
    shown = [f"{count:,} x {ending}" for ending, count in counts.most_common(5)]
    return ", ".join(shown) + (", ..." if len(counts) > 5 else "")
