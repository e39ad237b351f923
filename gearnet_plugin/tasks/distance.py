"""Distance prediction: how long is an edge that was removed?"""

from gearnet_plugin import geometry
from gearnet_plugin.tasks.edges import HiddenEdgePrediction
from torchdrug import core
from torchdrug.core import Registry as R


@R.register("tasks.EdgeDistancePrediction")
class EdgeDistancePrediction(HiddenEdgePrediction, core.Configurable):
    """
    Pretraining by distance prediction (arXiv 2203.06125, section 3.3): remove edges and predict their lengths in Å from
    the representations of their two residues.

    With the defaults and ``draws="global"`` the same as TorchDrug's ``DistancePrediction``, except that a protein
    without edges is skipped, where TorchDrug takes an edge of another protein for it. Its removal leaks: more than 90 %
    of the pairs stay connected by the reverse edge or one of another relation, whose features tell the distance.

    ``mean predictor error`` is the mean squared error of always saying the mean of the same targets.

    Parameters:
        model (nn.Module): node representation model
        num_sample (int, optional): number of edges selected from each graph
        num_mlp_layer (int, optional): number of MLP layers in distance predictor
        graph_construction_model (nn.Module, optional): graph construction model
        remove (str, optional): ``sampled``: the selected edges, as TorchDrug; ``pair``: all edges between their two
            residues, in both directions and of every relation
        self_loops (bool, optional): whether edges from a residue to itself, of length 0, are selected too, as in
            TorchDrug: one of twenty
        replacement (bool, optional): whether an edge can be selected twice, as in TorchDrug
        draws (str, optional): ``structure``: the selection is a function of protein, seed and epoch (see
            :class:`~gearnet_plugin.tasks.drawing.DrawingTask`); ``global``: from torch's global generator, as TorchDrug
        seed (int, optional): seed of draws by structure; by default that of the run
        max_length (int, optional): of longer proteins so many residues from a random place are taken, drawn like all
            the rest; TorchDrug's transform ``TruncateProtein`` draws from the global generator
    """

    length = 1
    columns = (1, 0)
    stream = "distance"
    needs = "an edge"

    def __init__(
        self,
        model,
        num_sample=256,
        num_mlp_layer=2,
        graph_construction_model=None,
        remove="sampled",
        self_loops=True,
        replacement=True,
        draws="structure",
        seed=None,
        max_length=None,
    ):
        super().__init__()
        self._set_up_edges(
            model, num_sample, 1, num_mlp_layer, graph_construction_model, remove, self_loops, replacement, draws, seed
        )
        self._set_max_length(max_length)

    def measure(self, points):
        return geometry.distance(*points)
