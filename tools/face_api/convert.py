"""`convert`: write the ONNX files of the domain `faces`."""

import argparse
from pathlib import Path

from gcd_core.errors import GCDError
from gcd_core.files import atomic_write
from tools.face_api.merge import merged
from tools.face_api.networks import recognition_model, second_opinion


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the options of `convert`."""
    parser.add_argument(
        "--package", type=Path, required=True, help="folder of @vladmandic/face-api, unpacked"
    )
    parser.add_argument(
        "--models", type=Path, required=True, help="folder of age.onnx and emotion.onnx"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder that gets the three files")


def main(args: argparse.Namespace) -> None:
    """Write `networks.onnx`, `second_opinion.onnx` and `recognition.onnx`."""
    age, emotion = args.models / "age.onnx", args.models / "emotion.onnx"
    for path in (age, emotion, args.out):
        if not path.exists():
            raise GCDError(f"{path} does not exist.")
    models = {
        "networks": merged(age, emotion),
        "second_opinion": second_opinion(args.package / "model"),
        "recognition": recognition_model(args.package / "model"),
    }
    for name, model in models.items():
        path = args.out / f"{name}.onnx"
        with atomic_write(path) as place:
            place.write_bytes(model.SerializeToString(deterministic=True))
        print(f"{path}: {path.stat().st_size / 2**20:.2f} MiB")
