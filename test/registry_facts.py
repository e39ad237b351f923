"""
A script: print as JSON what TorchDrug's registry finds, in one of three processes.

    python registry_facts.py alone    TorchDrug without this package
    python registry_facts.py plugin   with it
    python registry_facts.py others   with the classes of two other projects registered before it
"""
import json
import sys

# what the code of the GearNet repository and of ESM-GearNet registers
OTHERS = (
    "models.GearNetIEConv", "datasets.Fold3D",
    "models.FusionNetwork", "models.CDConv", "models.GVPGNN", "models.ProtBert",
    "tasks.SiamDiff", "tasks.ResidueTypePrediction", "tasks.MSP",
    "datasets.PSRDataset", "datasets.MSPDataset",
    "transforms.NoiseTransform", "transforms.TruncateProteinPair", "transforms.ResidueGraph",
    "transforms.Orientation",
)


def register_others():
    from torchdrug.core import Registry as R

    return {name: R.register(name)(type(name.split(".")[1], (), {"theirs": True})) for name in OTHERS}


def found(name):
    """The key and origin of what a search finds, or its error."""
    from torchdrug.core import Registry as R

    try:
        entry = R.search(name)
    except KeyError as error:
        return error.args[0]
    # TorchDrug's subclasses of torch's classes name torch as their module, or us, so that pickle finds them
    of_torch = entry._registry_key.split(".")[0] in ("optim", "scheduler", "dataset")
    return "%s of %s" % (entry._registry_key, "torch" if of_torch else entry.__module__)


def facts(leaves):
    from torchdrug.core import Registry as R

    keys = list(R.table.flatten())
    leaves = sorted(leaves or {key.split(".")[-1] for key in keys})
    # canonical keys are searched for too, as in configuration files
    return {"keys": sorted(keys), "found": {name: found(name) for name in [*leaves, *keys]}}


if __name__ == "__main__":
    which = sys.argv[1]
    result = {}
    if which != "plugin":
        import compat_alone

        compat_alone.simulate_installed()
        import torchdrug.models
        import torchdrug.tasks  # noqa: F401
        from torchdrug import datasets, layers, transforms  # noqa: F401
    if which == "others":
        theirs = register_others()
    if which != "alone":
        import gearnet_plugin  # noqa: F401
    if which == "others":
        from torchdrug.core import Registry as R

        result["theirs"] = {key: R.search(key.split(".")[1]) is cls for key, cls in theirs.items()}
    json.dump({**facts(None), **result}, sys.stdout)
