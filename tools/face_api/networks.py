"""Three networks of the npm package @vladmandic/face-api, node by node as its source has them.

Its images are (N, H, W, C) and its kernels (H, W, in, out); here they are (N, C, H, W) and
(out, in, H, W). "same" padding is TensorFlow's: an odd pixel more is padded below and right.
"""

from pathlib import Path

import numpy as np
import onnx

from tools.face_api.graph import FACE, Graph, top_left_aligned
from tools.face_api.weights import Weight, read_weights

MEAN = (122.782, 117.001, 104.298)  # red, green, blue; of bytes
EXPRESSIONS = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
SIDE_OF_FEATURES = 112  # what the age and the expression network take
SIDE_OF_RECOGNITION = 150
DESCRIPTOR = 128  # numbers
HAPPY = EXPRESSIONS.index("happy")
OLD, YEARS_PER_UNIT = 50.0, 5.0  # what `log_odds` makes of an age
NEAREST = 1e-6  # to 0 and 1 that a probability comes before its log-odds are taken


class Network:
    """A graph and the weights of one network, with the layers that the networks are made of."""

    def __init__(self, graph: Graph, weights: dict[str, Weight]) -> None:
        self.graph = graph
        self.weights = weights

    def per_channel(self, kind: str, x: str, name: str) -> str:
        """Add to, or multiply, each channel of `x` by a weight (C,)."""
        weight = self.weights[name]
        return self.graph.node(kind, x, self.graph.constant(weight.values.reshape(1, -1, 1, 1)))

    def kernel(self, name: str) -> str:
        """A kernel (H, W, in, out) as (out, in, H, W); of a depthwise one (H, W, C, 1) as well."""
        axes = (2, 3, 0, 1) if name.endswith("depthwise_filter") else (3, 2, 0, 1)
        return self.graph.weight(self.weights[name].transposed(*axes))

    def convolve(self, x: str, name: str, stride: int = 1, padding: str = "SAME_UPPER") -> str:
        """A convolution with its bias."""
        kernel = self.kernel(f"{name}/filters")
        x = self.graph.node("Conv", x, kernel, strides=[stride, stride], auto_pad=padding)
        return self.per_channel("Add", x, f"{name}/bias")

    def separable(self, x: str, name: str, stride: int = 1) -> str:
        """A convolution of each channel, then one of all channels at each pixel, with a bias."""
        depthwise = f"{name}/depthwise_filter"
        group = self.weights[depthwise].stored.shape[2]
        x = self.graph.node(
            "Conv",
            x,
            self.kernel(depthwise),
            strides=[stride, stride],
            auto_pad="SAME_UPPER",
            group=group,
        )
        x = self.graph.node("Conv", x, self.kernel(f"{name}/pointwise_filter"))
        return self.per_channel("Add", x, f"{name}/bias")

    def dense(self, x: str, name: str) -> str:
        """A fully connected layer with its bias, of (N, C)."""
        x = self.graph.node("MatMul", x, self.graph.weight(self.weights[f"{name}/weights"]))
        return self.graph.node("Add", x, self.graph.constant(self.weights[f"{name}/bias"].values))

    def relu(self, x: str) -> str:
        """The positive part."""
        return self.graph.node("Relu", x)

    def add(self, *terms: str) -> str:
        """The sum of two terms or more, the last two first."""
        *others, total = terms
        for term in reversed(others):
            total = self.graph.node("Add", term, total)
        return total

    def zeros_after(self, x: str, channels: int, rows: int, columns: int) -> str:
        """Put so many channels, rows and columns of zeros after those of `x`."""
        pads = np.array([0, 0, 0, 0, 0, channels, rows, columns], np.int64)
        return self.graph.node("Pad", x, self.graph.constant(pads))

    def pooled(self, x: str) -> str:
        """The mean of each channel: (N, C)."""
        return self.graph.node("Flatten", self.graph.node("GlobalAveragePool", x))


def age(network: Network, images: str) -> str:
    """The age in years (N, 1): AgeGenderNet, a small Xception. Its other answer is left out."""
    x = network.relu(network.convolve(images, "entry_flow/conv_in", stride=2))
    x = _reduction(network, x, "entry_flow/reduction_block_0", activate=False)
    x = _reduction(network, x, "entry_flow/reduction_block_1")
    for block in ("middle_flow/main_block_0", "middle_flow/main_block_1"):
        inner = x
        for index in range(3):
            inner = network.separable(network.relu(inner), f"{block}/separable_conv{index}")
        x = network.add(inner, x)
    x = _reduction(network, x, "exit_flow/reduction_block")
    x = network.relu(network.separable(x, "exit_flow/separable_conv"))
    return network.dense(network.pooled(x), "fc/age")


def _reduction(network: Network, x: str, name: str, activate: bool = True) -> str:
    """Halve the side: two separable convolutions and a maximum, beside a strided convolution."""
    inner = network.relu(x) if activate else x
    inner = network.separable(inner, f"{name}/separable_conv0")
    inner = network.separable(network.relu(inner), f"{name}/separable_conv1")
    inner = network.graph.node(
        "MaxPool", inner, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"
    )
    return network.add(inner, network.convolve(x, f"{name}/expansion_conv", stride=2))


def expression(network: Network, images: str) -> str:
    """The probabilities (N, 7) of `EXPRESSIONS`: FaceExpressionNet, four dense blocks."""
    x = images
    for block in range(4):
        name = f"dense{block}"
        first = network.convolve if block == 0 else network.separable
        terms = [network.relu(first(x, f"{name}/conv0", stride=2))]
        terms.append(network.separable(terms[0], f"{name}/conv1"))
        for index in (2, 3):
            inner = network.relu(network.add(*terms))
            terms.append(network.separable(inner, f"{name}/conv{index}"))
        x = network.relu(network.add(*terms))
    return network.graph.node("Softmax", network.dense(network.pooled(x), "fc"), axis=1)


def recognition(network: Network, images: str) -> str:
    """The descriptor (N, 128): FaceRecognitionNet, a residual network of 29 convolutions."""
    x = network.relu(_scaled(network, images, "conv32_down", stride=2, padding="VALID"))
    x = network.graph.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2])
    side = 35
    for channels, blocks in ((32, 4), (64, 4), (128, 3), (256, 3)):
        if channels > 32:
            x, side = _residual_down(network, x, f"conv{channels}_down", side, channels // 2)
        for index in range(1, blocks):
            x = _residual(network, x, f"conv{channels}_{index}")
    x, _ = _residual_down(network, x, "conv256_down_out", side, 0)
    fc = network.graph.weight(network.weights["fc"])
    return network.graph.node("MatMul", network.pooled(x), fc)


def _scaled(
    network: Network, x: str, name: str, stride: int = 1, padding: str = "SAME_UPPER"
) -> str:
    """A convolution, then a factor and an offset for each channel (a batch norm's)."""
    x = network.convolve(x, f"{name}/conv", stride, padding)
    x = network.per_channel("Mul", x, f"{name}/scale/weights")
    return network.per_channel("Add", x, f"{name}/scale/biases")


def _residual(network: Network, x: str, name: str) -> str:
    """Two convolutions beside the identity."""
    inner = network.relu(_scaled(network, x, f"{name}/conv1"))
    return network.relu(network.add(_scaled(network, inner, f"{name}/conv2"), x))


def _residual_down(network: Network, x: str, name: str, side: int, more: int) -> tuple[str, int]:
    """Two convolutions, the first strided, beside a mean of 2 x 2 pixels.

    Where the convolutions end a pixel short, zeros are put below and right; where the mean has
    fewer channels, `more` channels of zeros are put after its own. Returns the new side too.
    """
    inner = network.relu(_scaled(network, x, f"{name}/conv1", stride=2, padding="VALID"))
    inner = _scaled(network, inner, f"{name}/conv2")
    mean = network.graph.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2])
    after = (side - 3) // 2 + 1
    if after != side // 2:
        inner = network.zeros_after(inner, 0, 1, 1)
    if more:
        mean = network.zeros_after(mean, more, 0, 0)
    return network.relu(network.add(mean, inner)), side // 2


def _prepared(graph: Graph, face: str, side: int) -> str:
    """Resize a face (N, 3, 96, 96) of [0, 1], and subtract the mean."""
    mean = (np.array(MEAN) / 255).astype(np.float32).reshape(1, 3, 1, 1)
    resized = graph.resized(face, top_left_aligned(FACE, side))
    return graph.node("Sub", resized, graph.constant(mean))


def second_opinion(folder: Path) -> onnx.ModelProto:
    """Return the age and the expression network of the package's `model` folder as one model.

    Its input is `images` (N, 3, 128, 128), RGB, [0, 1]: portraits whose face fills the middle
    75 %. Its outputs are `answers` (N, 8): the age in years, then 7 probabilities of `EXPRESSIONS`;
    and `log_odds` (N, 2): (age - 50) / 5, and those of happy.
    """
    graph = Graph()
    images = _prepared(graph, graph.face("images"), SIDE_OF_FEATURES)
    of_age = Network(graph, read_weights(folder / "age_gender_model-weights_manifest.json"))
    of_face = Network(graph, read_weights(folder / "face_expression_model-weights_manifest.json"))
    answers = [age(of_age, images), expression(of_face, images)]
    graph.node("Concat", *answers, output="answers", axis=1)
    years = graph.node("Sub", answers[0], graph.constant(np.float32(OLD)))
    older = graph.node("Div", years, graph.constant(np.float32(YEARS_PER_UNIT)))
    place = [graph.constant(np.array([HAPPY + i], np.int64)) for i in (0, 1)]
    happy = graph.node("Slice", answers[1], *place, graph.constant(np.array([1], np.int64)))
    near = [graph.constant(np.float32(limit)) for limit in (NEAREST, 1 - NEAREST)]
    happy = graph.node("Clip", happy, *near)
    rest = graph.node("Sub", graph.constant(np.float32(1)), happy)
    smiling = graph.node("Log", graph.node("Div", happy, rest))
    graph.node("Concat", older, smiling, output="log_odds", axis=1)
    description = "the age in years, then the probabilities of " + ", ".join(EXPRESSIONS)
    description += "; log_odds: of an age above 50 (a unit is 5 years), and of happy"
    return graph.model(
        "second_opinion", {"answers": 1 + len(EXPRESSIONS), "log_odds": 2}, description
    )


def recognition_model(folder: Path) -> onnx.ModelProto:
    """Return the recognition network of the package's `model` folder.

    Its input is that of `second_opinion`, its output `descriptor` (N, 128).
    """
    graph = Graph()
    images = _prepared(graph, graph.face("images"), SIDE_OF_RECOGNITION)
    weights = read_weights(folder / "face_recognition_model-weights_manifest.json")
    descriptor = recognition(Network(graph, weights), images)
    graph.node("Identity", descriptor, output="descriptor")
    description = "a face's descriptor: faces of one person lie near each other"
    return graph.model("recognition", {"descriptor": DESCRIPTOR}, description)
