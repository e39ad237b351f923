"""
TorchDrug's generalised sparse products in plain PyTorch; its own are a C++ extension. Same signatures,
results and gradients (of a minimum or maximum every winner gets it), but all messages exist at once.
"""
import torch

_COMBINE = {"add": torch.add, "mul": torch.mul}


def generalized_spmm(sparse, input, sum="add", mul="mul"):
    r"""
    Return :math:`output_{i,k} = \bigoplus_{j: sparse_{i,j} \neq 0} sparse_{i,j} \otimes input_{j,k}`.

    Parameters:
        sparse (SparseTensor): 2D sparse tensor
        input (Tensor): 2D dense tensor
        sum (str, optional): ``add``, ``min`` or ``max``
        mul (str, optional): ``add`` or ``mul``
    """
    _check("spmm", sum, mul)
    sparse = sparse.coalesce()
    row, column = sparse.indices()
    message = _COMBINE[mul](sparse.values().unsqueeze(-1), input[column])
    return _aggregate(message, row, sparse.shape[0], sum)


def generalized_rspmm(sparse, relation, input, sum="add", mul="mul"):
    r"""
    Return :math:`output_{i,l} = \bigoplus_{j,k} sparse_{i,j,k} \times (relation_{k,l} \otimes input_{j,l})`.

    Parameters:
        sparse (SparseTensor): 3D sparse tensor
        relation (Tensor): 2D dense tensor
        input (Tensor): 2D dense tensor
        sum (str, optional): ``add``, ``min`` or ``max``
        mul (str, optional): ``add`` or ``mul``
    """
    _check("rspmm", sum, mul)
    sparse = sparse.coalesce()
    row, column, layer = sparse.indices()
    message = sparse.values().unsqueeze(-1) * _COMBINE[mul](relation[layer], input[column])
    return _aggregate(message, row, sparse.shape[0], sum)


def _check(name, sum, mul):
    if sum not in ("add", "min", "max") or mul not in _COMBINE:
        raise ValueError("No generalized %s implementation found for summation `%s` and multiplication `%s`. "
                         "Summations are `add`, `min` and `max`, multiplications `add` and `mul`" % (name, sum, mul))


def _aggregate(message, row, num_row, sum):
    index = row.unsqueeze(-1).expand_as(message)
    zeros = message.new_zeros(num_row, message.shape[1])
    if sum == "add":
        return zeros.scatter_add(0, index, message)
    # what the extension leaves where there is no message
    info = torch.finfo(message.dtype)
    values = message.detach()
    best = torch.full_like(zeros, info.max if sum == "min" else info.min)
    best = best.scatter_reduce(0, index, values, "a" + sum)
    # 0 in value, it carries the gradient to the messages that are the best
    winner = values == best[row]
    return best + zeros.scatter_add(0, index, (message - values) * winner)
