"""Dihedral prediction: in which bin is the dihedral angle of three edges that were removed?"""

import math

from gearnet_plugin import geometry
from gearnet_plugin.tasks.edges import BinnedPrediction
from gearnet_plugin.tasks.prediction import check_count, check_flag
from torchdrug import core
from torchdrug.core import Registry as R


@R.register("tasks.EdgeDihedralPrediction")
class EdgeDihedralPrediction(BinnedPrediction, core.Configurable):
    """
    Pretraining by dihedral prediction (arXiv 2203.06125, section 3.3): remove triplets of consecutive edges, (k -> t),
    (t -> j) and (j -> i), and predict the bin of the dihedral angle i-j-t-k from the representations of the four
    residues.

    With the defaults and ``draws="global"`` the same as TorchDrug's ``DihedralPrediction``, except that

    - a protein without such edges is skipped, where TorchDrug takes the edges of another protein for it;
    - there are always ``num_class`` bins, where TorchDrug has one too many for 61, 122 and others;
    - the triplets, millions in a protein, are not listed but counted, and only the selected ones looked up.

    TorchDrug's dihedral has no sign, so that a protein and its mirror image are the same to it. An encoder without
    signed features, such as ``GearNetEncoder``, cannot tell them apart either: ``signed`` is for encoders that can.

    ``majority accuracy`` and ``frequency cross entropy`` are what the most frequent class and the frequencies of the
    same targets would get.

    Parameters:
        model (nn.Module): node representation model
        num_sample (int, optional): number of edge triplets selected from each graph
        num_class (int, optional): number of classes for discretizing the dihedrals, from 0 to pi, or from -pi to pi
            where they are signed
        num_mlp_layer (int, optional): number of MLP layers in dihedral angle predictor
        graph_construction_model (nn.Module, optional): graph construction model
        remove (str, optional): ``sampled``: the selected edges, as TorchDrug; ``pair``: all edges between the residues
            of each, in both directions and of every relation
        self_loops (bool, optional): whether edges from a residue to itself can be selected, as in TorchDrug; the
            dihedral with one is 0
        replacement (bool, optional): whether a triplet can be selected twice, as in TorchDrug
        signed (bool, optional): whether dihedrals have the sign of IUPAC
        order (str, optional): in which order representations are concatenated. ``stock``: i, j, k, t, as TorchDrug;
            ``path``: i, j, t, k
        draws (str, optional): ``structure``: the selection is a function of protein, seed and epoch (see
            :class:`~gearnet_plugin.tasks.drawing.DrawingTask`); ``global``: from torch's global generator, as TorchDrug
        seed (int, optional): seed of draws by structure; by default that of the run
        max_length (int, optional): of longer proteins so many residues from a random place are taken, drawn like all
            the rest; TorchDrug's transform ``TruncateProtein`` draws from the global generator
    """

    length = 3
    stream = "dihedral"
    needs = "three consecutive edges, each leading on to another residue"

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
        signed=False,
        order="stock",
        draws="structure",
        seed=None,
        max_length=None,
    ):
        super().__init__()
        check_count("num_class", num_class, 2)
        check_flag("signed", signed)
        if order not in ("stock", "path"):
            raise ValueError("order should be `stock` or `path`, but found `%s`" % order)
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
        self._set_bins(num_class, -math.pi if signed else 0.0)
        self.signed = signed
        self.columns = (0, 1, 3, 2) if order == "stock" else (0, 1, 2, 3)

    def measure(self, points):
        return self.classes((geometry.signed_dihedral if self.signed else geometry.dihedral)(*points))
