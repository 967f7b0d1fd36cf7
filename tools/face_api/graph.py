"""An ONNX graph, built node by node, with the crop and the resizes that all three files share."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tools.face_api.weights import Weight

OPSET = 18
IR_VERSION = 10
SIDE = 128  # of the portraits, pixels
MARGIN = 16  # cut from each edge: the middle 75 % of the frame, 96 pixels, is the face
FACE = SIDE - 2 * MARGIN
BYTES_FROM = 256  # quantised weights of at least so many numbers stay bytes
HALVED_FROM = 1024  # weights of at least so many numbers become half precision, if any do


@dataclass
class Graph:
    """Nodes and weights; every method adds to them and returns the name of what it computes."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node of one output."""
        output = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, array: NDArray | np.generic, name: str = "") -> str:
        """Add an array that does not depend on the images."""
        name = name or f"constant_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def weight(self, weight: Weight, name: str = "") -> str:
        """Add a weight: what is large and quantised stays bytes in the file, all else is float32.

        The bytes become numbers in the graph, so the file has the original's very numbers and is
        as small as the original.
        """
        if not weight.quantised or weight.stored.size < BYTES_FROM:
            return self.constant(weight.values, name)
        numbers = self.node("Cast", self.constant(weight.stored), to=TensorProto.FLOAT)
        scaled = self.node("Mul", numbers, self.constant(np.float32(weight.scale)))
        return self.node("Add", scaled, self.constant(np.float32(weight.minimum)))

    def face(self, images: str) -> str:
        """Cut the middle 75 % out of `images` (N, 3, 128, 128): (N, 3, 96, 96)."""
        begin, end = np.array([MARGIN, MARGIN]), np.array([SIDE - MARGIN, SIDE - MARGIN])
        places = [self.constant(array.astype(np.int64)) for array in (begin, end, np.array([2, 3]))]
        return self.node("Slice", images, *places)

    def resized(self, images: str, rows: NDArray[np.float32]) -> str:
        """Resize square images (..., S, S) by a matrix (T, S): (..., T, T)."""
        matrix = self.constant(rows)
        columns = self.node("Transpose", matrix, perm=[1, 0])
        return self.node("MatMul", matrix, self.node("MatMul", images, columns))

    def model(self, name: str, outputs: dict[str, int], description: str) -> onnx.ModelProto:
        """Return the checked model from `images` (N, 3, 128, 128) to outputs (N, width) by name."""
        source = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])
        targets = [
            helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", width])
            for output, width in outputs.items()
        ]
        graph = helper.make_graph(self.nodes, name, [source], targets, self.weights, description)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="tools.face_api")
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model, full_check=True)
        return model


def antialiased(source: int, target: int) -> NDArray[np.float32]:
    """Return the matrix (target, source) of a bilinear resize with antialiasing.

    It is PyTorch's (`interpolate` with `antialias=True`), whose filter is Pillow's: a triangle as
    wide as the larger of a source and a target pixel. ONNX has a `Resize` with antialiasing, but
    not every runtime computes the same; a product with a matrix leaves no choice.
    """
    resized = torch.nn.functional.interpolate(
        torch.eye(source)[None, None], (target, source), mode="bilinear", antialias=True
    )
    return resized[0, 0].numpy()


def top_left_aligned(source: int, target: int) -> NDArray[np.float32]:
    """Return the matrix (target, source) of TensorFlow.js' `resizeBilinear`, as face-api calls it.

    Target pixel t lies at t * source / target, counted from the first pixel's centre; there is no
    antialiasing.
    """
    place = np.arange(target) * (source / target)
    floor = np.floor(place).astype(int)
    after = np.minimum(np.ceil(place).astype(int), source - 1)
    matrix = np.zeros((target, source))
    np.add.at(matrix, (np.arange(target), floor), 1 - (place - floor))
    np.add.at(matrix, (np.arange(target), after), place - floor)
    return matrix.astype(np.float32)


def halve_weights(graph: Graph, prefix: str) -> None:
    """Store the large float32 weights whose name begins with `prefix` in half precision.

    A `Cast` makes float32 of them again: only what is stored is rounded, all arithmetic stays in
    float32.
    """
    casts = []
    for weight in graph.weights:
        name, size = weight.name, int(np.prod(weight.dims))
        if not name.startswith(prefix) or weight.data_type != TensorProto.FLOAT:
            continue
        if size >= HALVED_FROM:
            halved = numpy_helper.to_array(weight).astype(np.float16)
            weight.CopyFrom(numpy_helper.from_array(halved, f"{name}.half"))
            casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    graph.nodes[:0] = casts
