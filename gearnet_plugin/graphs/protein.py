"""
Proteins with one node a residue, its Cα atom, as TorchDrug proteins that are cheap to make, to pack and to move.

A stock ``data.Protein`` carries about twenty atom-level tensors (700 KB for 350 residues) and checks each of them at
every construction. Here only what cannot be derived is stored; the rest has its value made at first access, so every
stock layer, transform and task still finds it.

Shapes: N residues (= nodes), E edges, B proteins.
"""
from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from torchdrug import data

ALPHA_CARBON = data.Protein.atom_name2id["CA"]
CARBON = 6
NUM_RESIDUE_TYPE = len(data.Protein.residue2id)
UNKNOWN = NUM_RESIDUE_TYPE


def _residue_feature(graph):
    """One-hot residue type [N, 21]; an unknown residue has the last place, as in TorchDrug's default feature."""
    code = graph.residue_type.masked_fill(graph.unknown_residue, UNKNOWN)
    return F.one_hot(code, NUM_RESIDUE_TYPE + 1).float()


# sequence distances above count as this one, TorchDrug's `GraphConstruction.max_seq_dist`
MAX_SEQUENCE_DISTANCE = 10


class EdgeCodes(NamedTuple):
    """
    What the edge features of TorchDrug say, in 8 bytes an edge in place of 236; to be read only.

    The last three are None for edge feature ``residue_type``. Values are those of the construction of the edges,
    whatever became of the residues since.
    """

    source_type: torch.Tensor  # [E] whole numbers, residue type
    target_type: torch.Tensor
    relation: torch.Tensor | None = None
    sequence_distance: torch.Tensor | None = None  # at most MAX_SEQUENCE_DISTANCE
    distance: torch.Tensor | None = None  # [E], Å

    def feature(self, num_relation, max_sequence_distance=MAX_SEQUENCE_DISTANCE):
        """One-hot codes and the distance: [E, 40 + num_relation + 12]; for edge feature ``residue_type`` [E, 40]."""
        sizes = [NUM_RESIDUE_TYPE, NUM_RESIDUE_TYPE]
        if self.relation is not None:
            sizes += [int(num_relation), max_sequence_distance + 1]
        codes = torch.stack(self[:len(sizes)], dim=-1).long()
        width = sum(sizes)
        feature = torch.zeros(len(codes), width + (self.distance is not None), dtype=torch.float, device=codes.device)
        feature.scatter_(1, codes + torch.tensor(_starts(sizes), device=codes.device), 1)
        if self.distance is not None:
            feature[:, width] = self.distance
        return feature


def _full(value, dtype, *shape):
    return lambda graph, n: torch.full((n, *shape), value, dtype=dtype, device=graph.device)


# name: (what it belongs to, how it is made from the graph and the number of nodes or edges)
_DERIVED = {
    "atom2residue": ({"node", "residue reference"}, lambda graph, n: torch.arange(n, device=graph.device)),
    "atom_type": ({"node"}, _full(CARBON, torch.long)),
    "atom_name": ({"node"}, _full(ALPHA_CARBON, torch.long)),
    "formal_charge": ({"node"}, _full(0, torch.long)),
    "explicit_hs": ({"node"}, _full(0, torch.long)),
    "chiral_tag": ({"node"}, _full(0, torch.long)),
    "radical_electrons": ({"node"}, _full(0, torch.long)),
    "atom_map": ({"node"}, _full(0, torch.long)),
    "is_hetero_atom": ({"node"}, _full(False, torch.bool)),
    "occupancy": ({"node"}, _full(1.0, torch.float)),
    "b_factor": ({"node"}, _full(0.0, torch.float)),
    "residue_feature": ({"residue"}, lambda graph, n: _residue_feature(graph)),
    "unknown_residue": ({"residue"}, _full(False, torch.bool)),
    "residue_number": ({"residue"}, _full(0, torch.long)),
    "insertion_code": ({"residue"}, _full(0, torch.long)),
    "chain_id": ({"residue"}, _full(0, torch.long)),
    "bond_type": ({"edge"}, _full(0, torch.long)),
    "bond_stereo": ({"edge"}, _full(0, torch.long)),
    "stereo_atoms": ({"edge"}, _full(0, torch.long, 2)),
    "bond_feature": ({"edge"}, lambda graph, n: graph._stored_codes().feature(graph.num_relation)),
}

_NODE, _RESIDUE, _EDGE = {"node"}, {"residue"}, {"edge"}
_NO_EDGES = torch.zeros(0, 3, dtype=torch.long)
_NO_WEIGHTS = torch.zeros(0)
_ZERO = torch.tensor(0)


class _ResidueGraph:
    """What a single and a packed protein share: derived attributes, and moves that copy no more than they must."""

    def __getattr__(self, name):
        if "meta_dict" not in self.__dict__ or name not in _DERIVED \
                or name == "bond_feature" and "edge_code" not in self.meta_dict:
            raise AttributeError("`%s` object has no attribute `%s`" % (type(self).__name__, name))
        kinds, make = _DERIVED[name]
        count = self.num_edge if "edge" in kinds else self.num_residue if "residue" in kinds else self.num_node
        value = make(self, int(count))
        # from now on it is stored, so that changes in place are kept by copies, masks and packs
        self.meta_dict[name] = kinds
        self._setattr(name, value)
        return value

    @property
    def has_unit_weights(self):
        """
        Whether this package gave all edges the weight 1. No look at the values: who computes with edges asks
        ``edge_weight``, which somebody may have changed since.
        """
        return self.__dict__.get("_unit_weights", False)

    @property
    def edge_codes(self):
        """
        The edge features as :class:`EdgeCodes`, or None where they are one's own, are none, or were looked at and so
        may have been changed.
        """
        if "edge_code" not in self.meta_dict or "bond_feature" in self.meta_dict:
            return None
        return self._stored_codes()

    def _stored_codes(self):
        distance = (self.edge_length,) if "edge_length" in self.meta_dict else ()
        return EdgeCodes(*self.edge_code.unbind(dim=-1), *distance)

    @classmethod
    def _light(cls, attributes, meta_dict):
        """Make an object with these attributes and none of the host's checks and defaults."""
        graph = cls.__new__(cls)
        graph.__dict__.update(attributes)
        graph.__dict__.update(meta_dict=meta_dict, _meta_contexts=set())
        return graph

    def _map(self, function):
        """Copy with ``function`` applied to every tensor; derived structures are left behind."""
        attributes = {k: function(v) if isinstance(v, torch.Tensor) else v
                      for k, v in self.__dict__.items() if not k.startswith("_cached")}
        return self._light(attributes, dict(self.meta_dict))

    def data_mask(self, *args, **kwargs):
        # nodes and residues may part ways in what follows: derive now which node belongs to which residue
        _ = self.atom2residue
        return super().data_mask(*args, **kwargs)

    def clone(self):
        """Copy this protein and its tensors."""
        return self._map(torch.Tensor.clone)

    def detach(self):
        """Copy this protein, detached from the autograd graph."""
        return self._map(torch.Tensor.detach)

    def to(self, device, *args, **kwargs):
        """Return this protein on ``device``; itself if it is there."""
        device = torch.device(device)
        if device.type == self.device.type and device.index in (None, self.device.index):
            return self
        return self._map(lambda x: x.to(device, *args, **kwargs))

    def cuda(self, device=None, *args, **kwargs):
        """Return this protein in CUDA memory."""
        device = torch.device("cuda" if device is None else device)
        return self.to(device, *args, **kwargs)

    def cpu(self):
        """Return this protein in CPU memory."""
        return self.to("cpu")

    def pin_memory(self, *args):
        """Return this protein in page-locked memory; torch's DataLoader calls it."""
        return self._map(lambda x: x.pin_memory(*args))


class ResidueProtein(_ResidueGraph, data.Protein):
    """
    A protein with one node a residue, at its Cα atom.

    Made by :meth:`from_arrays` or :meth:`from_structure`. The constructor takes what ``data.Protein`` takes, because
    stock operations call it; missing atom attributes are those of Cα atoms.
    """

    def __init__(self, edge_list=None, atom_type=None, bond_type=None, residue_type=None, view="residue",
                 num_node=None, num_relation=None, **kwargs):
        num_node, kwargs = _host_defaults(residue_type, num_node, kwargs)
        num_edge = 0 if edge_list is None else len(edge_list)
        atom_type = [CARBON] * num_node if atom_type is None else atom_type
        bond_type = [0] * num_edge if bond_type is None else bond_type
        super().__init__(edge_list, atom_type, bond_type, residue_type, view=view, num_node=num_node,
                         num_relation=num_relation, **kwargs)

    @classmethod
    def from_arrays(cls, node_position, residue_type, chain_id=None, residue_number=None, insertion_code=None,
                    b_factor=None, unknown="glycine"):
        """
        Make a protein from arrays, without copying them where the type is right.

        Parameters:
            node_position (array_like): Cα positions of shape :math:`(N, 3)`, in Å
            residue_type (array_like): residue types of shape :math:`(N,)` in TorchDrug's order; 20 is unknown
            chain_id (array_like, optional): equal numbers mark residues of one chain, shape :math:`(N,)`
            residue_number (array_like, optional): author residue numbers of shape :math:`(N,)`
            insertion_code (array_like, optional): insertion codes by place in TorchDrug's alphabet, shape :math:`(N,)`
            b_factor (array_like, optional): B-factors or pLDDT of shape :math:`(N,)`
            unknown (str, optional): residue type that an unknown residue counts as in edge features. ``glycine`` is
                what TorchDrug does. Its node feature has its own place either way.

        Raises:
            ValueError: arrays of different lengths, residue types outside 0..20, no residue
        """
        position = torch.as_tensor(node_position, dtype=torch.float)
        code = torch.as_tensor(residue_type).long()
        n = len(code)
        if n == 0:
            raise ValueError("a protein needs at least one residue, but `residue_type` is empty")
        if position.shape != (n, 3):
            raise ValueError("node_position should have shape (%d, 3) like the %d residue types, but found %s"
                             % (n, n, tuple(position.shape)))
        if int(code.min()) < 0 or int(code.max()) > UNKNOWN:
            raise ValueError("residue_type should be in 0..%d (%d is unknown), but found %d..%d"
                             % (UNKNOWN, UNKNOWN, code.min(), code.max()))
        _check_unknown(unknown)
        optional = [("chain_id", chain_id, torch.long), ("residue_number", residue_number, torch.long),
                    ("insertion_code", insertion_code, torch.long), ("b_factor", b_factor, torch.float)]
        values = {}
        for name, value, dtype in optional:
            if value is not None:
                value = torch.as_tensor(value).to(dtype)
                if value.shape != (n,):
                    raise ValueError("%s should have shape (%d,) like the residue types, but found %s"
                                     % (name, n, tuple(value.shape)))
                values[name] = value
        missing = code == UNKNOWN
        return cls._make(position, code.masked_fill(missing, 0), missing, values)

    @classmethod
    def _make(cls, position, code, missing, values):
        """Make a protein from tensors of the right types and shapes."""
        attributes = {"node_position": position, "residue_type": code, "unknown_residue": missing, **values}
        # like the host, all proteins share the sets that say what an attribute belongs to
        meta = {"node_position": _NODE, "residue_type": _RESIDUE, "unknown_residue": _RESIDUE}
        for name in values:
            meta[name] = _DERIVED[name][0]
        count = _count(code.shape[0])
        attributes.update(view="residue", num_atom=count, num_residue=count, num_bond=_ZERO,
                          num_relation=None, _edge_list=_NO_EDGES, _edge_weight=_NO_WEIGHTS, _unit_weights=True)
        return cls._light(attributes, meta)

    @classmethod
    def from_residues(cls, residues, unknown="glycine"):
        """
        Make a protein from an item of a store, :class:`gearnet_plugin.structures.shard.ResidueArrays`.

        The same as :meth:`from_structure` of that structure, without making its texts. All tensors are the protein's
        own.
        """
        _check_unknown(unknown)
        # One array for all whole numbers, because an item has to cost less than the calls that would make five.
        types = residues.residue_types
        numbers = np.empty((4, len(types)), dtype=np.int64)
        missing = types == UNKNOWN
        numbers[0] = types
        if missing.any():
            numbers[0][missing] = 0
        runs = _run_places(tuple(residues.run_chains), tuple(residues.run_codes))
        if len(residues.run_chains) == 1:
            numbers[1:3] = runs
            first = int(residues.run_numbers[0])
            numbers[3] = np.arange(first, first + len(types))
        else:
            numbers[1:3] = np.repeat(runs, residues.run_lengths, axis=1)
            numbers[3] = residues.residue_numbers
        residue_type, chain_id, insertion_code, residue_number = torch.from_numpy(numbers).unbind()
        return cls._make(torch.from_numpy(residues.positions), residue_type, torch.from_numpy(missing), {
            "chain_id": chain_id, "residue_number": residue_number, "insertion_code": insertion_code,
            "b_factor": torch.from_numpy(residues.confidence.astype(np.float32))})

    @classmethod
    def from_structure(cls, structure, unknown="glycine"):
        """
        Make a protein from a :class:`gearnet_plugin.structures.Structure`; all its chains become one graph.

        A chain gets the place of its id in TorchDrug's alphabet when all ids are there, else a running number.
        """
        return cls.from_arrays(structure.positions, structure.residue_types,
                               chain_id=_chain_places(structure.chain_ids.tolist()),
                               residue_number=structure.residue_numbers,
                               insertion_code=_code_places(structure.insertion_codes.tolist()),
                               b_factor=structure.confidence, unknown=unknown)

    @classmethod
    def pack(cls, graphs):
        """
        Pack proteins into one batch: one concatenation a field.

        A field that only some of them hold is derived for the others.
        """
        if not graphs:
            raise ValueError("a batch needs at least one protein, but found none")
        keys = {}
        for graph in graphs:
            keys.update(graph.meta_dict)
        _check_edges(graphs, keys)
        nodes = [int(graph.num_atom) for graph in graphs]
        residues = [int(graph.num_residue) for graph in graphs]
        edges = [graph._edge_list.shape[0] for graph in graphs]
        starts = {"node reference": _starts(nodes), "residue reference": _starts(residues),
                  "edge reference": _starts(edges), "graph reference": range(len(graphs))}
        attributes = {}
        for name, kinds in keys.items():
            values = [getattr(graph, name) for graph in graphs]
            for kind in kinds:
                if kind == "graph":
                    values = [value.unsqueeze(0) for value in values]
                elif kind in starts:
                    values = [torch.where(v >= 0, v + start, v) for v, start in zip(values, starts[kind])]
            attributes[name] = torch.cat(values)
        device = graphs[0].device
        attributes.update(view=graphs[0].view, num_relation=graphs[0].num_relation,
                          _unit_weights=all(graph.has_unit_weights for graph in graphs))
        packed = PackedResidueProtein._light(attributes, keys)
        packed._set_sizes(torch.tensor(nodes, device=device), torch.tensor(residues, device=device))
        num_edges = torch.tensor(edges, device=device)
        # items of a dataset have no edges yet
        edge_list, edge_weight = graphs[0]._edge_list[:0], graphs[0]._edge_weight[:0]
        if sum(edges):
            edge_list = torch.cat([graph._edge_list for graph in graphs])
            edge_weight = torch.cat([graph._edge_weight for graph in graphs])
            edge_list[:, :2] += (packed.num_cum_nodes - packed.num_nodes).repeat_interleave(num_edges).unsqueeze(-1)
        packed._set_edges(edge_list, num_edges, edge_weight)
        return packed


class PackedResidueProtein(_ResidueGraph, data.PackedProtein):
    """A batch of :class:`ResidueProtein`. Edges of one protein are consecutive."""

    unpacked_type = ResidueProtein

    def __init__(self, edge_list=None, atom_type=None, bond_type=None, residue_type=None, view="residue",
                 num_nodes=None, num_edges=None, num_residues=None, num_relation=None, **kwargs):
        num_nodes = num_residues if num_nodes is None else num_nodes
        # the host's `data.cat` leaves one of the two out
        num_residues = num_nodes if num_residues is None else num_residues
        num_node, kwargs = _host_defaults(residue_type, int(torch.as_tensor(num_nodes).sum()), kwargs)
        num_edge = 0 if edge_list is None else len(edge_list)
        atom_type = [CARBON] * num_node if atom_type is None else atom_type
        bond_type = [0] * num_edge if bond_type is None else bond_type
        super().__init__(edge_list=edge_list, atom_type=atom_type, bond_type=bond_type, residue_type=residue_type,
                         view=view, num_nodes=num_nodes, num_edges=num_edges, num_residues=num_residues,
                         num_relation=num_relation, **kwargs)

    def _set_sizes(self, num_nodes, num_residues):
        self.__dict__.update(
            num_atoms=num_nodes, num_cum_nodes=num_nodes.cumsum(0), num_atom=num_nodes.sum(),
            num_residues=num_residues, num_cum_residues=num_residues.cumsum(0), num_residue=num_residues.sum())

    def _set_edges(self, edge_list, num_edges, edge_weight=None):
        """Set edges [E, 3] in absolute node numbers, sorted by protein."""
        if edge_weight is None:
            edge_weight = torch.ones(len(edge_list), device=edge_list.device)
            self.__dict__["_unit_weights"] = True
        starts = self.num_cum_nodes - self.num_nodes
        self.__dict__.update(
            _edge_list=edge_list, _edge_weight=edge_weight, num_bonds=num_edges, num_cum_edges=num_edges.cumsum(0),
            num_bond=torch.tensor(len(edge_list), device=edge_list.device),
            _offsets=starts.repeat_interleave(num_edges, output_size=len(edge_list)))

    def _without(self, *kinds):
        """Attributes and meta types of this batch, less those of some kinds and what was derived from edges."""
        meta = {k: v for k, v in self.meta_dict.items() if not v & set(kinds)}
        attributes = {k: getattr(self, k) for k in meta}
        attributes.update(view=self.view, num_relation=self.num_relation, _unit_weights=self.has_unit_weights)
        return attributes, meta

    def with_edges(self, edge_list, num_relation, edge_feature=None, num_edges=None):
        """
        Return this batch with other edges.

        Parameters:
            edge_list (Tensor): edges of shape :math:`(E, 3)`: source node, target node, relation; absolute node
                numbers, sorted by protein
            num_relation (int): number of relations
            edge_feature (Tensor or EdgeCodes, optional): edge features of shape :math:`(E, ...)`, or codes below 256
                of which they are made at first access
            num_edges (LongTensor, optional): number of edges in each protein, if it is known, of shape :math:`(B,)`
        """
        attributes, meta = self._without("edge", "edge reference")
        if isinstance(edge_feature, EdgeCodes):
            codes = [code for code in edge_feature[:4] if code is not None]
            attributes["edge_code"] = torch.stack([code.to(torch.uint8) for code in codes], dim=-1)
            meta["edge_code"] = _EDGE
            if edge_feature.distance is not None:
                attributes["edge_length"] = edge_feature.distance
                meta["edge_length"] = _EDGE
        elif edge_feature is not None:
            attributes["bond_feature"] = edge_feature
            meta["bond_feature"] = _EDGE
        attributes["num_relation"] = torch.tensor(num_relation, device=edge_list.device)
        graph = self._light(attributes, meta)
        graph._set_sizes(self.num_nodes, self.num_residues)
        if num_edges is None:
            num_edges = self.node2graph[edge_list[:, 0]].bincount(minlength=self.batch_size)
        graph._set_edges(edge_list, num_edges)
        return graph

    def single(self):
        """The protein of a batch of one, with the batch's own tensors. Faster than ``[0]``, which copies and checks."""
        if self.batch_size != 1:
            raise ValueError("a batch of one protein is needed, but it has %d" % self.batch_size)
        attributes, meta = self._without()
        for name, kinds in meta.items():
            if "graph" in kinds:
                attributes[name] = attributes[name].squeeze(0)
        attributes.update(num_atom=self.num_node, num_residue=self.num_residue, num_bond=self.num_edge,
                          _edge_list=self._edge_list, _edge_weight=self._edge_weight)
        return ResidueProtein._light(attributes, meta)

    def edge_mask(self, index):
        """Return this batch with the edges ``index`` (numbers or a mask) only."""
        index = self._standarize_index(index, self.num_edge)
        attributes, meta = self._without()
        for name, kinds in meta.items():
            if "edge" in kinds:
                attributes[name] = attributes[name][index]
        graph = self._light(attributes, meta)
        graph._set_sizes(self.num_nodes, self.num_residues)
        graph._set_edges(self._edge_list[index], self._get_num_xs(index, self.num_cum_edges), self._edge_weight[index])
        return graph

    def residue_mask(self, index, compact=False):
        """
        Return this batch with the residues ``index`` (increasing numbers or a mask) and the edges between them.

        Without ``compact``, or where residues and nodes differ, this is the host's method.
        """
        index = self._standarize_index(index, self.num_residue)
        if not compact or self.num_node != self.num_residue or (torch.diff(index) <= 0).any():
            return super().residue_mask(index, compact)
        new = torch.full((int(self.num_residue),), -1, dtype=torch.long, device=self.device)
        new[index] = torch.arange(len(index), device=self.device)
        kept_edges = (new[self._edge_list[:, :2]] >= 0).all(dim=-1).nonzero().squeeze(-1)
        attributes, meta = self._without()
        for name, kinds in meta.items():
            if "node" in kinds or "residue" in kinds:
                attributes[name] = attributes[name][index]
            elif "edge" in kinds:
                attributes[name] = attributes[name][kept_edges]
            if "residue reference" in kinds or "node reference" in kinds:
                value = attributes[name]
                attributes[name] = torch.where(value >= 0, new[value.clamp(min=0)], value)
        edge_list = self._edge_list[kept_edges]
        edge_list[:, :2] = new[edge_list[:, :2]]
        graph = self._light(attributes, meta)
        num_residues = self.node2graph[index].bincount(minlength=self.batch_size)
        graph._set_sizes(num_residues, num_residues)
        num_edges = self._get_num_xs(kept_edges, self.num_cum_edges) if len(self.num_cum_edges) else self.num_edges
        graph._set_edges(edge_list, num_edges, self._edge_weight[kept_edges])
        return graph


ResidueProtein.packed_type = PackedResidueProtein


def _check_edges(graphs, keys):
    """Edges of proteins that are packed should come from one construction."""
    relations = {None if graph.num_relation is None else int(graph.num_relation) for graph in graphs}
    if len(relations) > 1:
        found = ", ".join("none" if number is None else str(number) for number in sorted(relations, key=str))
        raise ValueError("the proteins of a batch should have edges of one construction, but their numbers of "
                         "relations differ: %s. Construct the graph of all of them, or of none" % found)
    with_codes = [graph for graph in graphs if "edge_code" in graph.meta_dict]
    if not with_codes:
        return
    widths = {(graph.edge_code.shape[1], int(graph.num_relation)) for graph in with_codes}
    if len(with_codes) < len(graphs) and "bond_feature" not in keys or len(widths) > 1:
        raise ValueError("the proteins of a batch should have edges of one construction, but among the %d with edge "
                         "features of %d proteins are other features or another number of relations"
                         % (len(with_codes), len(graphs)))


def _check_unknown(unknown):
    if unknown != "glycine":
        raise ValueError("unknown should be `glycine`, but found `%s`" % unknown)


def _chain_places(chains):
    """Each chain id as its place in TorchDrug's alphabet if all ids are there, else as a running number."""
    alphabet = data.Protein.alphabet2id
    known = list(dict.fromkeys(chains))
    # TorchDrug writes a blank for place 0, which is also what a file without chain ids has
    inside = all((chain or " ") in alphabet for chain in known)
    places = {chain: alphabet[chain or " "] if inside else number for number, chain in enumerate(known, 1)}
    return [places[chain] for chain in chains]


@lru_cache(maxsize=1024)
def _run_places(chains, codes):
    """Places of chain ids and insertion codes, of shape (2, R). Most structures are one run of chain A."""
    return np.array([_chain_places(chains), _code_places(codes)])


@cache
def _count(number):
    """A number as a tensor; nobody changes a size in place."""
    return torch.tensor(number)


def _code_places(codes):
    """Each insertion code as its place in TorchDrug's alphabet, 0 for none."""
    return [data.Protein.alphabet2id.get(code or " ", 0) for code in codes]


def _starts(sizes):
    starts, total = [], 0
    for size in sizes:
        starts.append(total)
        total += size
    return starts


def _host_defaults(residue_type, num_node, kwargs):
    """Fill what a stock operation leaves out when it makes one of our proteins anew."""
    if residue_type is None:
        raise ValueError("`residue_type` should be provided: the residue types of shape (N,)")
    num_node = len(residue_type) if num_node is None else int(num_node)
    kwargs = dict(kwargs)
    if kwargs.get("atom2residue") is None:
        if num_node != len(residue_type):
            raise ValueError("atom2residue should be given when there are %d nodes but %d residues"
                             % (num_node, len(residue_type)))
        kwargs["atom2residue"] = torch.arange(num_node)
    if kwargs.get("atom_name") is None:
        kwargs["atom_name"] = torch.full((num_node,), ALPHA_CARBON)
    if kwargs.get("unknown_residue") is None:
        kwargs.pop("unknown_residue", None)
    if kwargs.get("residue_feature") is None:
        # derived from residue types and `unknown_residue` at first access
        kwargs.pop("residue_feature", None)
    return num_node, kwargs
