"""Pictures in and out: every sort of file that a person may drop on the page."""

import io
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from gcd_core.errors import GCDError
from gcd_core.images import reading as imaging
from gcd_core.images.limits import ImageError
from gcd_core.images.reading import load_image

RAMP = np.linspace(0, 1, 64 * 64).reshape(64, 64)


def encoded(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **({"format": "PNG"} | options))
    return buffer.getvalue()


def grey(values: np.ndarray = RAMP) -> Image.Image:
    return Image.fromarray((values * 255).round().astype(np.uint8))


def png(width: int, height: int, bits: int, colour: int, pixels: bytes) -> bytes:
    """A PNG by its specification; `colour` is 0 for grey, 2 for RGB, 4 for grey with alpha."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(pixels))
    return b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b"")


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises these dimensions and holds no pixels."""
    return png(width, height, 8, 0, b"")


def deep_png(values: np.ndarray, colour: int) -> bytes:
    """A PNG of 16 bits (rows, columns, samples)."""
    rows = [b"\0" + row.astype(">u2").tobytes() for row in values]
    return png(values.shape[1], values.shape[0], 16, colour, b"".join(rows))


def tiff(values: np.ndarray, order: str) -> bytes:
    """A grey TIFF of 16 bits; `order` is "<" or ">"."""
    height, width = values.shape
    tags = [(256, width), (257, height), (258, 16), (259, 1), (262, 1), (273, 8)]
    tags += [(277, 1), (278, height), (279, values.size * 2)]
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags)
    start = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8 + 2 * values.size)
    pixels = values.astype(f"{order}u2").tobytes()
    return start + pixels + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)


def expected_ramp() -> torch.Tensor:
    return torch.from_numpy(RAMP).float()[None, None]


def refusal(source) -> str:
    with pytest.raises(ImageError) as caught:
        load_image(source, 64, 1)
    message = str(caught.value)
    assert message.endswith(".") and "\n" not in message
    return message


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "GIF"])
@pytest.mark.parametrize("how", ["bytes", "path", "str", "stream", "pil"])
def test_every_lossless_format_and_source_gives_the_exact_pixels(tmp_path, file_format, how):
    data = encoded(grey(), format=file_format)
    path = tmp_path / "picture"
    path.write_bytes(data)
    sources = {"bytes": data, "path": path, "str": str(path), "stream": io.BytesIO(data)}
    image = load_image(sources[how] if how in sources else Image.open(path), 64, 1)
    assert image.shape == (1, 1, 64, 64) and image.dtype == torch.float32
    assert torch.equal(image, (expected_ramp() * 255).round() / 255)


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP"])
def test_lossy_formats_give_nearly_the_pixels(file_format):
    image = load_image(encoded(grey(), format=file_format, quality=95), 64, 1)
    assert (image - expected_ramp()).abs().mean() < 0.01


def test_the_whole_frame_is_squashed_and_antialiased():
    stripes = np.tile([0.0, 1.0], 200)[None].repeat(100, 0)  # one pixel wide: grey when shrunk
    image = load_image(encoded(grey(stripes)), 20, 1)
    assert image.shape == (1, 1, 20, 20)
    assert (image[..., 2:-2] - 0.5).abs().max() < 0.02
    halves = np.zeros((40, 200))
    halves[:, 100:] = 1
    image = load_image(encoded(grey(halves)), 20, 1)
    assert image[..., :8].max() < 0.1 and image[..., 12:].min() > 0.9


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_sixteen_bit_pictures_keep_their_range(bits, file_format):
    deep = Image.fromarray((RAMP * (2**bits - 1)).round().astype(np.uint16))
    image = load_image(encoded(deep, format=file_format), 64, 1)
    assert (image - expected_ramp()).abs().max() <= 0.5 / (2**bits - 1) + 1e-6


@pytest.mark.parametrize("bits", [12, 16])
def test_sixteen_bit_files_of_other_programs_are_exact(bits):
    values = np.arange(4096).reshape(64, 64) * (2**bits // 4096) + 2**bits // 4096 - 1
    exact = torch.from_numpy(values / (2**bits - 1))[None, None]
    for data in (deep_png(values[..., None], 0), tiff(values, "<"), tiff(values, ">")):
        assert (load_image(data, 64, 1) - exact).abs().max() < 1e-7


def test_of_sixteen_bit_colour_eight_are_kept():
    values = np.stack([RAMP, RAMP.T, 1 - RAMP], -1) * 65535
    image = load_image(deep_png(values, 2), 64, 3)[0].permute(1, 2, 0)
    assert torch.equal(image, torch.from_numpy(values.astype(int) // 256).float() / 255)
    assert (image - torch.from_numpy(values / 65535)).abs().max() < 1 / 255
    veiled = deep_png(np.stack([RAMP * 65535, 65535 + 0 * RAMP], -1), 4)
    assert (load_image(veiled, 64, 1) - expected_ramp()).abs().max() < 1 / 255


def test_more_than_eight_bits_survive():
    fine = Image.fromarray((32768 + np.arange(4096).reshape(64, 64) % 16).astype(np.uint16))
    assert load_image(encoded(fine), 64, 1).unique().numel() == 16


def test_a_dark_sixteen_bit_picture_stays_dark():
    deep = Image.fromarray((RAMP * 30000).astype(np.uint16))
    assert load_image(encoded(deep), 64, 1).max().item() == pytest.approx(30000 / 65535, abs=1e-4)


def test_other_depths():
    signed = Image.fromarray((RAMP * 3000 - 1000).astype(np.int32))  # as Hounsfield units
    assert (load_image(encoded(signed, format="TIFF"), 64, 1) - expected_ramp()).abs().max() < 1e-3
    for top in (1, 255, 65535):
        floats = Image.fromarray((RAMP * top).astype(np.float32))
        image = load_image(encoded(floats, format="TIFF"), 64, 1)
        assert (image - expected_ramp()).abs().max() < 1e-5
    constant = Image.fromarray(np.zeros((64, 64), dtype=np.uint16))
    assert load_image(encoded(constant), 64, 1).abs().max() == 0
    nan = Image.fromarray(np.full((64, 64), np.nan, dtype=np.float32))
    assert "NaN" in refusal(encoded(nan, format="TIFF"))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiffs_in_which_white_is_zero_are_inverted(dtype):
    top = np.iinfo(dtype).max
    stored = Image.fromarray(((1 - RAMP) * top).round().astype(dtype))
    buffer = io.BytesIO()
    stored.save(buffer, format="TIFF")
    data = bytearray(buffer.getvalue())
    entry = data.find(struct.pack("<HHIH", 262, 3, 1, 1))  # the tag: BlackIsZero
    assert entry > 0
    data[entry + 8] = 0
    image = load_image(bytes(data), 64, 1)
    assert (image - expected_ramp()).abs().max() < 1 / 255


def test_deep_grey_in_a_colour_domain():
    deep = Image.fromarray((RAMP * 65535).astype(np.uint16))
    image = load_image(encoded(deep), 32, 3)
    assert image.shape == (1, 3, 32, 32) and torch.equal(image[:, 0], image[:, 2])


def test_cmyk():
    ink = Image.merge("CMYK", [Image.new("L", (64, 64))] * 3 + [grey(1 - RAMP)])
    for file_format in ("JPEG", "TIFF"):
        image = load_image(encoded(ink, format=file_format), 64, 1)
        assert (image - expected_ramp()).abs().mean() < 0.02


def test_palette_and_one_bit():
    palette = grey().convert("P")
    assert (load_image(encoded(palette), 64, 1) - expected_ramp()).abs().max() < 0.01
    bits = Image.fromarray(RAMP > 0.5)
    assert load_image(encoded(bits), 64, 1).unique().tolist() == [0, 1]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied(orientation, file_format):
    upright = np.zeros((64, 64))
    upright[:32, :] = 0.4
    upright[:32, :32] = 1.0  # brightest top left, then top right
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(grey(np.ascontiguousarray(stored)), format=file_format, exif=exif)
    image = load_image(data, 64, 1)[0, 0]
    assert image[16, 16] > 0.9 and 0.3 < image[16, 48] < 0.5 and image[48].max() < 0.1


def test_sixteen_bit_pictures_are_turned_too():
    deep = Image.fromarray((RAMP.T * 65535).astype(np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 5
    image = load_image(encoded(deep, exif=exif), 64, 1)
    assert (image - expected_ramp()).abs().max() < 1e-4


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P", "L"])
def test_transparent_parts_are_black(mode):
    alpha = np.zeros((64, 64), dtype=np.uint8)
    alpha[:, :32] = 255
    options = {}
    if mode == "P":
        picture = Image.fromarray((alpha > 0).astype(np.uint8))
        picture.putpalette([255, 255, 255] * 2)
        options["transparency"] = 0
    elif mode == "L":
        picture = Image.fromarray(np.where(alpha > 0, 255, 200).astype(np.uint8))
        options["transparency"] = 200
    else:
        picture = Image.new(mode[:-1], (64, 64), "white")
        picture.putalpha(Image.fromarray(alpha))
    image = load_image(encoded(picture, **options), 64, 1)
    assert image[..., :32].min() == 1 and image[..., 32:].max() == 0


def test_half_transparent_is_half_bright():
    picture = Image.new("RGBA", (8, 8), (255, 255, 255, 128))
    assert load_image(encoded(picture), 8, 1).mean().item() == pytest.approx(128 / 255, abs=0.01)


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_or_page_is_used(file_format):
    first, second = grey(np.full((64, 64), 0.8)), grey(np.zeros((64, 64)))
    data = encoded(first, format=file_format, save_all=True, append_images=[second, second])
    assert load_image(data, 64, 1).mean().item() == pytest.approx(0.8, abs=0.01)


def test_colour_becomes_luminance_or_stays():
    colours = Image.new("RGB", (8, 8), (255, 0, 0))
    assert load_image(encoded(colours), 8, 1).mean().item() == pytest.approx(0.299, abs=0.003)
    image = load_image(encoded(colours), 8, 3)
    assert image.mean((0, 2, 3)).tolist() == [1, 0, 0]


def test_a_picture_of_few_pixels_is_told():
    assert "20 × 30 pixels" in imaging.small_words((20, 30), 128)
    assert imaging.small_words((500, 63), 128) and not imaging.small_words((64, 64), 128)


def test_a_colour_photograph_is_noticed():
    rng = np.random.default_rng(0)
    cat = np.zeros((90, 120, 3), dtype=np.uint8) + np.uint8([210, 140, 60])
    cat[20:60, 30:90] = [90, 160, 70]
    assert imaging.looks_like_photograph(encoded(Image.fromarray(cat), format="JPEG"))
    noisy = (RAMP[..., None] * 255 + rng.normal(0, 4, (64, 64, 3))).clip(0, 255).astype(np.uint8)
    assert not imaging.looks_like_photograph(encoded(Image.fromarray(noisy), format="JPEG"))
    marked = np.repeat((RAMP * 255).astype(np.uint8)[..., None], 3, -1)
    marked[4:12, 4:12] = [255, 0, 0]
    assert not imaging.looks_like_photograph(encoded(Image.fromarray(marked)))
    deep = Image.fromarray((RAMP * 65535).astype(np.uint16))
    assert not imaging.looks_like_photograph(encoded(deep))


@pytest.mark.parametrize(
    "data",
    [b"", b"not an image", b"%PDF-1.7 " + b"x" * 500, b"\x00" * 1000, b"<svg></svg>"],
    ids=["empty", "text", "pdf", "zeros", "svg"],
)
def test_what_is_no_picture_is_refused(data):
    assert "PNG" in refusal(data)


def test_formats_beside_the_list_are_refused():
    assert "PNG" in refusal(encoded(grey(), format="PPM"))
    assert "PNG" in refusal(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n")


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF", "WEBP", "BMP"])
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_truncated_files_are_refused(file_format, share):
    noise = np.random.default_rng(0).random((64, 64))
    data = encoded(grey(noise), format=file_format)
    refusal(data[: int(len(data) * share)])


def test_damaged_files_never_raise_anything_else():
    rng = np.random.default_rng(0)
    noise = rng.random((32, 32))
    for file_format in imaging.FORMATS:
        data = np.frombuffer(encoded(grey(noise), format=file_format), dtype=np.uint8)
        for _ in range(40):
            broken = data.copy()
            places = rng.integers(0, len(data), 4)
            broken[places] = rng.integers(0, 256, 4)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    image = load_image(broken.tobytes(), 16, 1)
                except ImageError:
                    continue
            assert image.isfinite().all() and image.min() >= 0 and image.max() <= 1


@pytest.mark.parametrize(
    "size, limit",
    [
        ((30_000, 10), "more than 20,000 on a side"),
        ((10, 30_000), "more than 20,000 on a side"),
        ((9_000, 9_000), "81 million in all, over 64 million"),
    ],
)
def test_large_pictures_are_refused_by_their_header(size, limit):
    message = refusal(png_header(*size))
    assert f"{size[0]:,} x {size[1]:,} pixels, {limit};" in message and "shrink" in message


def test_a_real_picture_30000_pixels_wide_is_refused():
    assert "30,000 x 20" in refusal(encoded(Image.new("L", (30_000, 20))))
    assert "30,000 x 20" in refusal(Image.new("L", (30_000, 20)))


def test_a_decompression_bomb_is_refused_and_pillow_is_left_as_it_was():
    before = Image.MAX_IMAGE_PIXELS
    assert "shrink" in refusal(png_header(19_000, 19_000))
    assert "shrink" in refusal(png_header(60_000, 60_000))
    assert before == Image.MAX_IMAGE_PIXELS


def test_a_file_of_too_many_bytes_is_refused(monkeypatch):
    monkeypatch.setattr(imaging, "MAX_BYTES", 2**20)
    assert "1 MB" in refusal(encoded(grey()) + b"\0" * 2**20)
    assert "1 MB" in refusal(io.BytesIO(b"\0" * 2**21))


def test_a_missing_path_is_refused(tmp_path):
    assert "nothing.png" in refusal(tmp_path / "nothing.png")
    refusal("no\0name")
    refusal(tmp_path)


def test_a_colour_mode_without_conversion_is_refused():
    lab = ImageCms.applyTransform(
        Image.new("RGB", (8, 8)),
        ImageCms.buildTransform(
            ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
        ),
    )
    assert "LAB" in refusal(encoded(lab, format="TIFF"))


def test_image_errors_are_the_projects():
    assert issubclass(ImageError, GCDError)


def test_the_source_is_left_as_it_was():
    picture = grey()
    load_image(picture, 16, 1)
    assert picture.size == (64, 64) and picture.info == {}


def test_threads_do_not_disturb_each_other():
    good, bad, results = encoded(grey()), png_header(19_000, 19_000), []

    def work() -> None:
        for _ in range(5):
            results.append(load_image(good, 64, 1).shape)
            with pytest.raises(ImageError):
                load_image(bad, 64, 1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [(1, 1, 64, 64)] * 20


def banded(width: int, height: int, across: bool) -> Image.Image:
    """A picture of three bands, dark, half bright and bright, one beside the other."""
    levels = np.repeat([60, 120, 240], (width if across else height) // 3)
    values = np.broadcast_to(levels if across else levels[:, None], (height, width))
    return Image.fromarray(values.astype(np.uint8))


@pytest.mark.parametrize("across", [True, False])
def test_a_strip_is_squeezed_padded_or_cropped(across: bool):
    size = (96, 32) if across else (32, 96)
    file = encoded(banded(*size, across))

    def rows(fit: str) -> torch.Tensor:  # along the strip's longer side
        image = load_image(file, 24, 1, fit)[0, 0] * 255
        return image if across else image.T

    squeezed, padded, cropped = rows("stretch"), rows("pad"), rows("crop")
    assert squeezed[12, [3, 12, 20]].tolist() == pytest.approx([60, 120, 240], abs=1)
    assert padded[12, [3, 12, 20]].tolist() == pytest.approx([60, 120, 240], abs=1)
    assert not padded[:8].any() and not padded[16:].any() and (padded[8:16] > 0).all()
    assert cropped.min() == cropped.max() == 120, "its middle third"
    assert torch.equal(load_image(file, 24, 1), load_image(file, 24, 1, "stretch"))


def test_padding_and_cropping_odd_sizes_takes_the_middle():
    for fit in ("pad", "crop"):
        assert load_image(encoded(grey(RAMP[:, :63])), 31, 3, fit).shape == (1, 3, 31, 31)
    line = encoded(Image.new("L", (1, 900), 200))
    padded = load_image(line, 9, 1, "pad")[0, 0]
    assert (padded[:, 4] > 0.7).all() and not padded[:, [0, 1, 2, 3, 5, 6, 7, 8]].any()
    assert load_image(line, 9, 1, "crop").min() > 0.7
    square = encoded(grey())
    assert torch.equal(load_image(square, 16, 1, "pad"), load_image(square, 16, 1, "crop"))
    with pytest.raises(ImageError, match="no fit 'zoom'; choose one of stretch, pad, crop"):
        load_image(square, 16, 1, "zoom")


def test_padding_a_long_strip_takes_no_square_of_its_length():
    strip = encoded(Image.new("L", (20_000, 3), 100))
    image = load_image(strip, 64, 1, "pad")
    assert image.shape == (1, 1, 64, 64) and 0 < image.mean() < 0.02


# -- files as people have them -------------------------------------------------------------------


def with_chunks(*chunks: tuple[bytes, bytes], after: bool = False) -> bytes:
    """The ramp as PNG, with these chunks before its pixels, or after them."""
    data = encoded(grey())
    made = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
    place = data.index(b"IEND" if after else b"IDAT") - 4
    return data[:place] + made + data[place:]


BIG = zlib.compress(bytes(3_000_000))


@pytest.mark.parametrize(
    "chunk",
    [
        (b"iCCP", b"x\0\0" + BIG),
        (b"zTXt", b"Comment\0\0" + BIG),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + BIG),
        (b"iTXt", b"Comment\0\0\0\0\0" + bytes([65]) * 3_000_000),
        (b"tEXt", b"Comment\0" + bytes([65]) * 3_000_000),
    ],
    ids=["profile", "packed text", "packed XMP", "plain XMP", "plain text"],
)
@pytest.mark.parametrize("after", [False, True])
def test_a_png_with_large_metadata_is_the_same_picture(chunk, after):
    if after and chunk[0] == b"iCCP":
        pytest.skip("a profile stands before the pixels")
    image = load_image(with_chunks(chunk, after=after), 64, 1)
    assert torch.equal(image, load_image(encoded(grey()), 64, 1))


def test_many_large_texts_are_the_same_picture():
    image = load_image(with_chunks(*[(b"zTXt", b"k\0\0" + BIG)] * 40), 64, 1)
    assert torch.equal(image, load_image(encoded(grey()), 64, 1))


def test_the_orientation_in_a_pngs_text_is_kept():
    exif = Image.Exif()
    exif[0x0112] = 6
    body = exif.tobytes()
    profile = f"\nexif\n{len(body):8d}\n{body.hex()}\n".encode()
    turned = np.rot90(RAMP)
    data = encoded(grey(np.ascontiguousarray(turned)))
    chunk = b"Raw profile type exif\0\0" + zlib.compress(profile)
    text = struct.pack(">I", len(chunk)) + b"zTXt" + chunk
    text += struct.pack(">I", zlib.crc32(b"zTXt" + chunk))
    place = data.index(b"IDAT") - 4
    image = load_image(data[:place] + text + data[place:], 64, 1)
    assert (image - expected_ramp()).abs().max() < 0.01


def test_a_damaged_png_is_still_called_so():
    data = bytearray(encoded(grey()))
    data[data.index(b"IDAT") + 20] ^= 0xFF
    assert "damaged" in refusal(bytes(data))


def bitmap(alpha: int) -> bytes:
    """A bitmap of 32 bits with a mask for alpha (its header's version 4), by the specification."""
    levels = (RAMP * 255).round().astype(np.uint8)
    rows = np.stack([levels, levels, levels, np.full_like(levels, alpha)], -1)[::-1]
    header = struct.pack("<IiiHHIIiiII", 108, 64, 64, 1, 32, 3, rows.nbytes, 2835, 2835, 0, 0)
    header += struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000) + bytes(52)
    return b"BM" + struct.pack("<IHHI", 122 + rows.nbytes, 0, 0, 122) + header + rows.tobytes()


@pytest.mark.parametrize("alpha", [0, 255])
def test_alpha_that_says_nothing_is_left_out(alpha):
    layers = np.dstack(
        [
            np.stack([(RAMP * 255).round().astype(np.uint8)] * 3, -1),
            np.full((64, 64), alpha, np.uint8),
        ]
    )
    sources = [bitmap(alpha), layers]
    sources += [encoded(Image.fromarray(layers), format=kind) for kind in ("PNG", "TIFF")]
    sources += [encoded(Image.fromarray(layers[..., 2:]), format="PNG")]
    for source in sources:
        assert (load_image(source, 64, 1) - expected_ramp()).abs().max() < 0.01
        assert (load_image(source, 64, 3) - expected_ramp()).abs().max() < 0.01
