"""Multiview contrast: stock's loss under stock's draws, learning, wrong input."""
import random

import pytest
import torch

from gearnet_plugin.graphs import ResidueProtein
from gearnet_plugin.models import GearNetEncoder
from gearnet_plugin.tasks import MultiviewContrastive
from proteins import (
    as_stock,
    awkward,
    bundled,
    chain,
    construction,
    double_precision,
    double_weights,
    stock_construction,
    stock_in_our_order,
)
from torchdrug import core, data, models, tasks
from torchdrug.layers import geometry


def functions():
    """The crop and noise functions of the paper."""
    return ([geometry.SubsequenceNode(50), geometry.SubspaceNode("residue", 15.0, 15)],
            [geometry.IdentityNode(), geometry.RandomEdgeMask(0.15)])


def encoder(kind=GearNetEncoder, width=16):
    """A small GearNet-Edge."""
    torch.manual_seed(0)
    return kind(21, [width] * 2, 7, edge_input_dim=59, num_angle_bin=8, short_cut=True, batch_norm=True,
                concat_hidden=True)


def task(draws="global", **kwargs):
    """Our task on a small encoder, with TorchDrug's draws."""
    crop, noise = functions()
    return MultiviewContrastive(encoder(), crop, noise, graph_construction_model=construction(), draws=draws, **kwargs)


def stock_task():
    """TorchDrug's task on a small encoder."""
    crop, noise = functions()
    return tasks.Unsupervised(models.MultiviewContrast(encoder(models.GearNet), crop, noise), stock_construction())


def seeded(seed, function):
    """Call ``function`` with both generators that TorchDrug draws from seeded."""
    random.seed(seed)
    torch.manual_seed(seed)
    return function()


@pytest.mark.parametrize("seed", range(8))
def test_same_draws_same_loss_and_gradients(seed):
    """
    Seeded alike, TorchDrug's task and ours give the same loss and gradients, to 1e-10 in float64; eight seeds meet all
    functions.
    """
    packed = ResidueProtein.pack(awkward() + [chain(120, seed=8)])
    name = "multiview mutual information"
    with double_precision():
        ours, stock = task().double(), stock_task().double()
        stock.load_state_dict(ours.state_dict())
        loss, metric = seeded(seed, lambda: ours({"graph": packed}))
        with stock_in_our_order(), double_weights():
            expected, stock_metric = seeded(seed, lambda: stock({"graph": as_stock(packed)}))
        loss.backward(), expected.backward()
    # TorchDrug subtracts the estimate from a float32 zero, so the loss itself has seven digits there
    assert torch.allclose(metric[name].double(), stock_metric[name].double(), rtol=1e-10)
    assert torch.allclose(loss.double(), expected.double(), rtol=1e-6)
    largest = max(float(p.grad.abs().max()) for p in stock.parameters() if p.grad is not None)
    for (key, a), (_, b) in zip(ours.named_parameters(), stock.named_parameters()):
        assert (a.grad is None) == (b.grad is None), key
        if a.grad is not None:
            assert (a.grad - b.grad).abs().max() <= 1e-10 * largest, key


def stock_view(stock, proteins, kinds):
    """A view as TorchDrug's model draws it; notes which functions were drawn."""
    graph = stock.graph_construction_model(proteins)
    crop = random.sample(stock.model.crop_funcs, 1)[0]
    noise = random.sample(stock.model.noise_funcs, 1)[0]
    kinds.add((type(crop), type(noise)))
    return noise(crop(graph))


def test_same_graphs():
    """The views themselves, edges and features, are those of TorchDrug."""
    packed = ResidueProtein.pack(awkward() + [chain(150, seed=8)])
    ours, stock = task(), stock_task()
    kinds = set()
    for seed in range(12):
        view = seeded(seed, lambda: ours.draw_view(packed))
        with stock_in_our_order():
            expected = seeded(seed, lambda: stock_view(stock, as_stock(packed), kinds))
        assert torch.equal(view.edge_list, expected.edge_list)
        assert torch.equal(view.edge_feature, expected.edge_feature)
        assert torch.equal(view.node_feature, expected.node_feature.float())
    assert len(kinds) == 4, "twelve seeds should meet every pair of functions"


def test_checkpoints_go_both_ways():
    """Keys are TorchDrug's, so a checkpoint of either task loads in the other."""
    ours, stock = task(), stock_task()
    assert list(ours.state_dict()) == list(stock.state_dict())
    stock.load_state_dict(ours.state_dict(), strict=True)
    ours.load_state_dict(stock.state_dict(), strict=True)
    assert ours.encoder is ours.model.model


def test_other_functions_take_the_stock_way():
    """A crop of one's own, and a stock protein, are served too."""
    class FirstHalf(torch.nn.Module):
        def forward(self, graph):
            local = torch.arange(int(graph.num_residue)) - (graph.num_cum_residues
                                                            - graph.num_residues)[graph.residue2graph]
            return graph.subresidue(local * 2 < graph.num_residues[graph.residue2graph])

    own = MultiviewContrastive(encoder(), [FirstHalf()], [geometry.IdentityNode()],
                               graph_construction_model=construction())
    packed = ResidueProtein.pack([chain(40), chain(21)])
    assert own.draw_view(packed).num_residues.tolist() == [20, 11]
    assert own.draw_view(as_stock(packed)).num_residues.tolist() == [20, 11]
    built = MultiviewContrastive(encoder(), [geometry.IdentityNode()], [geometry.IdentityNode()])
    assert torch.equal(built.draw_view(construction()(packed)).edge_list, construction()(packed).edge_list)


def test_learns_on_real_structures():
    """In 60 steps on bundled structures the other view is found far more often than by chance."""
    items = [{"graph": p} for p in bundled(16, longest=200)]
    ours = task()
    optimizer = torch.optim.Adam(ours.parameters(), lr=2e-3)
    batch = data.graph_collate(items)
    random.seed(0)
    torch.manual_seed(0)
    values = []
    for _ in range(60):
        loss, metric = ours(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append([float(v.detach()) for v in (loss, metric["retrieval accuracy"], metric["chance accuracy"])])
    early, late = torch.tensor(values[:10]).mean(0), torch.tensor(values[-10:]).mean(0)
    assert late[2] == pytest.approx(1 / 16)
    assert late[0] < early[0] - 0.5, "the loss should fall from %.2f, got %.2f" % (early[0], late[0])
    assert late[1] > 5 / 16, "retrieval accuracy %.2f" % late[1]


def test_evaluation_averages_over_proteins():
    """predict_and_target and evaluate give what the Engine logs, from batches of different size."""
    ours = task().eval()
    parts = [ours.predict_and_target({"graph": ResidueProtein.pack([chain(30, s) for s in seeds])})
             for seeds in ([1, 2, 3], [4])]
    metric = ours.evaluate(torch.cat([p for p, _ in parts]), torch.cat([t for _, t in parts]))
    assert set(metric) == {"multiview mutual information", "retrieval accuracy", "chance accuracy"}
    assert float(metric["chance accuracy"]) == pytest.approx((3 * (1 / 3) + 1) / 4)


def test_configuration_round_trip():
    """Config to object to config is the identity."""
    ours = task(tau=0.1)
    copy = core.Configurable.load_config_dict(ours.config_dict())
    assert copy.config_dict() == ours.config_dict() and copy.model.tau == 0.1


def test_wrong_arguments():
    """Empty lists and a temperature of zero are refused by name."""
    with pytest.raises(ValueError, match="crop_funcs should name at least one function"):
        MultiviewContrastive(encoder(), [], [geometry.IdentityNode()])
    with pytest.raises(ValueError, match="noise_funcs should name at least one function"):
        MultiviewContrastive(encoder(), [geometry.IdentityNode()], [])
    with pytest.raises(ValueError, match="tau should be a positive number, but found 0"):
        task(tau=0)
