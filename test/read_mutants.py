"""
The reader run over damaged files, in a process that may be lost.

``python read_mutants.py FIRST COUNT FOLDER`` reads the files of those seeds one after the other and writes two JSON
lines for each: before, the seed and what was done to the text; after, how the reading went. So if the process
dies, or ends itself because one file takes too long, the last line names the seed.
"""

import contextlib
import faulthandler
import json
import math
import sys
import time
import types
import warnings
from collections import Counter
from pathlib import Path

from binary_mutants import binary_mutant
from hard_files import CRAFTED
from mutants import mutant

#: Longest time that one file may take, in s, and memory that the process may take in all, in bytes.
TIME_LIMIT = 5.0
MEMORY_LIMIT = 2 << 30
#: Seeds from here on stand for binary formats, and those below zero for the files of ``CRAFTED``.
BINARY = 1_000_000


def file_of(seed):
    """Name, content and description of the file of a seed."""
    if seed >= BINARY:
        return binary_mutant(seed)
    if seed >= 0:
        return mutant(seed)
    name = list(CRAFTED)[seed]
    content = CRAFTED[name]()
    return name, content.encode() if isinstance(content, str) else content, [name]


def outcome(path):
    """
    How reading a file went.

    Returns:
        (str, str): ``read``, ``refused`` or ``wrong``, and the reason of the latter two
    """
    import numpy as np

    from gearnet_plugin.structures import Structure, read_structure
    from gearnet_plugin.structures.structure import ARRAY_FIELDS

    try:
        structure = read_structure(path)
    except ValueError as error:
        return ("refused" if path.name in str(error) else "wrong"), f"{type(error).__name__}: {error}"
    except BaseException as error:  # noqa: BLE001 whatever comes is what is looked for
        return "wrong", f"{type(error).__name__}: {error}"
    if type(structure) is not Structure or len(structure) == 0:
        return "wrong", f"{structure!r}"
    for key, dtype in ARRAY_FIELDS.items():
        array = getattr(structure, key)
        kind_fits = array.dtype.kind == "U" if dtype is np.str_ else array.dtype == dtype
        if not kind_fits or array.shape[0] != len(structure):
            return "wrong", f"{key}: {array.dtype}, {array.shape}"
    chains = structure.chains()
    starts = 1 + int((structure.chain_ids[1:] != structure.chain_ids[:-1]).sum())
    drops = sum(map(Counter, structure.dropped_by_chain.values()), Counter())
    facts = {
        "positions are triples": structure.positions.shape == (len(structure), 3),
        "positions are finite": bool(np.isfinite(structure.positions).all()),
        "positions are below the limit": bool((abs(structure.positions) <= 1e5).all()),
        "confidence is finite": bool(np.isfinite(structure.confidence).all()),
        "resolution is finite": structure.resolution is None or math.isfinite(structure.resolution),
        "types are known": int(structure.residue_types.max()) <= 20,
        "chains stand together": len(chains) == starts,
        "chains make up the whole": sum(map(len, chains)) == len(structure),
        "drops add up": structure.dropped == drops,
    }
    failed = [claim for claim, holds in facts.items() if not holds]
    return ("wrong", f"not so: {', '.join(failed)}") if failed else ("read", "")


def main(first, count, folder):
    """Read the mutants of the seeds ``first`` to ``first + count - 1``."""
    # Reading needs no torch; without it the process starts in a fraction of the time.
    root = Path(__file__).resolve().parents[1]
    sys.path.insert(0, str(root))
    package = sys.modules["gearnet_plugin"] = types.ModuleType("gearnet_plugin")
    package.__path__ = [str(root / "gearnet_plugin")]
    warnings.simplefilter("error")
    faulthandler.enable()
    file_of(max(first, 0))
    with contextlib.suppress(ImportError, OSError, ValueError):  # not every system can limit it
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    for seed in range(first, first + count):
        name, content, done = file_of(seed)
        sys.stdout.write(json.dumps({"seed": seed, "done": done, "size": len(content)}) + "\n")
        sys.stdout.flush()
        path = Path(folder) / name
        path.write_bytes(content)
        # Ends the process from a thread of its own, so that code in C is stopped as well.
        faulthandler.dump_traceback_later(TIME_LIMIT, exit=True)
        start = time.perf_counter()
        result, reason = outcome(path)
        seconds = time.perf_counter() - start
        faulthandler.cancel_dump_traceback_later()
        path.unlink()
        sys.stdout.write(json.dumps({"result": result, "reason": reason[:2000], "seconds": seconds}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
