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


def angle_of_rows(vectors1, vectors2):
    """:func:`angle` of vectors whose x, y and z stand in rows [3, n]: shape [n]; several times as fast."""
    (x1, y1, z1), (x2, y2, z2) = vectors1, vectors2
    cross = (y1 * z2 - z1 * y2).square_()
    cross += (z1 * x2 - x1 * z2).square_()
    cross += (x1 * y2 - y1 * x2).square_()
    # a zero vector may give -0.0 here, of which atan2 would make pi
    dot = x1 * x2 + y1 * y2 + z1 * z2 + 0.0
    return torch.atan2(cross.sqrt_(), dot)


def dihedral(point1, point2, point3, point4):
    """
    Angle between the half-planes that the axis from the second to the third of four points [..., 3] forms with the
    first and with the fourth: shape [...], in [0, pi] radians; 0 is cis. Mirror images have the same.

    Where three points are on a line there is no such angle, and 0 is returned.
    """
    axis = point3 - point2
    return angle(torch.cross(axis, point1 - point2, dim=-1), torch.cross(axis, point4 - point3, dim=-1))


def signed_dihedral(point1, point2, point3, point4):
    """
    :func:`dihedral` with the sign of IUPAC: in [-pi, pi] radians, positive where, seen along the axis, the far bond is
    turned clockwise from the near one. The mirror image has the opposite.
    """
    axis = point3 - point2
    near, far = torch.cross(axis, point1 - point2, dim=-1), torch.cross(axis, point4 - point3, dim=-1)
    unsigned = angle(near, far)
    return torch.where((torch.cross(near, far, dim=-1) * axis).sum(dim=-1) < 0, -unsigned, unsigned)
