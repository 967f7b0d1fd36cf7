"""Train the codec: L1 + LPIPS + a little KL, so that its latents keep what a picture shows.

With `--generator`, make of it a generator of its own, for a deep autoencoder with a small latent.
With `--decoder-of`, train the decoder of a finished generator further: its latents, and all that
was learned on them, stay what they are.
"""

import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from gcd_core.errors import GCDError
from gcd_core.generators.codec import VAE
from gcd_core.generators.device import choose_device
from gcd_core.generators.weights import read_weights, save_sharded
from gcd_core.generators.whitening import Whitening
from gcd_core.images.dataset import load_split
from gcd_core.perceptual import LPIPS
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

WEIGHTS = "generator.safetensors.index.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `train vae`."""
    parser.add_argument("--data", required=True, help="zip file or folder of images")
    parser.add_argument("--labels", help="CSV with file, split, patient (default: beside the data)")
    parser.add_argument("--out", required=True, help="folder for checkpoint, log, grids, weights")
    parser.add_argument(
        "--generator",
        action="store_true",
        help="write a generator (kind vae): the flattened latent, whitened, is its z_sem",
    )
    parser.add_argument(
        "--decoder-of",
        help="folder with a generator (generator.json and its weights): train only its codec's "
        "decoder further and write the generator anew; --latent-channels, --widths and --kl are "
        "not used then",
    )
    parser.add_argument("--minutes", type=float, default=20, help="training time, resumptions in")
    parser.add_argument("--steps", type=int, help="stop after so many steps, if sooner")
    parser.add_argument("--size", type=int, default=128, help="side of the images")
    parser.add_argument("--channels", type=int, default=1, choices=(1, 3))
    parser.add_argument("--latent-channels", type=int, default=8)
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 96, 160])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=8e-4)
    parser.add_argument("--lpips", type=float, default=0.4, help="weight of LPIPS beside L1")
    parser.add_argument("--kl", type=float, default=5e-4, help="weight of the KL (nats an element)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")


def main(args: argparse.Namespace) -> None:
    """Train until the time is up, then write the codec (or the generator) and `metrics.json`."""
    if args.generator and args.decoder_of:
        raise GCDError("Give --generator or --decoder-of, not both.")
    device = choose_device(args.device)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    settings = {k: v for k, v in vars(args).items() if k not in ("out", "device", "data", "labels")}
    settings = {k: v for k, v in settings.items() if isinstance(v, int | float | str | list)}
    settings = {k: v for k, v in settings.items() if k not in ("minutes", "steps")}

    torch.manual_seed(args.seed)
    images, _ = load_split(args.data, args.labels, "train", args.size, args.channels)
    held_out, _ = load_split(args.data, args.labels, "val", args.size, args.channels)
    if args.decoder_of:
        model = _codec_of(Path(args.decoder_of), args.size, args.channels)
        model.encoder.requires_grad_(False)
        learned = model.decoder
    else:
        config = {
            "kind": "vae",
            "image_size": args.size,
            "channels": args.channels,
            "latent_channels": args.latent_channels,
            "widths": args.widths,
        }
        model = learned = VAE.from_config(config)
    model = model.to(device, memory_format=torch.channels_last)
    ema = EMA(model, 0.999)
    optimiser = torch.optim.AdamW(learned.parameters(), lr=args.lr, betas=(0.9, 0.99))
    perceptual = LPIPS(device=device)

    step, spent = 0, 0.0
    if state := load_checkpoint(out / "checkpoint.pt", settings):
        model.load_state_dict(state["model"])
        ema.module.load_state_dict(state["ema"])
        optimiser.load_state_dict(state["optimiser"])
        step, spent = state["step"], state["spent"]
        print(f"resumed at step {step}")
    clock, log = Clock(args.minutes, spent), Log(out / "log.csv")

    def save() -> None:
        state = {"model": model.state_dict(), "ema": ema.module.state_dict(), "step": step}
        state |= {"optimiser": optimiser.state_dict(), "spent": clock.spent, "settings": settings}
        save_checkpoint(out / "checkpoint.pt", state)

    saved = clock.spent
    while (progress := clock.progress_or(step, args.steps)) < 1:
        generator = torch.Generator().manual_seed(args.seed + step)
        chosen = torch.randint(len(images), (args.batch,), generator=generator)
        x = images[chosen].to(device).float() / 255
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(args.lr, progress)
        with autocast(device):
            mean, log_variance = model.posterior(x)
            noise = torch.randn(mean.shape, generator=generator).to(device)
            y = model.reconstruct(mean + noise * (0.5 * log_variance).exp())
            l1 = F.l1_loss(y.float(), x)
            distance = perceptual(y, x).float().mean()
            kl = 0.5 * (mean.float() ** 2 + log_variance.float().exp() - 1 - log_variance.float())
            kl = kl.mean()
            loss = l1 + args.lpips * distance + (0 if args.decoder_of else args.kl * kl)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned.parameters(), 1.0)
        optimiser.step()
        step += 1
        ema.update(model, step)
        if step % 50 == 0:
            values = {"l1": l1.item(), "lpips": distance.item(), "kl": kl.item()}
            log.write(clock, step=step, images=step * args.batch, **values)
        if clock.spent - saved > 120:
            saved = clock.spent
            save()
            with torch.inference_mode():
                x = held_out[:: len(held_out) // 12][:12].to(device).float() / 255
                save_grid(out / "reconstructions.png", [x, ema.module.decode(ema.module.encode(x))])
    save()

    codec = ema.module
    if not args.decoder_of:
        _measure_latents(codec, images, device)
    metrics = {"images_seen": step * args.batch, "minutes": clock.spent / 60}
    for split in ("val", "test"):
        pictures, _ = load_split(args.data, args.labels, split, args.size, args.channels)
        metrics[split] = _reconstruction(codec, pictures, perceptual, device)
    if args.decoder_of:
        _write_generator(codec, Path(args.decoder_of), out)
    elif args.generator:
        _write_autoencoder(codec, config, images, device, out)
    else:
        state = {f"codec.{k}": v.half().contiguous().cpu() for k, v in codec.state_dict().items()}
        save_file(state, out / "codec.safetensors")
        (out / "codec.json").write_text(json.dumps(config, indent=1) + "\n")
    (out / "metrics.json").write_text(json.dumps(metrics, indent=1) + "\n")
    print(json.dumps(metrics, indent=1))


def _codec_of(folder: Path, size: int, channels: int) -> VAE:
    """The codec of the generator in `folder`; it must work on images like these."""
    config = json.loads((folder / "generator.json").read_text(encoding="utf-8"))
    if "codec" not in config:
        raise GCDError(f"The generator in {folder} has no codec, so there is no decoder to train.")
    codec = VAE.from_config(config["codec"])
    if (codec.image_size, codec.channels) != (size, channels):
        raise GCDError(
            f"The codec in {folder} works on {codec.channels} x {codec.image_size}² images; give "
            f"--size {codec.image_size} --channels {codec.channels}."
        )
    _, weights, *_ = read_weights(folder / WEIGHTS)
    codec.load_state_dict(weights)
    return codec


def _write_generator(codec: VAE, folder: Path, out: Path) -> None:
    """Write the generator of `folder` with this codec in the place of its own."""
    diffae, _, whitening, distilled = read_weights(folder / WEIGHTS)
    weights = {f"ema_model.{k}": v for k, v in diffae.items()}
    weights |= {f"whitening.{k}": v for k, v in whitening.items()}
    weights |= {f"distilled.{k}": v for k, v in distilled.items()}
    weights |= {f"codec.{k}": v for k, v in codec.state_dict().items()}
    shutil.copyfile(folder / "generator.json", out / "generator.json")
    save_sharded(weights, out, "generator")


@torch.inference_mode()
def _write_autoencoder(
    vae: VAE, config: dict, images: Tensor, device: torch.device, out: Path
) -> None:
    """Write the network as a generator, with the principal coordinates of its latents.

    Axes in which the training images vary less than one image's posterior does are left to z_T.
    """
    codes, noise = [], []
    for batch in images.split(64):
        x = batch.to(device).float() / 255
        _, log_variance = vae.posterior(x)
        codes.append(vae.encode(x).flatten(1).cpu())
        noise.append((log_variance.exp() / vae.latent_std[:, None, None] ** 2).mean().cpu())
    whitening = Whitening.of(torch.cat(codes), floor=torch.stack(noise).mean().item())
    weights = {f"codec.{k}": v for k, v in vae.state_dict().items()}
    weights |= {f"whitening.{k}": v for k, v in whitening.state_dict().items()}
    (out / "generator.json").write_text(json.dumps(config, indent=1) + "\n")
    save_sharded(weights, out, "generator")


@torch.inference_mode()
def _measure_latents(codec: VAE, images: Tensor, device: torch.device) -> None:
    """Set the codec's normalisation from the training images."""
    batches = [codec.posterior(b.to(device).float() / 255)[0] for b in images.split(64)]
    means = torch.cat(batches)
    codec.latent_mean.copy_(means.mean((0, 2, 3)))
    codec.latent_std.copy_(means.std((0, 2, 3)))


@torch.inference_mode()
def _reconstruction(
    codec: VAE, images: Tensor, perceptual: LPIPS, device: torch.device
) -> dict[str, float]:
    """Mean absolute error and LPIPS of encode-then-decode."""
    errors, distances = [], []
    for batch in images.split(64):
        x = batch.to(device).float() / 255
        y = codec.decode(codec.encode(x))
        errors.append((y - x).abs().mean((1, 2, 3)))
        distances.append(perceptual(y, x))
    return {"mae": torch.cat(errors).mean().item(), "lpips": torch.cat(distances).mean().item()}


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    add_arguments(arguments)
    main(arguments.parse_args())
