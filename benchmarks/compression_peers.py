"""The published formulas in vectorised torch: what the kit's codecs are measured beside.

Each is the fastest that was found of a few ways to write it, in place where torch can, and packs
into as many bytes as the kit's codec, unless it says otherwise. Nothing but these functions is
timed, and their source is printed with the results.
"""

from __future__ import annotations

import torch
from torch.distributed.algorithms.ddp_comm_hooks.powerSGD_hook import _orthogonalize

EIGHT = torch.tensor([[-1.0 if byte >> i & 1 else 1.0 for i in range(8)] for byte in range(256)])
TWO = torch.tensor([[float(byte & 15), float(byte >> 4)] for byte in range(256)])
FIVE = torch.tensor([[float(b // 3**i % 3 - 1) for i in range(5)] for b in range(243)])


def sign_encode(x):
    """Bernstein 2018, Karimireddy 2019: the mean of |x|, and a bit of each sign."""
    scale = x.abs().mean()
    less = (x < 0).view(torch.uint8).view(-1, 8)
    packed = less[:, 0].clone()
    for i in range(1, 8):
        packed |= less[:, i] << i
    return scale, packed


def sign_by_words_encode(x):
    """The same with a trick: eight booleans are a word; one product brings their bits together."""
    scale = x.abs().mean()
    words = (x < 0).view(torch.int64)
    return scale, words.mul_(0x0102040810204080).bitwise_right_shift_(56).to(torch.uint8)


def sign_decode(scale, packed):
    return (EIGHT * scale).index_select(0, packed.int()).view(-1)


def qsgd_encode(x, s=7, bucket=512):
    """Alistarh 2017, section 3.1, in buckets: one of 2 s + 1 = 15 levels, two in a byte."""
    x = x.view(-1, bucket)
    norms = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    levels = x.abs().mul_(s / norms).add_(torch.rand_like(x)).floor_()
    pairs = levels.copysign_(x).add_(s).to(torch.uint8).view(torch.int16)
    return norms, (pairs >> 4).bitwise_or_(pairs).to(torch.uint8).view(-1)


def qsgd_decode(norms, packed, s=7, bucket=512):
    pairs = TWO.sub(s).view(torch.int64).view(-1)  # two float32 are taken as one number
    levels = pairs.index_select(0, packed.int()).view(torch.float32)
    return levels.view(-1, bucket).mul_(norms / s).view(-1)


def terngrad_encode(x):
    """Wen 2017, equations 1 to 3: -1, 0 or 1, five in a byte, the last ones filled up."""
    scale = torch.maximum(x.max(), -x.min())
    digits = x.abs().div_(scale).gt_(torch.rand_like(x)).copysign_(x).add_(1).to(torch.uint8)
    digits = torch.nn.functional.pad(digits, (0, -len(x) % 5)).view(-1, 5)
    packed = digits[:, 4].clone()
    for i in (3, 2, 1, 0):
        packed.mul_(3).add_(digits[:, i])
    return scale, packed, len(x)


def terngrad_decode(scale, packed, d):
    return (FIVE * scale).index_select(0, packed.int()).view(-1)[:d]


def terngrad_by_fours_encode(x):
    """The same in 2 bits each, four in a byte: a quarter more bytes."""
    scale = torch.maximum(x.max(), -x.min())
    digits = x.abs().div_(scale).gt_(torch.rand_like(x)).copysign_(x).add_(1).to(torch.uint8)
    digits = digits.view(-1, 4)
    packed = digits[:, 0].clone()
    for i in (1, 2, 3):
        packed |= digits[:, i] << 2 * i
    return scale, packed


def terngrad_by_fours_decode(scale, packed):
    table = torch.tensor([[float(b >> 2 * i & 3) - 1 for i in range(4)] for b in range(256)])
    return (table * scale).index_select(0, packed.int()).view(-1)


def top_k_encode(x, k):
    """Aji & Heafield 2017: the k largest; indices in 32 bits, unpacked, which is less work."""
    indices = torch.topk(x.abs(), k, sorted=False).indices
    return x.index_select(0, indices), indices.int(), len(x)


def top_k_decode(values, indices, d):
    return torch.zeros(d).index_copy_(0, indices.long(), values)


def power_sgd_encode(matrix, q):
    """What DDP's powerSGD_hook computes of a bucket's matrix, (1, n, m), by q, (1, m, r)."""
    p = torch.bmm(matrix, q)
    _orthogonalize(p)
    return p, torch.bmm(matrix.transpose(1, 2), p)


def power_sgd_decode(p, q):
    return torch.bmm(p, q.transpose(1, 2))


def fp16_encode(x):
    """What DDP's fp16_compress_hook does to a bucket."""
    return (x.to(torch.float16),)


def fp16_decode(short):
    return short.to(torch.float32)
