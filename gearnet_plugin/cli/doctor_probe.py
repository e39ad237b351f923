"""
What can be known of a machine only by importing torch and computing, told line by line as JSON.

It runs in a process of its own: a broken torch may end the process, and then :mod:`.doctor_environment`, which started
it, still knows during which step.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

#: Begins each line that is for the parent; libraries print too.
MARK = "gearnet-doctor tells: "
#: Width and depth of the encoder of the self-test.
WIDTH, DEPTH = 32, 3
#: Largest difference between two ways to compute one number in float32, relative to the largest number.
TOLERANCE = 1e-4
#: What is imported of each optional package.
OPTIONAL = {
    "biotite": "biotite.structure.io.pdbx",
    "msgpack": "msgpack",
    "foldcomp": "foldcomp",
    "h5py": "h5py",
    "dask": "dask",
    "distributed": "distributed",
    "plotly": "plotly.graph_objects",
    "captum": "captum.attr",
    "tensorboard": "torch.utils.tensorboard",
    "triton": "triton",
    "torch_scatter": "torch_scatter",
    "torch_cluster": "torch_cluster",
}

State = dict[str, Any]


def main(kind: str) -> None:
    """Run the steps of the self-test, or import the optional packages: ``self-test`` or ``optional``."""
    # warnings are for the log of whoever computes, not for an examination
    warnings.simplefilter("ignore")
    if kind == "optional":
        for name, module in OPTIONAL.items():
            _try(name, lambda module=module: importlib.import_module(module) and "")  # type: ignore[misc]
        return
    state: State = {}
    for step in (reading, torch_itself, torchdrug, package, graph, forward, backward, reference, gpu):
        if not _try(step.__name__, lambda step=step: step(state)):  # type: ignore[misc]
            return


def _try(name: str, function: Callable[[], Any]) -> bool:
    """Run a step and tell how it went."""
    tell({"step": name, "state": "begun"})
    began = time.perf_counter()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            told = function()
    except Exception as error:  # noqa: BLE001  whatever goes wrong is the finding
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        tell({"step": name, "state": "failed", "text": reason, "module": getattr(error, "name", None)})
        return False
    facts = told if isinstance(told, dict) else {"text": told}
    tell({"step": name, "state": "ok", "seconds": round(time.perf_counter() - began, 2), **facts})
    return True


def tell(line: dict) -> None:
    """Write a line to the parent."""
    sys.__stdout__.write(MARK + json.dumps(line) + "\n")  # type: ignore[union-attr]
    sys.__stdout__.flush()  # type: ignore[union-attr]


# === steps; each returns text, or facts with it ===


def torch_itself(state: State) -> State:
    """Import torch; what it was built for and what it finds."""
    import torch

    torch.manual_seed(0)
    facts: State = {
        "version": str(torch.__version__),
        "cuda": torch.version.cuda,
        "hip": getattr(torch.version, "hip", None),
        "threads": torch.get_num_threads(),
        "gpus": [],
        "architectures": [],
        "why": "",
    }
    # torch tells a driver that does not fit by a warning, and then finds no GPU
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        available = torch.cuda.is_available()
    facts["why"] = " ".join(" ".join(str(warning.message).split()) for warning in caught)
    if available:
        facts["architectures"] = torch.cuda.get_arch_list()
        for i in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(i)
            facts["gpus"].append(
                {
                    "name": properties.name,
                    "memory": properties.total_memory,
                    "capability": [properties.major, properties.minor],
                }
            )
    mps = getattr(torch.backends, "mps", None)
    facts["mps"] = bool(mps is not None and mps.is_available())
    facts["text"] = f"torch {facts['version']}"
    return facts


def torchdrug(state: State) -> State:
    """Import TorchDrug, repaired."""
    from gearnet_plugin import compat

    compat.activate()
    import torchdrug as host

    return {
        "text": f"TorchDrug {host.__version__}",
        "version": str(host.__version__),
        "wanted": compat.host.VERSION,
        "stand_ins": compat.stand_ins(),
    }


def package(state: State) -> str:
    """Register all of this package."""
    import gearnet_plugin

    gearnet_plugin.register()
    return f"gearnet-plugin {gearnet_plugin.__version__}"


def reading(state: State) -> str:
    """Read the shortest bundled structure."""
    from gearnet_plugin.structures import read_structure
    from gearnet_plugin.structures.bundled import bundled_path, bundled_table

    row = min(bundled_table(), key=lambda row: row["length"])
    state["structure"] = read_structure(bundled_path() / row["structure"])
    if len(state["structure"]) != row["length"]:
        raise ValueError(f"{row['structure']} should have {row['length']} residues, found {len(state['structure'])}")
    return f"{row['structure']}, {row['length']} residues"


def graph(state: State) -> str:
    """Build its graph and compare the edges with those of another definition."""
    import numpy as np

    from gearnet_plugin.cli.doctor_contacts import find_edges
    from gearnet_plugin.graphs import ResidueProtein
    from gearnet_plugin.layers import ResidueGraphConstruction
    from torchdrug.layers import geometry

    packed = ResidueProtein.pack([ResidueProtein.from_structure(state["structure"])])
    construction = ResidueGraphConstruction(
        [geometry.AlphaCarbonNode()],
        [geometry.SequentialEdge(max_distance=2), geometry.SpatialEdge(10.0, 5), geometry.KNNEdge(10, 5)],
        "gearnet",
    )
    state["graph"] = construction(packed)
    pairs = state["graph"].edge_list[:, :2].numpy()
    expected = np.concatenate(find_edges(state["structure"]))
    if not np.array_equal(pairs[np.lexsort(pairs.T)], expected[np.lexsort(expected.T)]):
        raise ValueError(f"{len(pairs)} edges, but their definition gives {len(expected)} others")
    return f"{len(pairs):,} edges, equal to their definition"


def forward(state: State) -> str:
    """A small GearNet-Edge."""
    state["encoder"] = _encoder(state, "auto")
    state["output"] = _output(state["encoder"], state["graph"])
    if not bool(state["output"].isfinite().all()):
        raise ValueError("the output is not finite")
    return f"GearNet-Edge, {DEPTH} layers of {WIDTH}"


def backward(state: State) -> str:
    """Its gradients."""
    state["output"].square().mean().backward()
    missing = [name for name, p in state["encoder"].named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    if missing:
        raise ValueError(f"no finite gradient of `{missing[0]}`")
    return f"{sum(1 for _ in state['encoder'].parameters())} gradients, all finite"


def reference(state: State) -> str:
    """The same by the plain definition of every operation."""
    plain = _encoder(state, "reference")
    plain.load_state_dict(state["encoder"].state_dict())
    output = _output(plain, state["graph"])
    output.square().mean().backward()
    state["reference"] = plain, output
    pairs = [("output", state["output"], output)]
    for (name, ours), (_, theirs) in zip(state["encoder"].named_parameters(), plain.named_parameters(), strict=True):
        pairs.append((f"gradient of {name}", ours.grad, theirs.grad))
    return f"outputs and gradients agree to {_compare(pairs):.0e} of the largest number"


def gpu(state: State) -> str:
    """The same on the first GPU."""
    import torch

    if not torch.cuda.is_available():
        return ""
    encoder = _encoder(state, "auto")
    encoder.load_state_dict(state["reference"][0].state_dict())
    encoder.cuda()
    output = _output(encoder, state["graph"].cuda())
    output.square().mean().backward()
    torch.cuda.synchronize()
    pairs = [("output", output.cpu(), state["reference"][1])]
    return f"on {torch.cuda.get_device_name(0)}: outputs agree to {_compare(pairs):.0e} of the largest number"


def _encoder(state: State, backend: str) -> Any:
    from gearnet_plugin.models import GearNetEncoder

    return GearNetEncoder(21, [WIDTH] * DEPTH, num_relation=7, edge_input_dim=59, num_angle_bin=8, short_cut=True,
                          backend=backend)  # fmt: skip


def _output(encoder: Any, graph: Any) -> Any:
    return encoder(graph, graph.node_feature.float())["node_feature"]


def _compare(pairs: list[tuple[str, Any, Any]]) -> float:
    """The largest relative difference; one that is too large is an error."""
    largest = 0.0
    for name, ours, theirs in pairs:
        apart = float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-12))
        if not apart <= TOLERANCE:
            raise ValueError(f"the {name} differs by {apart:.1e} from the plain definition, more than {TOLERANCE:g}")
        largest = max(largest, apart)
    return largest
