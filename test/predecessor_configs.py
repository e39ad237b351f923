"""
Configurations of the shape of those that the GearNet repository (45) and ESM-GearNet released, put together from their
parts: what differs between files stands in the tables below.
"""

import yaml

GPUS, CKPT = "{{ gpus }}", "{{ ckpt }}"
FUNCTIONS = {"EC": {"class": "EnzymeCommission"}}
FUNCTIONS.update(
    {f"GO-{branch}": {"class": "GeneOntology", "branch": branch} for branch in ("MF", "BP", "CC")},
)

# === parts ===

GRAPH = {
    "class": "GraphConstruction",
    "node_layers": [{"class": "AlphaCarbonNode"}],
    "edge_layers": [
        {"class": "SequentialEdge", "max_distance": 2},
        {"class": "SpatialEdge", "radius": 10.0, "min_distance": 5},
        {"class": "KNNEdge", "k": 10, "min_distance": 5},
    ],
    "edge_feature": "gearnet",
}
NODES = {
    **{"class": "GearNet", "input_dim": 21, "hidden_dims": [512] * 6, "batch_norm": True, "concat_hidden": True},
    **{"short_cut": True, "readout": "sum", "num_relation": 7},
}
EDGES = {"edge_input_dim": 59, "num_angle_bin": 8}
IECONV = {"class": "GearNetIEConv", "embedding_dim": 512, "layer_norm": True, "dropout": 0.2}
ENCODERS = {
    "gearnet": NODES,
    "gearnet_edge": {**NODES, **EDGES},
    "gearnet_edge_ieconv": {**NODES, **EDGES, **IECONV, "use_ieconv": True},
}
FOLD_ENCODERS = {
    "gearnet": {**NODES, **IECONV},
    "gearnet_edge": {**NODES, **EDGES, **IECONV},
    "gearnet_ieconv": {**NODES, **IECONV, "use_ieconv": True},
    "gearnet_edge_ieconv": ENCODERS["gearnet_edge_ieconv"],
}
WEIGHTS = "~/scratch/protein-model-weights/esm-model-weights/"
ESM1 = {"class": "ESM", "path": WEIGHTS, "model": "ESM-1b"}
ESM2 = {**ESM1, "model": "ESM-2-650M"}
# sequence encoders: model, optimizer, learning rate, proteins a batch
SEQUENCE = {
    "ESM": (ESM1, 1e-4, 2),
    "BERT": (
        {
            **{"class": "ProteinBERT", "input_dim": 21, "hidden_dim": 512, "num_layers": 4, "num_heads": 8},
            **{"intermediate_dim": 2048, "hidden_dropout": 0.1, "attention_dropout": 0.1},
        },
        *(5e-5, 8),
    ),
    "LSTM": ({"class": "ProteinLSTM", "input_dim": 21, "hidden_dim": 640, "num_layers": 3}, 5e-5, 8),
    "CNN": (
        {
            **{"class": "ProteinConvolutionalNetwork", "input_dim": 21, "hidden_dims": [1024, 1024]},
            **{"kernel_size": 5, "padding": 2},
        },
        *(1e-4, 32),
    ),
    "ResNet": (
        {"class": "ProteinResNet", "input_dim": 21, "hidden_dims": [512] * 8, "layer_norm": True, "dropout": 0.1},
        *(2e-4, 8),
    ),
}
# objectives of self-prediction: class, its own numbers, proteins a batch with GearNet-Edge
OBJECTIVES = {
    "attr": ("AttributeMasking", {"mask_rate": 0.15}, 96),
    "dis": ("DistancePrediction", {"num_sample": 256}, 128),
    "angle": ("AnglePrediction", {"num_sample": 512, "num_class": 8}, 96),
    "dihedral": ("DihedralPrediction", {"num_sample": 512, "num_class": 8}, 96),
}
RESIDUES = {"class": "ProteinView", "view": "residue"}
PLATEAU = {"class": "ReduceLROnPlateau", "factor": 0.6, "patience": 5}


def fusion(sequence, **more):
    series = more.get("fusion", "series") == "series"
    structure = {**NODES, "input_dim": 1280 if series else 21}
    return {"class": "FusionNetwork", "sequence_model": sequence, "structure_model": structure, **more}


def transform(max_length=None, **more):
    if max_length is None:
        return RESIDUES
    return {
        "class": "Compose",
        "transforms": [RESIDUES, {"class": "TruncateProtein", "max_length": max_length, **more}],
    }


def pretraining(task, batch, epochs, lr=1e-3, cut=None, species_end=22, gpus=GPUS, **more):
    atoms = {"atom_feature": None, "bond_feature": None} if species_end == 22 else {}
    return {
        "output_dir": "~/scratch/protein_output",
        "dataset": {
            **{"class": "AlphaFoldDB", "path": "~/scratch/protein-datasets/alphafold"},
            **{"species_start": 0, "species_end": species_end, **atoms},
            "transform": transform(cut, random=True) if cut else RESIDUES,
        },
        "task": task,
        "optimizer": {"class": "Adam", "lr": lr},
        "engine": {"gpus": gpus, "batch_size": batch, "log_interval": 100},
        "save_interval": 5,
        **more,
        "train": {"num_epoch": epochs},
    }


def contrast(encoder, space=True, edge_feature="gearnet"):
    crops = [{"class": "SubsequenceNode", "max_length": 50}]
    if space:
        crops.append({"class": "SubspaceNode", "entity_level": "residue", "min_neighbor": 15, "min_radius": 15.0})
    model = {
        "class": "MultiviewContrast",
        "crop_funcs": crops,
        "noise_funcs": [{"class": "IdentityNode"}, {"class": "RandomEdgeMask", "mask_rate": 0.15}],
        "model": encoder,
    }
    return {
        "class": "Unsupervised",
        "model": model,
        "graph_construction_model": {**GRAPH, "edge_feature": edge_feature},
    }


def prediction(name, encoder, **graph):
    cls, numbers, _ = OBJECTIVES[name]
    task = {"class": cls, **numbers, "num_mlp_layer": 2, "model": encoder}
    return {**task, "graph_construction_model": {**GRAPH, **graph}}


def functions(dataset, encoder, optimizer, batch, epochs, layers=3, cut=None, gpus=GPUS, **more):
    structural = {} if encoder["class"] in [model["class"] for model, _, _ in SEQUENCE.values()] else GRAPH
    return {
        "output_dir": "~/scratch/protein_output",
        "dataset": {
            **{**dataset, "path": "~/scratch/protein-datasets/", "test_cutoff": 0.95},
            **{"atom_feature": None, "bond_feature": None, "transform": transform(cut)},
        },
        "task": {
            **{"class": "MultipleBinaryClassification", "model": encoder},
            **({"graph_construction_model": structural} if structural else {}),
            **{"criterion": "bce", "num_mlp_layer": layers, "metric": ["auprc@micro", "f1_max"]},
        },
        "optimizer": optimizer,
        "engine": {"gpus": gpus, "batch_size": batch, "log_interval": 1000},
        **more,
        "metric": "f1_max",
        "train": {"num_epoch": epochs},
    }


def fold(encoder):
    return {
        "output_dir": "~/scratch/protein_output",
        "dataset": {
            **{"class": "Fold3D", "path": "~/scratch/protein-datasets/", "test_split": "test_fold"},
            "transform": RESIDUES,
        },
        "task": {
            **{"class": "PropertyPrediction", "num_mlp_layer": 3, "mlp_batch_norm": True, "mlp_dropout": 0.5},
            **{"model": encoder, "graph_construction_model": GRAPH},
            **{"criterion": "ce", "metric": ["acc"], "num_class": 1195},
        },
        "optimizer": {"class": "SGD", "lr": 1e-3, "weight_decay": 5e-4, "momentum": 0.98},
        "scheduler": {"class": "StepLR", "step_size": 50, "gamma": 0.5},
        "engine": {"gpus": GPUS, "batch_size": 2, "log_interval": 1000},
        "model_checkpoint": CKPT,
        "metric": "accuracy [fold_label]",
        "train": {"num_epoch": 300},
    }


# === files ===


def gearnet_repository():
    """All 45: {name: configuration}."""
    files = {}
    for kind, epochs in (("gearnet_edge", 50), ("gearnet_edge_ieconv", 100)):
        encoder, heavy = ENCODERS[kind], kind.endswith("ieconv")
        files[f"pretrain/mc_{kind}"] = pretraining(contrast(encoder), 24 if heavy else 96, epochs)
        for name, (_, _, batch) in OBJECTIVES.items():
            # the one faulty file: TorchDrug's encoder with arguments of the other
            model = {**encoder, "class": "GearNet"} if name == "dihedral" else encoder
            files[f"pretrain/{name}_{kind}"] = pretraining(
                prediction(name, model), 32 if heavy else batch, epochs, cut=100
            )
    files["pretrain/mc_esm_gearnet"] = pretraining(
        contrast(fusion(ESM1), space=False), 48, 50, lr=2e-4, fix_sequence_model=True
    )
    adamw = {"class": "AdamW", "lr": 1e-4, "weight_decay": 0}
    for folder, dataset in FUNCTIONS.items():
        # the other: the one without edges has them
        plain = ENCODERS["gearnet_edge" if folder == "GO-MF" else "gearnet"]
        files[f"downstream/{folder}/gearnet"] = functions(dataset, plain, adamw, 2, 200, scheduler=PLATEAU)
        files[f"downstream/{folder}/gearnet_edge"] = functions(
            *(dataset, ENCODERS["gearnet_edge"], adamw, 2, 50 if folder == "EC" else 200),
            scheduler=PLATEAU,
            model_checkpoint=CKPT,
        )
        for name, (model, lr, batch) in SEQUENCE.items():
            more = {"lr_ratio": 0.1} if name == "ESM" else {}
            files[f"downstream/{folder}/{name}"] = functions(
                *(dataset, model, {"class": "Adam", "lr": lr}, batch, 200),
                layers=2,
                cut=550 if name == "ESM" else None,
                **more,
            )
    enzymes = FUNCTIONS["EC"]
    more = {"scheduler": PLATEAU, "model_checkpoint": CKPT}
    files["downstream/EC/gearnet_edge_1gpu"] = functions(enzymes, ENCODERS["gearnet_edge"], adamw, 8, 50, **more)
    files["downstream/EC/ESM_gearnet"] = functions(
        enzymes, fusion(ESM1), adamw, 2, 50, cut=550, sequence_model_lr_ratio=0.1, **more
    )
    for name, encoder in FOLD_ENCODERS.items():
        files[f"downstream/Fold3D/{name}"] = fold(encoder)
    return files


def esm_gearnet():
    """Those of ESM-GearNet that use GearNet and ESM: {name: configuration}."""
    four, files = [0, 1, 2, 3], {}
    model, epochs = fusion(ESM2), 50
    shared = {"lr": 2e-4, "species_end": 21, "gpus": four, "fix_sequence_model": True}
    files["pretrain/mc_esm_gearnet"] = pretraining(contrast(model, False, edge_feature=None), 48, epochs, **shared)
    for name, long in (("dis", "distance"), ("angle", "angle"), ("dihedral", "dihedral")):
        task = prediction(name, model)
        del task["graph_construction_model"]["edge_feature"]
        files[f"pretrain/{long}_esm_gearnet"] = pretraining(task, 96, epochs, cut=100, **shared)
    adam = {"class": "Adam", "lr": 1e-4}
    kinds = {
        "esm_gearnet": (model, 0.1),
        "esm_gearnet_freeze": (model, 0),
        "esm_gearnet_large_ratio": (model, 1),
        "esm_gearnet_parallel": (fusion(ESM2, fusion="parallel"), 0.1),
        "esm_gearnet_cross": (fusion(ESM2, fusion="cross", cross_dim=512), 0.1),
    }
    for folder, dataset in (("EC", FUNCTIONS["EC"]), ("GO", {"class": "GeneOntology", "branch": "{{ branch }}"})):
        more = {"scheduler": PLATEAU, "cut": 550, "gpus": four}
        for name, (encoder, ratio) in kinds.items():
            files[f"{folder}/{name}"] = functions(
                dataset, encoder, adam, 2, epochs, sequence_model_lr_ratio=ratio, **more
            )
        files[f"{folder}/esm"] = functions(dataset, ESM2, adam, 2, epochs, layers=2, lr_ratio=0.1, **more)
    return files


def as_text(config):
    """The file: variables bare, as they are written there."""

    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data):
            return True

        def represent_float(self, value):
            # YAML 1.1 wants a point in what has an exponent
            text = repr(value)
            return self.represent_scalar("tag:yaml.org,2002:float", text if "." in text else text.replace("e", ".0e"))

    Plain.add_representer(float, Plain.represent_float)
    text = yaml.dump(config, Dumper=Plain, sort_keys=False)
    return text.replace("'{{", "{{").replace("}}'", "}}")
