"""Residue graphs made item by item, in the workers of a data loader."""

from gearnet_plugin.graphs import PackedResidueProtein
from torchdrug import core, data
from torchdrug.core import Registry as R


@R.register("transforms.ConstructResidueGraph")
class ConstructResidueGraph(core.Configurable):
    """
    Construct the residue graph of the protein in a sample.

    Edges and features are those that the module makes of a whole batch. Made here, they cost time of the loader's
    workers (``num_worker`` of the engine) in place of the training process, and more to move; the task then takes
    ``graph_construction_model: null``, and crops act on the built graph, as in TorchDrug.

    Parameters:
        graph_construction_model (nn.Module): graph construction, such as ``layers.ResidueGraphConstruction``
        keys (str or list of str, optional): keys for the items whose graph is constructed in a sample
    """

    def __init__(self, graph_construction_model, keys="graph"):
        if not callable(graph_construction_model):
            raise ValueError(
                "graph_construction_model should be a graph construction such as "
                "`layers.ResidueGraphConstruction`, but found `%s`" % type(graph_construction_model).__name__
            )
        self.graph_construction_model = graph_construction_model
        self.keys = [keys] if isinstance(keys, str) else list(keys)

    def __call__(self, item):
        """Return a copy of the sample with constructed graphs."""
        item = item.copy()
        for key in self.keys:
            if key not in item:
                raise ValueError("no `%s` in the sample, which has %s" % (key, ", ".join("`%s`" % k for k in item)))
            item[key] = self.construct(item[key])
        return item

    def construct(self, protein):
        """
        Construct the graph of one protein.

        Parameters:
            protein (Protein): a single protein

        Returns:
            Protein: the same protein with edges
        """
        if not isinstance(protein, data.Graph) or isinstance(protein, data.PackedGraph):
            raise ValueError(
                "the transform takes a single protein, but found `%s`; a batch goes to the graph construction itself"
                % type(protein).__name__
            )
        packed = self.graph_construction_model(type(protein).pack([protein]))
        return packed.single() if isinstance(packed, PackedResidueProtein) else packed[0]
