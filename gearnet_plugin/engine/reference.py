"""
How far a protein is from those of a training set, by what the encoder makes of them.

The distance is one of directions: an embedding is brought to length 1, so that the size of a protein, which a sum over
residues shows most of all, counts for nothing; each number is then counted in its standard deviations among the
training proteins, so that what hardly ever varied there shows where it does. Of this the root mean square over the
numbers, to the nearest training protein: about 1.4 would be two proteins drawn at random, 0 the same one.

B proteins, R proteins of the training set, D width of the embeddings.
"""

import torch

#: Training proteins that are kept: 6 MB for an encoder of 6 x 512.
MOST = 1000
#: No number is counted in less than this part of the typical deviation: one that never varied would drown the others.
SMALLEST_SCALE = 0.1


class Reference:
    """
    Embeddings of training proteins to compare others with.

    Parameters:
        rows (Tensor): standardised directions, float16 of shape :math:`(R, D)`
        centre, scale (Tensor): what they were standardised by, shape :math:`(D,)`
    """

    names = ("rows", "centre", "scale")

    def __init__(self, rows, centre, scale):
        self.rows, self.centre, self.scale = rows, centre, scale

    @classmethod
    def fit(cls, embeddings):
        """The reference that embeddings [R, D] of training proteins make."""
        directions = _direction(embeddings.detach().cpu())
        centre = directions.mean(0)
        scale = (directions - centre).square().mean(0).sqrt()
        scale = scale.clamp(min=max(SMALLEST_SCALE * float(scale.square().mean().sqrt()), 1e-6))
        return cls(((directions - centre) / scale).half(), centre, scale)

    def distances(self, embeddings):
        """
        Distance of proteins to the nearest of the training set.

        Parameters:
            embeddings (Tensor): shape :math:`(B, D)`

        Returns:
            Tensor: shape :math:`(B,)`
        """
        own = (_direction(embeddings.detach().cpu()) - self.centre) / self.scale
        rows = self.rows.float()
        nearest = [torch.cdist(part, rows).amin(1) for part in own.split(256)]
        return torch.cat(nearest) / own.shape[1] ** 0.5 if nearest else own.new_zeros(0)

    def state_dict(self):
        """The tensors by name."""
        return {name: getattr(self, name) for name in self.names}


def choose(size, most=MOST):
    """Numbers of at most ``most`` of ``size`` items, the same ones each time, from all over the set."""
    generator = torch.Generator().manual_seed(0)
    return sorted(torch.randperm(size, generator=generator)[:most].tolist())


def _direction(embeddings):
    embeddings = embeddings.float()
    return embeddings / embeddings.norm(dim=1, keepdim=True).clamp(min=1e-12)
