"""
Compute what the compiled torch-scatter and torch-cluster return, for the tests of our stand-ins.

    python script/make_golden.py test/golden/stand_ins.npz

It needs torch, numpy, scipy and the two packages, nothing of this project; test/golden/README.md says how to
get them. Keys of the file are `<case>/<array>`: `call` (JSON: function and its arguments), `src` and `index`
or `x` and `batch`, `out` and `arg` (maximum and minimum only), `cotangent` and `grad` (floating point only).
"""
import json
import sys

import numpy as np
import torch
import torch_cluster
import torch_scatter
from torch_scatter import composite

RNG = np.random.default_rng(0)
SCATTER = ("scatter_add", "scatter_mean", "scatter_max", "scatter_min")
SOFTMAX = ("scatter_softmax", "scatter_log_softmax")

# name: shape of src, shape of index, number of slots drawn from, arguments. Slots 1 and 4 always stay empty.
LAYOUTS = {
    "vector": ([14], [14], 6, {}),
    "rows": ([9, 3], [9], 5, {"dim": 0, "dim_size": 8}),
    "middle": ([2, 7, 2], [7], 4, {"dim": 1}),
    "last": ([2, 8], [8], 6, {"dim": -1, "dim_size": 7}),
    "own_index": ([5, 4], [5, 4], 4, {"dim": 0}),
    "index_lacks_end": ([3, 5, 2], [3, 5], 4, {"dim": -2}),
    "no_row": ([0, 3], [0], 1, {"dim": 0}),
    "no_row_3_slots": ([0, 3], [0], 1, {"dim": 0, "dim_size": 3}),
}


def draw(shape, dtype):
    """Values on a coarse grid, so that there are ties."""
    values = RNG.integers(-4, 5, size=shape)
    return torch.tensor(values, dtype=dtype) / (1 if dtype == torch.int64 else 2)


def scatter_case(function, src, index, arguments):
    """Call `function` of torch-scatter and return its arrays, gradient included."""
    arrays = {"call": json.dumps({"function": function, **arguments}), "src": src.clone(), "index": index}
    src = src.clone().requires_grad_(src.is_floating_point())
    module = composite if function in SOFTMAX else torch_scatter
    out = getattr(module, function)(src, index, **arguments)
    if isinstance(out, tuple):
        out, arrays["arg"] = out
    arrays["out"] = out
    if src.requires_grad:
        arrays["cotangent"] = torch.tensor(RNG.integers(-9, 10, size=tuple(out.shape)), dtype=out.dtype)
        arrays["grad"], = torch.autograd.grad(out, src, arrays["cotangent"])
    return arrays


def scatter_cases():
    """Yield (name, arrays) over functions, layouts and dtypes."""
    for function in SCATTER + SOFTMAX:
        for name, (shape, index_shape, slots, arguments) in LAYOUTS.items():
            # every function in every layout, the dtypes in turn, all three for a vector
            dtypes = [torch.float32, torch.float64, torch.int64]
            if name != "vector":
                dtypes = [dtypes[(len(name) + len(function)) % 3]]
            for dtype in dtypes:
                if function in SOFTMAX and dtype == torch.int64:
                    dtype = torch.float32
                filled = [slot for slot in range(slots) if slot not in (1, 4)]
                index = torch.tensor(RNG.choice(filled, size=index_shape))
                case = scatter_case(function, draw(shape, dtype), index, arguments)
                yield "%s/%s/%s" % (function, name, str(dtype)[6:]), case
    odd = torch.tensor([np.inf, -np.inf, np.nan, 1, -np.inf, np.nan, np.nan, 2, np.inf, -np.inf])
    index = torch.tensor([0, 0, 1, 1, 2, 2, 3, 4, 5, 5])
    for function in ("scatter_max", "scatter_min"):
        yield "%s/infinities/float32" % function, scatter_case(function, odd, index, {})


def cluster_cases():
    """Yield (name, arrays) for points of several graphs, one of them a single point, one missing."""
    batch = torch.tensor([0] * 12 + [1] + [2] * 3 + [4] * 25)
    points = torch.tensor(RNG.normal(size=(len(batch), 3)))
    doubled = points.clone()
    doubled[20:24] = doubled[16]
    variants = {
        "knn": ("knn_graph", points, {"k": 4}),
        "knn_loop": ("knn_graph", points, {"k": 4, "loop": True}),
        "knn_reversed": ("knn_graph", points.float(), {"k": 2, "flow": "target_to_source"}),
        "knn_more_than_points": ("knn_graph", points.float(), {"k": 30}),
        "knn_duplicates": ("knn_graph", doubled, {"k": 2}),
        "radius": ("radius_graph", points, {"r": 1.5}),
        "radius_loop": ("radius_graph", points.float(), {"r": 1.5, "loop": True}),
        "radius_reversed": ("radius_graph", points, {"r": 1.5, "flow": "target_to_source"}),
        "radius_duplicates": ("radius_graph", doubled.float(), {"r": 0.8}),
        "radius_capped": ("radius_graph", points, {"r": 2.5, "max_num_neighbors": 5}),
        "radius_capped_loop": ("radius_graph", points, {"r": 2.5, "max_num_neighbors": 5, "loop": True}),
        # 3-4-5: exactly on the sphere is outside
        "radius_exact": ("radius_graph", torch.tensor([[0.0, 0, 0], [3, 4, 0], [3, 3.9, 0]]), {"r": 5.0}),
        "one_graph": ("radius_graph", points[:16], {"r": 1.5}),
        "line": ("knn_graph", torch.tensor([0.0, 1, 3, 6, 10, 15]), {"k": 2}),
        "no_point": ("knn_graph", points[:0], {"k": 2}),
        "no_point_radius": ("radius_graph", points[:0], {"r": 2.0}),
    }
    for name, (function, x, arguments) in variants.items():
        arrays = {"call": json.dumps({"function": function, **arguments}), "x": x}
        if len(x) == len(batch):
            arrays["batch"] = batch
        out = getattr(torch_cluster, function)(x, batch=arrays.get("batch"), **arguments)
        yield "cluster/%s" % name, {**arrays, "out": out}


def to_numpy(value):
    """Arrays of tensors and strings, none of which needs pickle."""
    return value.detach().numpy() if torch.is_tensor(value) else np.asarray(value)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    arrays = {"versions": "torch %s, torch-scatter %s, torch-cluster %s"
                          % (torch.__version__, torch_scatter.__version__, torch_cluster.__version__)}
    for cases in (scatter_cases(), cluster_cases()):
        for case, content in cases:
            arrays.update({"%s/%s" % (case, key): to_numpy(value) for key, value in content.items()})
    np.savez_compressed(sys.argv[1], **arrays)
    print("%d arrays in %s" % (len(arrays), sys.argv[1]))
