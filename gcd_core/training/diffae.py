"""Train the diffusion autoencoder: predict the noise in an image, given the code of that image."""

import argparse
import copy
import json
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gcd_core.errors import GCDError
from gcd_core.generators import load_generator
from gcd_core.generators.base import Generator, Latent
from gcd_core.generators.codec import VAE
from gcd_core.generators.device import choose_device
from gcd_core.generators.diffae.model import Architecture, DiffAEModel
from gcd_core.generators.diffae.solvers import T, squared_alphas
from gcd_core.generators.semantic_mean import SemanticMean
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
from gcd_core.training.answers import AnswerMap, read_answers
from gcd_core.training.augmentation import augment_gently
from gcd_core.training.decorrelation import Decorrelation
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

CODEC_CONFIG, CODEC_WEIGHTS = "codec.json", "codec.safetensors"
MEAN_WEIGHT = 0.5  # of the squared error of what the code says by itself, beside the noise's
ANSWERS_WEIGHT = 1.0  # of the squared error of what the code tells of the classifier's answers
SAVE_MINUTES = 10.0  # between two checkpoints, at most
MAP_RATE = 2e-3  # learning rate of the linear maps of the code
DECORRELATED = 4096  # inputs, moved ones among them, whose codes have unit covariance at last


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `train diffae`."""
    add_data(parser, "file, split, patient", "checkpoint, log, grids, weights")
    add_run(parser, minutes=60, batch=32, rate=4e-4)
    add_shape(parser, " (with no codec)")
    parser.add_argument("--codec", help="folder that `train vae` wrote (default: work on pixels)")
    parser.add_argument("--model-channels", type=int, default=96)
    parser.add_argument("--channel-mult", type=int, nargs="+", default=[1, 2, 2])
    parser.add_argument("--attention", type=int, nargs="*", default=[8], help="resolutions")
    parser.add_argument("--z-sem", type=int, default=256, help="size of z_sem")
    parser.add_argument("--z-sem-noise", type=float, default=0.25, help="in z_sem's own std")
    parser.add_argument(
        "--decorrelate",
        action="store_true",
        help="keep z_sem at unit covariance while the encoder learns, so that each of its numbers "
        "stands out of that noise",
    )
    parser.add_argument(
        "--semantic-mean",
        action="store_true",
        help="let a linear map of z_sem say what it can of the image, and diffuse the rest, so "
        "that z_T cannot decide what z_sem should",
    )
    parser.add_argument(
        "--answers",
        help="CSV with file and a column of log-odds for each question: what a classifier answers "
        "to the images of train, which z_sem learns to tell",
    )
    parser.add_argument(
        "--begin-with", help="folder with the generator whose network a new run begins with"
    )
    parser.add_argument("--max-weight", type=float, default=5.0, help="bound of the loss weight")
    parser.add_argument("--augmentations", type=int, default=3, help="moved copies of each image")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--ema", type=float, default=0.9995)
    parser.add_argument(
        "--grid-minutes", type=float, default=10, help="time between sample grids and weights"
    )


def main(args: argparse.Namespace) -> None:
    """Train until the time is up, writing the generator's files every few minutes."""
    device = choose_device(args.device)
    Path(args.out).mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    codec = _load_codec(Path(args.codec), device) if args.codec else None
    size, channels = (codec.image_size, codec.channels) if codec else (args.size, args.channels)
    images, table = load_split(args.data, args.labels, "train", size, channels, args.fit)
    held_out, _ = load_split(args.data, args.labels, "val", size, channels, args.fit)
    answers = read_answers(Path(args.answers), table["file"]) if args.answers else None
    training = DiffusionTraining(args, images, held_out, codec, device, answers)
    settings = run_settings(args, "codec", "grid_minutes", "begin_with", "answers")
    if answers is not None:
        settings["answers"] = answers.shape[1]
    often = {"save_minutes": min(SAVE_MINUTES, args.grid_minutes)}
    often["export_minutes"] = args.grid_minutes
    run(training, Plan.of(args, settings, log_every=200, **often))


class DiffusionTraining(Training):
    """Trains a U-Net to predict the noise in an image, given the image's code.

    Parameters
    ----------
    args : argparse.Namespace
        The options of `train diffae`.
    images, held_out : Tensor (N, C, S, S), uint8
        To learn from, and to measure and draw.
    codec : VAE or None
        What the diffusion goes on top of, on `device`.
    device : torch.device
        Where to work.
    answers : Tensor (N, L), optional
        What a classifier answers to the images, standardised.
    """

    ema: EMA[DiffAEModel]
    learners: list[Learner]

    def __init__(
        self,
        args: argparse.Namespace,
        images: Tensor,
        held_out: Tensor,
        codec: VAE | None,
        device: torch.device,
        answers: Tensor | None = None,
    ) -> None:
        self.args, self.codec, self.device = args, codec, device
        self.images, self.held_out = images, held_out
        self.inputs = _inputs(images, codec, args.augmentations, args.seed, device)
        self.held_inputs = _inputs(held_out, codec, 0, args.seed, device)
        shape = tuple(self.inputs.shape[1:])
        print(f"{len(images)} images, {len(self.inputs)} inputs of shape {shape}")
        self.architecture = _architecture(args, *shape[:2])
        self.model = DiffAEModel(self.architecture).to(device)
        begun: GeneratorWeights | None = None
        if args.begin_with:
            begun = read_weights(Path(args.begin_with) / WEIGHTS_NAME)
            load_strictly(self.model, begun.diffae, "network to train")
            self.model.to(device)  # it has taken over what was read, on the CPU
        print(f"{sum(p.numel() for p in self.model.parameters()) / 1e6:.1f} M parameters")
        optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=args.lr, betas=(0.9, 0.99), weight_decay=0, fused=True
        )
        self.learners = [Learner(self.model, optimiser)]
        self.mean = None
        if args.semantic_mean:
            self.mean = SemanticMean(args.z_sem, shape).to(device)
            if begun is not None and begun.semantic_mean:  # what the network's rest was less of
                own = self.mean.state_dict()
                if all(own[name].shape == w.shape for name, w in begun.semantic_mean.items()):
                    self.mean.load_state_dict(begun.semantic_mean)
            self._add_map(self.mean)
        self.answers = self.told = None
        if answers is not None:  # a moved copy keeps its image's answer
            self.answers = answers.repeat(1 + args.augmentations, 1).to(device)
            self.told = AnswerMap(args.z_sem, answers.shape[1]).to(device)
            self._add_map(self.told)
        self.ema = EMA(self.model, args.ema)
        self.alphas_cumprod = torch.tensor(squared_alphas(), device=device)
        self.z_sem_std = torch.ones(args.z_sem, device=device)
        self.decorrelation = Decorrelation(args.z_sem).to(device) if args.decorrelate else None

    def _add_map(self, linear: nn.Module) -> None:
        """Add a linear map of the code to what learns."""
        fast = torch.optim.Adam(linear.parameters(), lr=MAP_RATE)
        self.learners.append(Learner(linear, fast, max_norm=None))

    def losses(self, step: int) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Return the weighted squared error of the noise, of a batch at random times.

        With a semantic mean the diffusion works on the image less the mean. The mean's own error is
        added: it trains the encoder, and, in a loss of its own, the mean. So is the error of what
        the code tells of a classifier's answers.
        """
        args, source = self.args, torch.Generator().manual_seed(self.args.seed + step)
        chosen = torch.randint(len(self.inputs), (args.batch,), generator=source)
        x_0 = self.inputs[chosen].to(self.device).float()
        t = torch.randint(T, (args.batch,), generator=source)
        noise = torch.randn(x_0.shape, generator=source).to(self.device)
        jitter = torch.randn(args.batch, args.z_sem, generator=source).to(self.device)
        a = self.alphas_cumprod[t.to(self.device)]
        with autocast(self.device):
            raw = self.model.encoder(x_0)
        z_sem = self._codes_now(raw.float(), step)
        rest = x_0 if self.mean is None else x_0 - self.mean(z_sem.detach()).detach()
        x_t = a.sqrt()[:, None, None, None] * rest + (1 - a).sqrt()[:, None, None, None] * noise
        with autocast(self.device):
            # A code that says the same after a small move leaves no holes between the codes.
            near = z_sem + args.z_sem_noise * self.z_sem_std * jitter
            predicted = self.model(x_t, t.to(self.device), near)
        errors = F.mse_loss(predicted.float(), noise, reduction="none").mean((1, 2, 3))
        # 1 + 1 / SNR makes of the noise's error that of v; without a bound, high t would drown all.
        loss = (errors * (1 / a).clamp(max=args.max_weight)).mean()
        all_losses, figures = [loss], {"loss": errors.mean()}
        if self.mean is not None:
            all_losses[0] = all_losses[0] + MEAN_WEIGHT * F.mse_loss(self.mean(z_sem), x_0)
            all_losses.append(F.mse_loss(self.mean(z_sem.detach()), x_0))
            figures["mean_loss"] = all_losses[-1]
        if self.told is not None and self.answers is not None:
            wanted = self.answers[chosen]
            all_losses[0] = all_losses[0] + ANSWERS_WEIGHT * self.told(z_sem, wanted)
            all_losses.append(self.told(z_sem.detach(), wanted))
            figures["answers_loss"] = all_losses[-1]
        return all_losses, figures

    def _codes_now(self, raw: Tensor, step: int) -> Tensor:
        """Return the codes (N, D) that the U-Net gets; update their statistics by the batch."""
        momentum = 0.01 if step > 100 else 0.1
        if self.decorrelation is None:
            self.z_sem_std.lerp_(raw.detach().std(0), momentum)
            return raw
        self.decorrelation.follow(raw.detach(), momentum)
        return self.decorrelation(raw)

    def _averaged(self) -> DiffAEModel:
        """Return the averaged network; its encoder decorrelates the codes itself."""
        model = copy.deepcopy(self.ema.module)
        if self.decorrelation is not None:
            codes = _codes(model, spread(self.inputs, DECORRELATED), self.device)
            last = model.encoder.out[-2]
            assert isinstance(last, nn.Conv2d)
            Decorrelation.of(codes.to(self.device)).fold_into(last)
        return model

    def _mean_of(self, model: DiffAEModel) -> SemanticMean | None:
        """Fit the semantic mean to the averaged network's codes, by least squares."""
        if self.mean is None:
            return None
        inputs = spread(self.inputs, DECORRELATED)
        return SemanticMean.of(_codes(model, inputs, self.device), inputs.float()).to(self.device)

    def row(self, step: int, means: dict[str, float]) -> dict[str, float]:
        """Return the mean squared error of the noise, of the batches and of held-out images."""
        model = self._averaged()
        mean = self._mean_of(model)
        held = _held_out_loss(model, mean, self.held_inputs, self.alphas_cumprod, self.device)
        return {"step": step, "images": step * self.args.batch, **means, "held_out_loss": held}

    def export(self, minutes: float) -> None:
        """Write the generator with the whitening of its codes, and draw samples with it."""
        out = Path(self.args.out)
        model = self._averaged()
        codes = _codes(model, self.inputs[: len(self.images)], self.device)
        mean = self._mean_of(model)
        noise = codes.var(0).mean().item() * self.args.z_sem_noise**2
        weights = GeneratorWeights(
            diffae=model.state_dict(),
            codec=self.codec.state_dict() if self.codec is not None else {},
            whitening=Whitening.of(codes, floor=noise).state_dict(),
            semantic_mean=mean.state_dict() if mean is not None else {},
        )
        config = self.architecture.to_config() | {"whiten_z_sem": True}
        if mean is not None:
            config["semantic_mean"] = True
        config["sampling"] = {"solver": "dpm++2m", "encode_steps": 8, "decode_steps": 8}
        if self.codec is not None:
            config["codec"] = json.loads((Path(self.args.codec) / CODEC_CONFIG).read_text())
        save_generator(config, weights, out)
        x = spread(self.held_out, 10).to(self.device).float() / 255
        rows = _samples(load_generator(out / CONFIG_NAME, out / WEIGHTS_NAME, self.device), x)
        save_grid(out / f"samples-{round(minutes):03d}min.png", rows)

    def state(self) -> dict[str, Tensor]:
        """Return the statistics of the codes."""
        if self.decorrelation is not None:
            return dict(self.decorrelation.state_dict())
        return {"z_sem_std": self.z_sem_std}

    def resume(self, state: dict[str, Tensor]) -> None:
        """Take over the statistics of the codes."""
        if self.decorrelation is not None:
            self.decorrelation.load_state_dict(state)
            return
        self.z_sem_std = state["z_sem_std"].to(self.device)


def _samples(generator: Generator, images: Tensor) -> list[Tensor]:
    """Return images, reconstructions, and these with fresh noise and with another image's code."""
    latent = generator.encode(images, solver="dpm++2m", steps=16)
    fresh = torch.randn(latent.z_T.shape, generator=torch.Generator().manual_seed(0))
    latents = [
        latent,
        Latent(latent.z_sem, fresh.to(latent.z_T.device)),
        Latent(latent.z_sem.roll(1, 0), latent.z_T),
    ]
    return [images, *(generator.decode(each, solver="dpm++2m", steps=16) for each in latents)]


def _load_codec(folder: Path, device: torch.device) -> VAE:
    """The codec that `train vae` wrote to this folder."""
    if not (folder / CODEC_CONFIG).is_file():
        raise GCDError(f"{folder} holds no {CODEC_CONFIG}; make the codec first with `train vae`.")
    codec = VAE.from_config(json.loads((folder / CODEC_CONFIG).read_text(encoding="utf-8")))
    load_strictly(codec, read_weights(folder / CODEC_WEIGHTS).codec, "codec")
    return codec.eval().requires_grad_(False).to(device)


def _architecture(args: argparse.Namespace, depth: int, side: int) -> Architecture:
    """The network for inputs (depth, side, side)."""
    return Architecture.from_config(
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


@torch.inference_mode()
def _inputs(
    images: Tensor, codec: VAE | None, copies: int, seed: int, device: torch.device
) -> Tensor:
    """Return what the DiffAE learns from: images and moved copies of them, encoded by the codec."""
    generator = torch.Generator().manual_seed(seed)
    chunks = []
    for repeat in range(1 + copies):
        for batch in images.split(64):
            x = batch.to(device).float() / 255
            if repeat:
                x = augment_gently(x, generator)
            chunks.append((codec.encode(x) if codec else x * 2 - 1).to(torch.bfloat16).cpu())
    return torch.cat(chunks).clone()


@torch.inference_mode()
def _codes(model: DiffAEModel, inputs: Tensor, device: torch.device) -> Tensor:
    """The semantic codes (N, D) of the inputs, on the CPU."""
    return torch.cat([model.encoder(b.to(device).float()).cpu() for b in inputs.split(256)])


@torch.inference_mode()
def _held_out_loss(
    model: DiffAEModel,
    mean: SemanticMean | None,
    inputs: Tensor,
    alphas_cumprod: Tensor,
    device: torch.device,
) -> float:
    """Mean squared error of the noise over held-out images, always at the same times and noise."""
    source = torch.Generator().manual_seed(0)
    x_0 = inputs[:64].to(device).float()
    t = torch.linspace(5, 995, len(x_0)).long()
    noise = torch.randn(x_0.shape, generator=source).to(device)
    a = alphas_cumprod[t.to(device)][:, None, None, None]
    z_sem = model.encoder(x_0)
    rest = x_0 if mean is None else x_0 - mean(z_sem)
    with autocast(device):
        predicted = model(a.sqrt() * rest + (1 - a).sqrt() * noise, t.to(device), z_sem)
    return F.mse_loss(predicted.float(), noise).item()
