"""
Geometry of points as pure tensor functions. Lengths are in Å, angles in radians; the last dimension holds x, y, z.
"""
import torch


def distance(start, end):
    """Euclidean distance of points [..., 3]: shape [...], in Å."""
    return (end - start).norm(dim=-1)


def angle(vector1, vector2):
    """
    Angle between vectors [..., 3]: shape [...], in [0, pi] radians.

    ``atan2(|a x b|, a . b)``: exact near 0 and pi, where the arccosine of the normalised dot product is not. A zero
    vector gives angle 0.
    """
    cross = torch.cross(vector1, vector2, dim=-1).norm(dim=-1)
    return torch.atan2(cross, (vector1 * vector2).sum(dim=-1))
