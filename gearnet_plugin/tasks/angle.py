"""Angle prediction: in which bin is the angle between two edges that were removed?"""

from gearnet_plugin import geometry
from gearnet_plugin.tasks.edges import BinnedPrediction
from gearnet_plugin.tasks.prediction import check_count
from torchdrug import core
from torchdrug.core import Registry as R


@R.register("tasks.EdgeAnglePrediction")
class EdgeAnglePrediction(BinnedPrediction, core.Configurable):
    """
    Pretraining by angle prediction (arXiv 2203.06125, section 3.3): remove pairs of consecutive edges, (k -> j) and
    (j -> i), and predict the bin of the angle i-j-k from the representations of the three residues, in this order.

    With the defaults and ``draws="global"`` the same as TorchDrug's ``AnglePrediction``, except that

    - a protein without such edges is skipped, where TorchDrug takes the edges of another protein for it;
    - there are always ``num_class`` bins, where TorchDrug has one too many for 61, 122 and others;
    - the pairs are not listed but counted, and only the selected ones looked up.

    ``majority accuracy`` and ``frequency cross entropy`` are what the most frequent class and the frequencies of the
    same targets would get.

    Parameters:
        model (nn.Module): node representation model
        num_sample (int, optional): number of edge pairs selected from each graph
        num_class (int, optional): number of classes to discretize the angles, from 0 to pi
        num_mlp_layer (int, optional): number of MLP layers in angle predictor
        graph_construction_model (nn.Module, optional): graph construction model
        remove (str, optional): ``sampled``: the selected edges, as TorchDrug; ``pair``: all edges between the residues
            of each, in both directions and of every relation
        self_loops (bool, optional): whether edges from a residue to itself can be selected, as in TorchDrug; the angle
            with one is 0
        replacement (bool, optional): whether a pair can be selected twice, as in TorchDrug
        draws (str, optional): ``structure``: the selection is a function of protein, seed and epoch (see
            :class:`~gearnet_plugin.tasks.drawing.DrawingTask`); ``global``: from torch's global generator, as TorchDrug
        seed (int, optional): seed of draws by structure; by default that of the run
        max_length (int, optional): of longer proteins so many residues from a random place are taken, drawn like all
            the rest; TorchDrug's transform ``TruncateProtein`` draws from the global generator
    """

    length = 2
    columns = (0, 1, 2)
    stream = "angle"
    needs = "two consecutive edges that lead to another residue"

    def __init__(
        self,
        model,
        num_sample=256,
        num_class=8,
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
        check_count("num_class", num_class, 2)
        self._set_up_edges(
            model,
            num_sample,
            num_class,
            num_mlp_layer,
            graph_construction_model,
            remove,
            self_loops,
            replacement,
            draws,
            seed,
        )
        self._set_max_length(max_length)
        self._set_bins(num_class)

    def measure(self, points):
        point_i, point_j, point_k = points
        return self.classes(geometry.angle(point_i - point_j, point_k - point_j))
