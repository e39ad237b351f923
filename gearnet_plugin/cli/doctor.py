"""``gearnet doctor``: whether this machine is ready, or what is in a file or folder."""

from __future__ import annotations

import contextlib
import difflib
import os
import re

import click

from gearnet_plugin.structures import ENDINGS, split_ending
from gearnet_plugin.structures.archives import is_archive, is_database
from gearnet_plugin.structures.manifest import MANIFEST, PLAN, SHARDS, is_store
from gearnet_plugin.structures.sources import LIST_ENDINGS

WEIGHTS = (".pth", ".pt", ".ckpt", ".bin")
YAML = (".yaml", ".yml")
ACCEPTED = (
    f"doctor knows structure files ({', '.join(ENDINGS)}, each also with .gz), folders, archives and lists of them, "
    f"stores, weights ({', '.join(WEIGHTS)}), encoder.yaml, folders of runs, embeddings (.npz, .h5, .parquet, .pt) "
    f"and configurations (.yaml)"
)
#: Most runs or stores that are named.
SHOWN = 10
#: Most characters of an error that a file of others brings about.
REASON = 300


@click.command()
@click.argument("path", required=False)
@click.option("--quick", is_flag=True, help="Of a store: do not verify; of a folder: a sample; of a run: no weights.")
@click.option("--picture", metavar="FILE", help="Draw a structure: its contact map with the edges of its graph "
              "(.png, .svg or .pdf).")  # fmt: skip
@click.option("--chain", metavar="ID", help="Of a structure: one chain, as PyMOL names it.")
def doctor(path, quick, picture, chain):
    """
    Show whether this machine is ready, or what is in PATH.

    Without PATH: versions, what is missing, the GPU, a short self-test, and the command that mends each finding. Exits
    with 1 if something that is needed does not work.

    PATH is a structure file, a folder of structures, a store (every byte is verified), a file of weights or
    encoder.yaml, the folder of a run, a file of embeddings or a configuration. Exits with 1 if it is damaged or of no
    use.

    \b
    Examples:
      gearnet doctor
      gearnet doctor 1abc.cif.gz --picture 1abc.png
      gearnet doctor runs/pretrain/2025-01-31-12-00-00
    """
    if path is None:
        if quick or picture or chain:
            raise click.UsageError("--quick, --picture and --chain are about a PATH; there is none.")
        from .doctor_environment import examine as examine_environment

        return examine_environment()
    path = _find(os.path.expanduser(path))
    kind = find_kind(path)
    if (picture or chain) and kind != "structure":
        option = "--picture" if picture else "--chain"
        raise click.UsageError(f"{option} is about a structure file, but `{path}` is {NAMES[kind]}.")
    if picture:
        from .doctor_picture import check_target

        picture = check_target(picture)
    try:
        return _examine(path, kind, quick, picture, chain)
    except (click.ClickException, OSError):
        raise
    except ImportError as error:
        raise ValueError(f"looking into `{path}` needs a package that cannot be imported: {error}\n`gearnet doctor` "
                         f"without a path tells what is missing") from error  # fmt: skip
    except Exception as error:  # whatever a file of others brings about is the finding
        raise _not_understood(path, kind, error) from error


NAMES = {
    "structure": "a structure file",
    "structures": "a collection of structures",
    "store": "a store",
    "weights": "a file of weights",
    "recipe": "the recipe of an encoder",
    "run": "the folder of a run",
    "embeddings": "a file of embeddings",
    "config": "a configuration",
    "runs": "a folder of runs or stores",
}


def find_kind(path: str) -> str:
    """
    What a path is, one of :data:`NAMES`, by name and content.

    Raises:
        ValueError: it is nothing that doctor knows; the message tells what it knows
    """
    return _kind_of_folder(path) if os.path.isdir(path) else _kind_of_file(path)


def _find(path: str) -> str:
    """
    The path, or the file of published weights that it names.

    Raises:
        FileNotFoundError: there is nothing; the message tells what is near
    """
    if os.path.exists(path):
        return path
    if os.path.islink(path):
        raise FileNotFoundError(f"`{path}` is a link to `{os.readlink(path)}`, which is not there")
    if os.path.basename(path) == path:
        from gearnet_plugin import register

        with contextlib.suppress(ImportError):
            register()
            from gearnet_plugin.embedding.weight_folder import resolve

            found = resolve(path, download=False)
            if found != path:
                return found
    raise FileNotFoundError(_nothing(path))


def _kind_of_folder(path: str) -> str:
    from .doctor_run import is_run, runs_below

    # a store that lost its manifest, or is being made, says so when it is opened
    if is_store(path) or all(os.path.isdir(os.path.join(path, name)) for name in (PLAN, SHARDS)):
        return "store"
    if is_run(path):
        return "run"
    if runs_below(path) or _stores_below(path):
        return "runs"
    from gearnet_plugin.structures import find_entries

    try:
        next(find_entries(path))
    except ValueError:
        if os.path.isdir(os.path.join(path, SHARDS)):
            return "store"
        raise ValueError(f"`{path}` is no store and no run, and holds no structure; {ACCEPTED}") from None
    return "structures"


def _kind_of_file(path: str) -> str:
    lower = path.lower()
    with open(path, "rb") as file:
        start = file.read(1 << 16)
    if lower.endswith(YAML):
        text = start.decode("utf-8", "replace")
        return "recipe" if re.search(r"^encoder\s*:", text, re.MULTILINE) else "config"
    if lower.endswith((".npz", ".parquet")) or _holds_embeddings(path, start):
        return "embeddings"
    if lower.endswith(LIST_ENDINGS) or is_archive(path) or is_database(path):
        return "structures"
    # torch writes zip files and, before 1.6, pickles
    if lower.endswith(WEIGHTS) or start.startswith(b"PK\x03\x04"):
        return "weights"
    if os.path.basename(path) == MANIFEST and is_store(os.path.dirname(path) or "."):
        return "store"
    if split_ending(path)[1] or _is_structure(path, start):
        return "structure"
    raise ValueError(f"`{path}` is of no known kind; {ACCEPTED}")


def _holds_embeddings(path: str, start: bytes) -> bool:
    """Whether an HDF5 file is one of embeddings; others of that format are structures."""
    from gearnet_plugin.structures.content import HDF5_MAGIC, missing_formats

    if not start.startswith(HDF5_MAGIC) or missing_formats("hdf5"):
        return False
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return {"names", "lengths", "info"} <= set(file)
    except OSError:
        return False


def _is_structure(path: str, start: bytes) -> bool:
    """Whether a file without a known ending begins as a structure does."""
    from gearnet_plugin.structures.content import GZIP_MAGIC, content_format

    if start.startswith(GZIP_MAGIC):
        return True
    try:
        content_format(path, start)
    except ValueError:
        return False
    return True


def _examine(path: str, kind: str, quick: bool, picture: str | None, chain: str | None) -> int:
    """Look at a path of a kind; the exit code."""
    if kind == "structure":
        from .doctor_structure import examine as examine_structure

        return examine_structure(path, picture, chain)
    if kind == "structures":
        from .doctor_folder import examine as examine_folder

        return examine_folder(path, quick)
    if kind == "store":
        from .doctor_store import examine as examine_store

        return examine_store((os.path.dirname(path) or ".") if os.path.isfile(path) else path, quick)
    if kind == "embeddings":
        from .doctor_embeddings import examine as examine_embeddings

        return examine_embeddings(path, quick)
    if kind == "runs":
        return _name_below(path)
    if kind == "run":
        from .doctor_run import examine as examine_run

        return examine_run(path, quick)
    if kind == "recipe":
        from .doctor_recipe import examine_recipe

        return _with_torch(examine_recipe, path)
    if kind == "weights":
        from .doctor_weights import examine as examine_weights

        return _with_torch(examine_weights, path)
    from .doctor_run import examine_config

    return _with_torch(examine_config, path)


def _not_understood(path: str, kind: str, error: Exception) -> ValueError:
    """The error for a file that seems to be of a kind and is not, or is damaged."""
    if isinstance(error, ValueError) and os.path.basename(os.path.normpath(path)) in str(error):
        return error
    words = " ".join(str(error).split())[:REASON]
    reason = words if isinstance(error, ValueError) else f"{type(error).__name__}: {words}"
    return ValueError(f"`{path}` looks like {NAMES[kind]}, but is damaged or was written by something else ({reason})")


def _with_torch(function, path: str) -> int:
    """Call what needs torch and TorchDrug; where they are missing, say so in a line."""
    from gearnet_plugin import register

    try:
        register()
    except ImportError as error:
        raise ValueError(f"looking into `{path}` needs torch and TorchDrug. {error}\n`gearnet doctor` without a path "
                         f"tells what is missing") from None  # fmt: skip
    return function(path)


def _stores_below(path: str) -> list[str]:
    """Stores directly in a folder."""
    with os.scandir(path) as entries:
        return sorted(entry.path for entry in entries if entry.is_dir() and is_store(entry.path))


def _name_below(path: str) -> int:
    """Name the runs and stores of a folder, the newest run last."""
    from .doctor_run import runs_below

    lines = [f"`{path}` is no store and no run itself; give one of those below it:"]
    for noun, found in (("runs", runs_below(path)), ("stores", _stores_below(path))):
        if len(found) > SHOWN:
            lines.append(f"  {len(found) - SHOWN:,} {noun} more, then")
        lines += [f"  gearnet doctor {folder}" for folder in found[-SHOWN:]]
    raise ValueError("\n".join(lines))


def _nothing(path: str) -> str:
    """The message for a path that is not there: names near it, in the nearest folder that is."""
    folder, name = os.path.split(os.path.abspath(path))
    while not os.path.isdir(folder):
        folder, name = os.path.split(folder)
    names = sorted(entry for entry in os.listdir(folder) if not entry.startswith("."))
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(f'`{os.path.join(folder, other)}`' for other in near)}?" if near else ""
    return f"there is no `{path}`, looked from `{os.getcwd()}`.{hint} {ACCEPTED[0].upper()}{ACCEPTED[1:]}"
