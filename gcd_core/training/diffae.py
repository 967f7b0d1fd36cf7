"""Train the diffusion autoencoder: predict the noise in an image, given the code of that image."""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from gcd_core.errors import GCDError
from gcd_core.generators import load_generator
from gcd_core.generators.base import Latent
from gcd_core.generators.codec import VAE
from gcd_core.generators.device import choose_device
from gcd_core.generators.diffae.model import Architecture, DiffAEModel
from gcd_core.generators.diffae.solvers import squared_alphas
from gcd_core.generators.weights import save_sharded
from gcd_core.generators.whitening import Whitening
from gcd_core.images.dataset import load_split
from gcd_core.training.loop import (
    EMA,
    Clock,
    Log,
    autocast,
    learning_rate,
    load_checkpoint,
    save_checkpoint,
    save_grid,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `train diffae`."""
    parser.add_argument("--data", required=True, help="zip file or folder of images")
    parser.add_argument("--labels", help="CSV with file, split, patient (default: beside the data)")
    parser.add_argument("--out", required=True, help="folder for checkpoint, log, grids, weights")
    parser.add_argument("--codec", help="folder that `train vae` wrote (default: work on pixels)")
    parser.add_argument("--minutes", type=float, default=60, help="training time, resumptions in")
    parser.add_argument("--steps", type=int, help="stop after so many steps, if sooner")
    parser.add_argument("--size", type=int, default=128, help="side of the images (with no codec)")
    parser.add_argument("--channels", type=int, default=1, choices=(1, 3), help="(with no codec)")
    parser.add_argument("--model-channels", type=int, default=96)
    parser.add_argument("--channel-mult", type=int, nargs="+", default=[1, 2, 2])
    parser.add_argument("--attention", type=int, nargs="*", default=[8], help="resolutions")
    parser.add_argument("--z-sem", type=int, default=256, help="size of z_sem")
    parser.add_argument("--z-sem-noise", type=float, default=0.25, help="in z_sem's own std")
    parser.add_argument("--max-weight", type=float, default=5.0, help="bound of the loss weight")
    parser.add_argument("--augmentations", type=int, default=3, help="moved copies of each image")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=4e-4)
    parser.add_argument("--ema", type=float, default=0.9995)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--grid-minutes", type=float, default=10, help="time between sample grids")
    parser.add_argument("--device", default="auto")


def main(args: argparse.Namespace) -> None:
    """Train until the time is up, writing the generator's files every few minutes."""
    device = choose_device(args.device)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    kept = ("out", "device", "data", "labels", "minutes", "steps", "grid_minutes", "codec")
    settings = {k: v for k, v in vars(args).items() if k not in kept}
    settings = {k: v for k, v in settings.items() if isinstance(v, int | float | str | list)}

    torch.manual_seed(args.seed)
    codec_config, codec_state, codec = None, {}, None
    if args.codec:
        codec_config, codec_state, codec = _load_codec(Path(args.codec), device)
    size = codec_config["image_size"] if codec_config else args.size
    channels = codec_config["channels"] if codec_config else args.channels
    depth, side = (codec.latent_shape()[:2]) if codec else (channels, size)
    architecture = Architecture.from_config(
        {
            "image_size": side,
            "in_channels": depth,
            "out_channels": depth,
            "model_channels": args.model_channels,
            "channel_mult": args.channel_mult,
            "enc_channel_mult": args.channel_mult,
            "num_res_blocks": 1,
            "enc_num_res_block": 1,
            "attention_resolutions": args.attention,
            "embed_channels": args.z_sem,
            "enc_out_channels": args.z_sem,
            "num_head_channels": 64 if args.model_channels % 64 == 0 else 32,
            "dropout": args.dropout,
        }
    )
    config = architecture.to_config() | {"whiten_z_sem": True}
    config["sampling"] = {"solver": "dpm++2m", "encode_steps": 8, "decode_steps": 8}
    if codec_config:
        config["codec"] = codec_config

    images, _ = load_split(args.data, args.labels, "train", size, channels)
    held_out, _ = load_split(args.data, args.labels, "val", size, channels)
    inputs = _inputs(images, codec, args.augmentations, args.seed, device)
    held_inputs = _inputs(held_out, codec, 0, args.seed, device)
    print(f"{len(images)} images, {len(inputs)} inputs of shape {tuple(inputs.shape[1:])}")

    model = DiffAEModel(architecture).to(device)
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters")
    ema = EMA(model, args.ema)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=args.lr, betas=(0.9, 0.99), weight_decay=0, fused=True
    )
    alphas_cumprod = torch.tensor(squared_alphas(), device=device)
    z_sem_std = torch.ones(args.z_sem, device=device)

    step, spent = 0, 0.0
    if state := load_checkpoint(out / "checkpoint.pt", settings):
        model.load_state_dict(state["model"])
        ema.module.load_state_dict(state["ema"])
        optimiser.load_state_dict(state["optimiser"])
        z_sem_std = state["z_sem_std"].to(device)
        step, spent = state["step"], state["spent"]
        print(f"resumed at step {step}")
    clock, log = Clock(args.minutes, spent), Log(out / "log.csv")

    def export() -> None:
        state = {"model": model.state_dict(), "ema": ema.module.state_dict(), "step": step}
        state |= {"optimiser": optimiser.state_dict(), "z_sem_std": z_sem_std}
        save_checkpoint(out / "checkpoint.pt", state | {"spent": clock.spent, "settings": settings})
        weights = {f"ema_model.{k}": v for k, v in ema.module.state_dict().items()}
        codes = _codes(ema.module, inputs[: len(images)], device)
        noise = codes.var(0).mean().item() * args.z_sem_noise**2
        whitening = Whitening.of(codes, floor=noise)
        weights |= {f"whitening.{k}": v for k, v in whitening.state_dict().items()}
        (out / "generator.json").write_text(json.dumps(config, indent=1) + "\n")
        save_sharded(weights | codec_state, out, "generator")

    def draw(minutes: float) -> None:
        generator = load_generator(
            out / "generator.json", out / "generator.safetensors.index.json", device
        )
        x = held_out[:: len(held_out) // 10][:10].to(device).float() / 255
        latent = generator.encode(x, solver="dpm++2m", steps=16)
        fresh = torch.Generator().manual_seed(0)
        z_T = torch.randn(latent.z_T.shape, generator=fresh).to(device)
        swapped = Latent(latent.z_sem.roll(1, 0), latent.z_T)
        codes = [latent, Latent(latent.z_sem, z_T), swapped]
        rows = [x] + [generator.decode(c, solver="dpm++2m", steps=16) for c in codes]
        save_grid(out / f"samples-{round(minutes):03d}min.png", rows)

    drawn, total, count = clock.spent, 0.0, 0
    while (progress := clock.progress_or(step, args.steps)) < 1:
        source = torch.Generator().manual_seed(args.seed + step)
        chosen = torch.randint(len(inputs), (args.batch,), generator=source)
        x_0 = inputs[chosen].to(device).float()
        t = torch.randint(1000, (args.batch,), generator=source)
        noise = torch.randn(x_0.shape, generator=source).to(device)
        jitter = torch.randn(args.batch, args.z_sem, generator=source).to(device)
        a = alphas_cumprod[t.to(device)]
        x_t = a.sqrt()[:, None, None, None] * x_0 + (1 - a).sqrt()[:, None, None, None] * noise
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(args.lr, progress)
        with autocast(device):
            z_sem = model.encoder(x_0).float()
            # A code that says the same after a small move leaves no holes between the codes.
            predicted = model(x_t, t.to(device), z_sem + args.z_sem_noise * z_sem_std * jitter)
        errors = F.mse_loss(predicted.float(), noise, reduction="none").mean((1, 2, 3))
        # 1 + 1 / SNR makes of the noise's error that of v; without a bound, high t would drown all.
        loss = (errors * (1 / a).clamp(max=args.max_weight)).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        z_sem_std.lerp_(z_sem.detach().std(0), 0.01 if step > 100 else 0.1)
        step += 1
        ema.update(model, step)
        total, count = total + errors.mean().item(), count + 1
        if step % 200 == 0:
            held = _held_out_loss(ema.module, held_inputs, alphas_cumprod, device)
            seen = step * args.batch
            log.write(clock, step=step, images=seen, loss=total / count, held_out_loss=held)
            total, count = 0.0, 0
        if clock.spent - drawn > args.grid_minutes * 60:
            export()
            draw(clock.spent / 60)
            drawn = clock.spent
    export()
    draw(clock.spent / 60)


def _load_codec(folder: Path, device: torch.device) -> tuple[dict, dict[str, Tensor], VAE]:
    """The codec's configuration, its weights (names begin with `codec.`), and itself."""
    if not (folder / "codec.json").is_file():
        raise GCDError(f"{folder} holds no codec.json; make the codec first with `train vae`.")
    config = json.loads((folder / "codec.json").read_text())
    state = load_file(folder / "codec.safetensors")
    codec = VAE.from_config(config)
    codec.load_state_dict({k.removeprefix("codec."): v.float() for k, v in state.items()})
    return config, state, codec.eval().requires_grad_(False).to(device)


@torch.inference_mode()
def _inputs(
    images: Tensor, codec: VAE | None, copies: int, seed: int, device: torch.device
) -> Tensor:
    """What the DiffAE learns from: the images, then moved copies of them, through the codec."""
    generator = torch.Generator().manual_seed(seed)
    chunks = []
    for copy in range(1 + copies):
        for batch in images.split(64):
            x = batch.to(device).float() / 255
            if copy:
                x = moved(x, generator)
            chunks.append((codec.encode(x) if codec else x * 2 - 1).to(torch.bfloat16).cpu())
    return torch.cat(chunks).clone()


def moved(x: Tensor, generator: torch.Generator) -> Tensor:
    """Turn by up to 5 degrees, shift by up to 4 %, scale by up to 6 %, change contrast a little."""
    n = len(x)

    def uniform(bound: float) -> Tensor:
        return ((torch.rand(n, generator=generator) * 2 - 1) * bound).to(x.device)

    angle, scale = torch.deg2rad(uniform(5.0)), 1 + uniform(0.06)
    cos, sin = angle.cos() * scale, angle.sin() * scale
    rows = [torch.stack([cos, -sin, uniform(0.08)], 1), torch.stack([sin, cos, uniform(0.08)], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="border", align_corners=False)
    return x.clamp(0, 1) ** (1 + uniform(0.15))[:, None, None, None]


@torch.inference_mode()
def _codes(model: DiffAEModel, inputs: Tensor, device: torch.device) -> Tensor:
    """The semantic codes (N, D) of the inputs, on the CPU."""
    return torch.cat([model.encoder(b.to(device).float()).cpu() for b in inputs.split(256)])


@torch.inference_mode()
def _held_out_loss(
    model: DiffAEModel, inputs: Tensor, alphas_cumprod: Tensor, device: torch.device
) -> float:
    """Mean squared error of the noise over held-out images, always at the same times and noise."""
    source = torch.Generator().manual_seed(0)
    x_0 = inputs[:64].to(device).float()
    t = torch.linspace(5, 995, len(x_0)).long()
    noise = torch.randn(x_0.shape, generator=source).to(device)
    a = alphas_cumprod[t.to(device)][:, None, None, None]
    with autocast(device):
        predicted = model(a.sqrt() * x_0 + (1 - a).sqrt() * noise, t.to(device), x_0=x_0)
    return F.mse_loss(predicted.float(), noise).item()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    add_arguments(arguments)
    main(arguments.parse_args())
