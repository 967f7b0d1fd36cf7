"""The Diffusion Autoencoder's network: a semantic encoder and the U-Net that it conditions.

Module names follow the published checkpoints, so that those load by name.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gcd_core.errors import GCDError
from gcd_core.generators.diffae.group_norm import GroupNorm

NORM_GROUPS = 32

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Architecture:
    """What determines every parameter's name and shape (keys as in the official configuration).

    Sizes of features are multiples of ``model_channels``: one multiplier a resolution level, each
    level half as wide as the one before. ``attention_resolutions`` are widths in pixels.
    """

    image_size: int
    in_channels: int
    out_channels: int
    model_channels: int
    channel_mult: tuple[int, ...]
    enc_channel_mult: tuple[int, ...]
    num_res_blocks: int
    enc_num_res_block: int
    attention_resolutions: tuple[int, ...]
    embed_channels: int
    enc_out_channels: int
    enc_pool: str = "adaptivenonzero"
    num_heads: int = 1
    num_head_channels: int = -1
    num_heads_upsample: int = -1
    dropout: float = 0.1
    resblock_updown: bool = True
    resnet_two_cond: bool = True
    conv_resample: bool = True

    @classmethod
    def from_config(cls, config: Mapping) -> Architecture:
        """Check a configuration's keys and values; raise :class:`GCDError` naming the wrong one."""
        known = {field.name: field for field in fields(cls)}
        unknown = sorted(set(config) - set(known))
        if unknown:
            raise GCDError(
                f"The generator's configuration has the unknown key {unknown[0]!r}; "
                f"remove it (known: {', '.join(known)})."
            )
        missing = [k for k, f in known.items() if f.default is MISSING and k not in config]
        if missing:
            raise GCDError(f"The generator's configuration lacks the key {missing[0]!r}; add it.")
        values = {
            name: _checked(name, value, str(known[name].type)) for name, value in config.items()
        }
        architecture = cls(**values)
        architecture._check()
        return architecture

    def to_config(self) -> dict:
        """Return the flat configuration, ready for JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    def _check(self) -> None:
        fixed = {"enc_pool": "adaptivenonzero", "resblock_updown": True, "resnet_two_cond": True}
        for name, only in fixed.items():
            if getattr(self, name) != only:
                raise GCDError(
                    f"The configuration's {name!r} is {getattr(self, name)!r}; "
                    f"this implementation has only {only!r}, as the published models."
                )
        if self.out_channels != self.in_channels:
            raise GCDError(
                f"The configuration's 'out_channels' is {self.out_channels} but 'in_channels' is "
                f"{self.in_channels}; a model of the noise needs them equal."
            )
        if self.enc_out_channels != self.embed_channels:
            raise GCDError(
                f"The configuration's 'enc_out_channels' is {self.enc_out_channels} but "
                f"'embed_channels' is {self.embed_channels}; make them equal (the size of z_sem)."
            )
        if self.model_channels % NORM_GROUPS:
            raise GCDError(
                f"The configuration's 'model_channels' is {self.model_channels}; "
                f"choose a multiple of {NORM_GROUPS}."
            )
        halvings = len(self.channel_mult) - 1
        if self.image_size % 2**halvings:
            raise GCDError(
                f"The configuration's 'image_size' is {self.image_size}, which cannot be halved "
                f"{halvings} times as 'channel_mult' asks; use fewer levels or another size."
            )
        if self.image_size < 2 ** (len(self.enc_channel_mult) - 1):
            raise GCDError(
                f"The configuration's 'enc_channel_mult' has {len(self.enc_channel_mult)} levels, "
                f"too many for 'image_size' {self.image_size}; use fewer."
            )


def _checked(name: str, value: Any, annotation: str) -> Any:
    """The value of an architecture's key, a list as a tuple; refuse one of another type."""

    def whole(number: object) -> bool:
        return isinstance(number, int) and not isinstance(number, bool)

    if annotation == "int":
        fine = whole(value) and (value > 0 or (value == -1 and name.startswith("num_head")))
    elif annotation == "float":
        fine = isinstance(value, (int, float)) and 0 <= value < 1
    elif annotation.startswith("tuple"):
        fine = isinstance(value, (list, tuple)) and all(whole(n) and n > 0 for n in value)
        fine = fine and (len(value) > 0 or name == "attention_resolutions")
        value = tuple(value) if fine else value
    else:
        fine = isinstance(value, {"bool": bool, "str": str}[annotation])
    if not fine:
        raise GCDError(
            f"The configuration's {name!r} is {value!r}; expected {annotation}"
            f"{' above 0' if annotation == 'int' else ''}."
        )
    return value


def timestep_embedding(t: Tensor, size: int) -> Tensor:
    """Embed time steps (N,) as cosines and sines (N, size) of geometrically spaced frequencies."""
    half = size // 2
    exponents = torch.arange(half, dtype=torch.float32, device=t.device) / half
    angles = t[:, None].float() * torch.exp(-math.log(10000) * exponents)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def _norm(channels: int) -> GroupNorm:
    return GroupNorm(NORM_GROUPS, channels)


def _zero(module: M) -> M:
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v for (N, heads, pixels, d)."""
    if q.requires_grad and q.device.type == "cpu":  # the fused kernel is slow to differentiate
        return (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(dim=-1) @ v
    return F.scaled_dot_product_attention(q, k, v)


class ResBlock(nn.Module):
    """Residual block, optionally conditioned on time and z_sem, optionally halving or doubling.

    With ``emb_size`` set, ``h = (1 + scale_z)((1 + scale_t) norm(h) + shift_t)`` stands between its
    two convolutions (the official "two condition" block); without, it has one convolution.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        emb_size: int | None,
        dropout: float,
        resize: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.resize = resize or nn.Identity()
        self.in_layers = nn.Sequential(
            _norm(channels), nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1)
        )
        self.conditioned = emb_size is not None
        if emb_size is not None:
            self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb_size, 2 * out_channels))
            self.cond_emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(emb_size, out_channels))
            self.out_layers = nn.Sequential(
                _norm(out_channels),
                nn.SiLU(),
                nn.Dropout(dropout),
                _zero(nn.Conv2d(out_channels, out_channels, 3, padding=1)),
            )
        self.skip_connection = (
            nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)
        )

    def forward(self, x: Tensor, emb: Tensor | None, cond: Tensor | None) -> Tensor:
        """(N, channels, H, W) to (N, out_channels, H', W') under embeddings (N, emb_size)."""
        norm, silu, conv = self.in_layers
        h = conv(self.resize(silu(norm(x))))
        if self.conditioned:
            scale, shift = self.emb_layers(emb)[..., None, None].chunk(2, dim=1)
            gain = 1 + self.cond_emb_layers(cond)[..., None, None]
            norm, silu, dropout, conv = self.out_layers
            # One multiplication and one addition a pixel: gain * ((1 + scale) * norm(h) + shift).
            h = torch.addcmul(gain * shift, norm(h), gain * (1 + scale))
            h = conv(dropout(silu(h)))
        return self.skip_connection(self.resize(x)) + h


class AttentionBlock(nn.Module):
    """Self-attention over pixels, added to its input; queries, keys and values lie by head."""

    def __init__(self, channels: int, num_heads: int, num_head_channels: int) -> None:
        super().__init__()
        heads = num_heads if num_head_channels == -1 else channels // num_head_channels
        size = channels // num_heads if num_head_channels == -1 else num_head_channels
        if heads * size != channels:
            raise GCDError(
                f"{channels} channels cannot be split into the attention heads that the "
                f"configuration asks for (num_heads {num_heads}, num_head_channels "
                f"{num_head_channels}); choose a divisor."
            )
        self.heads = heads
        self.norm = _norm(channels)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = _zero(nn.Conv1d(channels, channels, 1))

    def forward(self, x: Tensor, emb: Tensor | None = None, cond: Tensor | None = None) -> Tensor:
        """(N, channels, H, W) to the same shape; the embeddings change nothing here."""
        n, c, height, width = x.shape
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        qkv = F.linear(tokens, self.qkv.weight.squeeze(-1), self.qkv.bias)
        qkv = qkv.view(n, height * width, self.heads, 3, c // self.heads)
        q, k, v = qkv.permute(3, 0, 2, 1, 4)
        h = _attend(q, k, v).transpose(1, 2).flatten(2)
        h = F.linear(h, self.proj_out.weight.squeeze(-1), self.proj_out.bias)
        return x + h.transpose(1, 2).view(n, c, height, width)


class Conditioned(nn.Sequential):
    """A sequence whose blocks get the embeddings of time and z_sem beside their input."""

    def forward(self, x: Tensor, emb: Tensor | None = None, cond: Tensor | None = None) -> Tensor:
        """(N, C, H, W) through all blocks, under the embeddings of time and z_sem, (N, D) each."""
        for layer in self:
            x = layer(x) if isinstance(layer, nn.Conv2d) else layer(x, emb, cond)
        return x


def _descent(
    a: Architecture, multipliers: tuple[int, ...], blocks: int, emb_size: int | None
) -> tuple[nn.ModuleList, list[int], int]:
    """The contracting half, the channels that each of its blocks gives, and the last resolution."""
    channels, resolution = a.model_channels * multipliers[0], a.image_size
    layers = nn.ModuleList([Conditioned(nn.Conv2d(a.in_channels, channels, 3, padding=1))])
    outputs = [channels]
    for level, multiplier in enumerate(multipliers):
        if level:
            layers.append(
                Conditioned(ResBlock(channels, channels, emb_size, a.dropout, nn.AvgPool2d(2)))
            )
            outputs.append(channels)
            resolution //= 2
        for _ in range(blocks):
            block: list[nn.Module] = [
                ResBlock(channels, a.model_channels * multiplier, emb_size, a.dropout)
            ]
            channels = a.model_channels * multiplier
            if resolution in a.attention_resolutions:
                block.append(AttentionBlock(channels, a.num_heads, a.num_head_channels))
            layers.append(Conditioned(*block))
            outputs.append(channels)
    return layers, outputs, resolution


def _middle(a: Architecture, channels: int, emb_size: int | None) -> Conditioned:
    return Conditioned(
        ResBlock(channels, channels, emb_size, a.dropout),
        AttentionBlock(channels, a.num_heads, a.num_head_channels),
        ResBlock(channels, channels, emb_size, a.dropout),
    )


class SemanticEncoder(nn.Module):
    """Image (N, C, S, S) to z_sem (N, D): the U-Net's contracting half, averaged over pixels."""

    def __init__(self, a: Architecture) -> None:
        super().__init__()
        self.input_blocks, outputs, _ = _descent(a, a.enc_channel_mult, a.enc_num_res_block, None)
        self.middle_block = _middle(a, outputs[-1], None)
        self.out = nn.Sequential(
            _norm(outputs[-1]),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(outputs[-1], a.enc_out_channels, 1),
            nn.Flatten(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, S, S) to (N, enc_out_channels)."""
        for block in self.input_blocks:
            x = block(x)
        return self.out(self.middle_block(x))


class TimeEmbedding(nn.Module):
    """The two linear layers above the sinusoids."""

    def __init__(self, size: int, out_size: int) -> None:
        super().__init__()
        self.time_embed = nn.Sequential(
            nn.Linear(size, out_size), nn.SiLU(), nn.Linear(out_size, out_size)
        )

    def forward(self, sinusoids: Tensor) -> Tensor:
        """(N, size) to (N, out_size)."""
        return self.time_embed(sinusoids)


class DiffAEModel(nn.Module):
    """Conditional noise model eps(x_t, t, z_sem) with the encoder that makes z_sem.

    Parameters
    ----------
    architecture
        See :class:`Architecture`. Built on the meta device it costs no memory.

    Examples
    --------
    >>> z_sem = model.encoder(x_0)
    >>> eps = model(x_t, t, z_sem)          # or, in training: model(x_t, t, x_0=x_0)
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        a = self.architecture = architecture
        emb = a.embed_channels
        self.time_embed = TimeEmbedding(a.model_channels, emb)
        self.input_blocks, laterals, resolution = _descent(a, a.channel_mult, a.num_res_blocks, emb)
        channels = laterals[-1]
        self.middle_block = _middle(a, channels, emb)
        heads = a.num_heads if a.num_heads_upsample == -1 else a.num_heads_upsample
        self.output_blocks = nn.ModuleList()
        for level, multiplier in reversed(list(enumerate(a.channel_mult))):
            for i in range(a.num_res_blocks + 1):
                out = a.model_channels * multiplier
                block: list[nn.Module] = [ResBlock(channels + laterals.pop(), out, emb, a.dropout)]
                channels = out
                if resolution in a.attention_resolutions:
                    block.append(AttentionBlock(channels, heads, a.num_head_channels))
                if level and i == a.num_res_blocks:
                    double = nn.Upsample(scale_factor=2, mode="nearest")
                    block.append(ResBlock(channels, channels, emb, a.dropout, double))
                    resolution *= 2
                self.output_blocks.append(Conditioned(*block))
        self.out = nn.Sequential(
            _norm(channels), nn.SiLU(), _zero(nn.Conv2d(channels, a.out_channels, 3, padding=1))
        )
        self.encoder = SemanticEncoder(a)

    def forward(
        self, x_t: Tensor, t: Tensor, z_sem: Tensor | None = None, x_0: Tensor | None = None
    ) -> Tensor:
        """Predict the noise in ``x_t``.

        Parameters
        ----------
        x_t
            Noisy images (N, C, S, S).
        t
            Time steps (N,), 0 to T - 1.
        z_sem
            Semantic codes (N, D); or leave it out and give
        x_0
            the images (N, C, S, S) whose codes the encoder shall make.

        Returns
        -------
        The noise, shaped like ``x_t``.
        """
        if z_sem is None:
            z_sem = self.encoder(x_0)
        sinusoids = timestep_embedding(t, self.architecture.model_channels)
        emb = self.time_embed(sinusoids.to(x_t.dtype))
        h, laterals = x_t, []
        for block in self.input_blocks:
            h = block(h, emb, z_sem)
            laterals.append(h)
        h = self.middle_block(h, emb, z_sem)
        for block in self.output_blocks:
            h = block(torch.cat([h, laterals.pop()], dim=1), emb, z_sem)
        return self.out(h)
