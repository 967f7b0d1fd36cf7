"""Train the codec, a small VAE, on L1, LPIPS and a little KL.

With `--generator`, make of it a generator of its own, for a deep autoencoder with a small latent.
With `--decoder-of`, train the decoder of a finished generator further: its latents, and all that
was learned on them, stay what they are.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from gcd_core.errors import GCDError
from gcd_core.files import atomic_write, write_json
from gcd_core.generators.codec import VAE
from gcd_core.generators.device import choose_device
from gcd_core.generators.weights import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    GeneratorWeights,
    load_strictly,
    read_weights,
    save_generator,
)
from gcd_core.generators.whitening import Whitening
from gcd_core.images.dataset import load_split
from gcd_core.perceptual import LPIPS
from gcd_core.training.augmentation import augment_gently
from gcd_core.training.discriminator import Discriminator, generator_losses, hinge_loss
from gcd_core.training.loop import (
    EMA,
    Learner,
    Plan,
    Training,
    autocast,
    run,
    run_settings,
    save_grid,
    spread,
)
from gcd_core.training.options import add_data, add_run, add_shape
from gcd_core.training.reconstruction import measure_reconstruction

DISCRIMINATOR_RATE = 2e-4  # the peak of its learning rate
DISCRIMINATOR_STEPS = 300  # in which the weights of its losses grow from 0 to those asked for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `train vae`."""
    add_data(parser, "file, split, patient", "checkpoint, log, grids, weights")
    add_run(parser, minutes=20, batch=32, rate=8e-4)
    add_shape(parser)
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
    parser.add_argument("--latent-channels", type=int, default=8)
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 96, 160])
    parser.add_argument("--lpips", type=float, default=0.4, help="weight of LPIPS beside L1")
    parser.add_argument("--kl", type=float, default=5e-4, help="weight of the KL (nats an element)")
    parser.add_argument(
        "--adversarial",
        type=float,
        default=0.0,
        metavar="WEIGHT",
        help="of a discriminator's judgement of the reconstructions (0: there is none)",
    )
    parser.add_argument(
        "--matching",
        type=float,
        default=0.0,
        metavar="WEIGHT",
        help="of the L1 between the discriminator's features of image and reconstruction",
    )
    parser.add_argument(
        "--begin-with",
        metavar="FILE",
        help="codec.safetensors or a generator's index: the tensors whose shapes fit are the "
        "first weights",
    )


def main(args: argparse.Namespace) -> None:
    """Train until the time is up, then write the codec (or the generator) and `metrics.json`."""
    if args.generator and args.decoder_of:
        raise GCDError("Give --generator or --decoder-of, not both.")
    if args.begin_with and args.decoder_of:
        raise GCDError("Give --begin-with or --decoder-of, not both.")
    device, out = choose_device(args.device), Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    images, held_out, test = (
        load_split(args.data, args.labels, split, args.size, args.channels, args.fit)[0]
        for split in ("train", "val", "test")
    )
    config = {
        "kind": "vae",
        "image_size": args.size,
        "channels": args.channels,
        "latent_channels": args.latent_channels,
        "widths": args.widths,
    }
    if args.decoder_of:
        model = _codec_of(Path(args.decoder_of), args.size, args.channels)
    else:
        model = VAE.from_config(config)
    if args.begin_with:
        begin_with(model, Path(args.begin_with))
    training = CodecTraining(args, model.to(device), images, held_out, out)
    plan = Plan.of(args, run_settings(args), log_every=50, save_minutes=2)
    steps, minutes = run(training, plan)

    codec = training.ema.module
    if not args.decoder_of:
        _measure_latents(codec, images, device)
    metrics: dict[str, object] = {"images_seen": steps * args.batch, "minutes": minutes}
    for split, pictures in (("val", held_out), ("test", test)):
        metrics[split] = measure_reconstruction(codec, pictures, training.perceptual, device)
    if args.decoder_of:
        _write_generator(codec, Path(args.decoder_of), out)
    elif args.generator:
        _write_autoencoder(codec, config, images, device, out)
    else:
        _write_codec(codec, config, out)
    write_json(out / "metrics.json", metrics)
    print(json.dumps(metrics, indent=1))


class CodecTraining(Training):
    """Trains the codec on L1, LPIPS, KL and, where asked for, a discriminator.

    Parameters
    ----------
    args : argparse.Namespace
        The options of `train vae`.
    model : VAE
        On the device to work on.
    images, held_out : Tensor (N, C, S, S), uint8
        To learn from, and to show in the grid of reconstructions.
    out : Path
        Folder of the grid.
    """

    ema: EMA[VAE]

    def __init__(
        self, args: argparse.Namespace, model: VAE, images: Tensor, held_out: Tensor, out: Path
    ) -> None:
        self.args, self.images, self.held_out, self.out = args, images, held_out, out
        self.device = model.latent_mean.device
        self.model = model.to(memory_format=torch.channels_last)
        if args.decoder_of:
            model.encoder.requires_grad_(False)
        learned = model.decoder if args.decoder_of else model
        optimiser = torch.optim.AdamW(learned.parameters(), lr=args.lr, betas=(0.9, 0.99))
        self.learners = [Learner(model, optimiser)]
        self.ema = EMA(model, 0.999)
        self.perceptual = LPIPS(device=self.device)
        self.discriminator: Discriminator | None = None
        if args.adversarial or args.matching:
            self.discriminator = Discriminator(args.channels).to(self.device)
            self.discriminator.to(memory_format=torch.channels_last)
            weights = self.discriminator.parameters()
            optimiser = torch.optim.AdamW(weights, lr=DISCRIMINATOR_RATE, betas=(0.5, 0.99))
            self.learners.append(Learner(self.discriminator, optimiser, max_norm=None))

    def losses(self, step: int) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Return the codec's loss of a batch, and the discriminator's if there is one."""
        args, source = self.args, torch.Generator().manual_seed(self.args.seed + step)
        chosen = torch.randint(len(self.images), (args.batch,), generator=source)
        x = self.images[chosen].to(self.device).float() / 255
        if self.discriminator is not None:
            # Lest it learns the images by heart. Turning blurs, so half of them stay sharp.
            x = torch.cat([x[::2], augment_gently(x[1::2], source)])
        with autocast(self.device):
            mean, log_variance = self.model.posterior(x)
            noise = torch.randn(mean.shape, generator=source).to(self.device)
            y = self.model.reconstruct(mean + noise * (0.5 * log_variance).exp())
            l1 = F.l1_loss(y.float(), x)
            distance = self.perceptual(y, x).float().mean()
            kl = 0.5 * (mean.float() ** 2 + log_variance.float().exp() - 1 - log_variance.float())
            kl = kl.mean()
            loss = l1 + args.lpips * distance + (0 if args.decoder_of else args.kl * kl)
            figures = {"l1": l1, "lpips": distance, "kl": kl}
            if self.discriminator is None:
                return [loss], figures
            adversarial, matching = generator_losses(self.discriminator, x, y)
            judged = args.adversarial * adversarial + args.matching * matching
            loss = loss + min(1.0, step / DISCRIMINATOR_STEPS) * judged
            (true, _), (false, _) = self.discriminator(x), self.discriminator(y.detach())
            figures |= {"matching": matching, "discriminator": hinge_loss(true, false)}
        return [loss, figures["discriminator"]], figures

    def row(self, step: int, means: dict[str, float]) -> dict[str, float]:
        """Return the mean parts of the loss."""
        return {"step": step, "images": step * self.args.batch, **means}

    @torch.inference_mode()
    def export(self, minutes: float) -> None:
        """Draw held-out images, and below them their reconstructions."""
        x = spread(self.held_out, 12).to(self.device).float() / 255
        codec = self.ema.module
        save_grid(self.out / "reconstructions.png", [x, codec.decode(codec.encode(x))])


def begin_with(model: VAE, path: Path) -> None:
    """Take over another codec's weights where names and shapes fit, and print how many.

    Raises a GCDError if the file is not readable, or nothing in it fits.
    """
    own, weights = model.state_dict(), read_weights(path).codec
    fitting = {k: v for k, v in weights.items() if k in own and own[k].shape == v.shape}
    if not fitting:
        raise GCDError(f"No tensor of {path} fits this codec; give the weights of a similar one.")
    model.load_state_dict(own | fitting)
    print(f"begins with {len(fitting)} of {len(own)} tensors from {path}")


def _codec_of(folder: Path, size: int, channels: int) -> VAE:
    """Return the codec of the generator in a folder; refuse one for images of another shape."""
    config = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    if "codec" not in config:
        raise GCDError(f"The generator in {folder} has no codec, so there is no decoder to train.")
    codec = VAE.from_config(config["codec"])
    if (codec.image_size, codec.channels) != (size, channels):
        raise GCDError(
            f"The codec in {folder} works on {codec.channels} x {codec.image_size}² images; give "
            f"--size {codec.image_size} --channels {codec.channels}."
        )
    load_strictly(codec, read_weights(folder / WEIGHTS_NAME).codec, "codec")
    return codec


def _write_codec(codec: VAE, config: dict, out: Path) -> None:
    """Write `codec.safetensors`, in half precision, and `codec.json`."""
    state = {f"codec.{k}": v.half().contiguous().cpu() for k, v in codec.state_dict().items()}
    with atomic_write(out / "codec.safetensors") as place:
        save_file(state, place)
    write_json(out / "codec.json", config)


def _write_generator(codec: VAE, folder: Path, out: Path) -> None:
    """Write the generator of `folder` with this codec in the place of its own."""
    config = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    weights = replace(read_weights(folder / WEIGHTS_NAME), codec=codec.state_dict())
    save_generator(config, weights, out)


@torch.inference_mode()
def _write_autoencoder(
    vae: VAE, config: dict, images: Tensor, device: torch.device, out: Path
) -> None:
    """Write the network as a generator whose z_sem are whitened latents.

    Axes in which the training images vary less than one image's posterior does are left to z_T.
    """
    codes, noise = [], []
    for batch in images.split(64):
        x = batch.to(device).float() / 255
        _, log_variance = vae.posterior(x)
        codes.append(vae.encode(x).flatten(1).cpu())
        noise.append((log_variance.exp() / vae.latent_std[:, None, None] ** 2).mean().cpu())
    whitening = Whitening.of(torch.cat(codes), floor=torch.stack(noise).mean().item())
    weights = GeneratorWeights(codec=vae.state_dict(), whitening=whitening.state_dict())
    save_generator(config, weights, out)


@torch.inference_mode()
def _measure_latents(codec: VAE, images: Tensor, device: torch.device) -> None:
    """Set the codec's normalisation from the training images."""
    batches = [codec.posterior(b.to(device).float() / 255)[0] for b in images.split(64)]
    means = torch.cat(batches)
    codec.latent_mean.copy_(means.mean((0, 2, 3)))
    codec.latent_std.copy_(means.std((0, 2, 3)))
