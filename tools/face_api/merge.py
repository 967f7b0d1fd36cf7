"""The age network and the emotion network of the domain `faces` as one model of 88 answers."""

from pathlib import Path

import numpy as np
import onnx
from onnx import compose

from tools.face_api.graph import FACE, Graph, antialiased, halve_weights

AGES = 81  # 0 to 80 years
EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
SIDE = 64  # what both networks take
AGE_MEAN = (122.782, 117.001, 104.298)  # red, green, blue; of bytes
LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601: the grey of Pillow's "L" and of OpenCV


def merged(age: Path, emotion: Path, *, half: bool = True) -> onnx.ModelProto:
    """Return one model of both networks, on portraits of 128 x 128 pixels.

    Its input is `images` (N, 3, 128, 128), RGB, [0, 1]: portraits whose face fills the middle
    75 %. Its output is `probabilities` (N, 88): 81 of the ages 0 to 80, then 7 of `EMOTIONS`. With
    `half` the age network's large weights are stored in half precision.
    """
    graph = Graph()
    face = graph.resized(graph.face("images"), antialiased(FACE, SIDE))
    # The age network takes (bytes - mean) / 256, the emotion network grey bytes / 127.5 - 1.
    shift = (np.array(AGE_MEAN) / -256).astype(np.float32).reshape(1, 3, 1, 1)
    scaled = graph.node("Mul", face, graph.constant(np.float32(255 / 256)))
    coloured = graph.node("Add", scaled, graph.constant(shift))
    luma = (2 * np.array(LUMA)).astype(np.float32).reshape(1, 3, 1, 1)
    grey = graph.node(
        "Conv", face, graph.constant(luma), graph.constant(np.array([-1], np.float32))
    )

    of_age = compose.add_prefix(onnx.load(age), "age/").graph
    of_emotion = compose.add_prefix(onnx.load(emotion), "emotion/").graph
    # The emotion network's first node makes (N, 1, 64, 64) of (N, 64, 64, 1): `grey` is that.
    reshape, *layers = of_emotion.node
    _connect([*of_age.node], of_age.input[0].name, coloured)
    _connect(layers, reshape.output[0], grey)
    graph.nodes += [*of_age.node, *layers]
    graph.weights += [*of_age.initializer]
    graph.weights += [w for w in of_emotion.initializer if w.name not in reshape.input]
    outputs = [of_age.output[0].name, of_emotion.output[0].name]
    graph.node("Concat", *outputs, output="probabilities", axis=1)
    if half:
        halve_weights(graph, "age/")
    description = "81 probabilities of the ages 0 to 80, then " + ", ".join(EMOTIONS)
    return graph.model("age_and_emotion", {"probabilities": AGES + len(EMOTIONS)}, description)


def _connect(nodes: list[onnx.NodeProto], before: str, after: str) -> None:
    """Let every node that takes `before` take `after`."""
    for node in nodes:
        node.input[:] = [after if name == before else name for name in node.input]
