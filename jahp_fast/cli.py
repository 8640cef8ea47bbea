# SPDX-License-Identifier: Apache-2.0
"""The `jahp` command. Exit status 0, or 1 with one line on standard error that says what to do."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import io
import itertools
import json
import math
import os
import sys
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from jahp_fast import __version__
from jahp_fast.completion import SHELLS, script
from jahp_fast.errors import JahpError, LossWarning, UsageError, one_line
from jahp_fast.files.outputs import asked_bound, bound_options, checked_output, force_option, in_folder, save_option, takes_bytes
from jahp_fast.system.atomic import atomic_file
from jahp_fast.system.console import Parser, ProgressLine, exit_status


class _Command(Protocol):
    def configure(self, parser: argparse.ArgumentParser) -> None: ...
    def run(self, args: argparse.Namespace) -> int: ...


# Commands of their own module, imported only when called.
_MODULES = {
    "batch": ("jahp_fast.batch.command", "encode or decode whole folders, in parallel; can be interrupted"),
    "demo": ("jahp_fast.evaluate.demo", "encode a photo at three qualities and write a page that compares"),
    "bench": ("jahp_fast.evaluate.bench", "what each stage of encoding and decoding costs on this machine"),
    "eval": ("jahp_fast.evaluate.command", "rate and distortion on a folder of images, beside other codecs"),
    "train": ("jahp_fast.train.command", "train a model on folders of photos"),
    "study": ("jahp_fast.study.command", "what each part of the entropy model is worth, one factor at a time"),
    "export": ("jahp_fast.export.command", "turn a float checkpoint into a model file"),
    "import-compressai": ("jahp_fast.compat.command", "turn a checkpoint of CompressAI into a model file"),
}
_REPLACES = (
    "A file that is there is replaced as a whole, but never the input itself; a link stays, and the file behind it is "
    "replaced. Devices and pipes are written into. In a folder the file has the name of the input."
)


def _read(path: str) -> bytes:
    if path == "-" and sys.stdin is None:
        raise JahpError("cannot read standard input: it is closed")
    try:
        return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as e:
        raise JahpError(f"cannot read {path}: {e.strerror}") from None


def _place_output(args: argparse.Namespace, suffix: str) -> None:
    """Makes of a folder as an output the file in it, with this ending; checks that it can be written and is no input."""
    args.output = in_folder(args.output, args.input, suffix)
    model = args.model if args.model and Path(args.model).suffix == ".safetensors" else None
    checked_output(args.output, [args.input, model], force=args.force)


@contextmanager
def _output(path: str, force: bool) -> Iterator[BinaryIO]:
    """The file that a command writes: whole or not at all, but for standard output, devices and pipes."""
    if path != "-":
        with atomic_file(path, force) as file:
            yield file
        return
    if sys.stdout is None:
        raise JahpError("cannot write standard output: it is closed")
    yield sys.stdout.buffer
    sys.stdout.buffer.flush()


def _codec(args: argparse.Namespace, **kwargs: Any) -> Any:
    from jahp_fast.codec import Codec

    name, models = args.model or "mbt2018", []
    if args.model and Path(args.model).suffix == ".safetensors":
        name, models = Path(args.model).stem, [args.model]
    return Codec(name, device=args.device, backend=args.backend, threads=args.threads, models=models, exact=not args.inexact, **kwargs)


def _device_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default cpu)")
    parser.add_argument("--backend", default="auto", help="auto, native, reference, cuda or triton (default auto)")


def _codec_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", metavar="NAME|FILE", help="a model's name or its .safetensors file (default: mbt2018)")
    _device_options(parser)
    parser.add_argument("--threads", type=int, help="threads of the entropy path (default: all cores, at most 16)")
    parser.add_argument("--inexact", action="store_true", help="on a GPU: faster transforms, whose pixels differ a little")


def _region(text: str) -> tuple[int, ...]:
    """Raises ArgumentTypeError, of which argparse makes its error."""
    try:
        left, top, width, height = map(int, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not LEFT,TOP,WIDTH,HEIGHT in whole pixels") from None
    return left, top, width, height


def _encode(args: argparse.Namespace) -> int:
    from jahp_fast.files import pictures
    from jahp_fast.files.deep import DeepPicture
    from jahp_fast.files.image import Rows
    from jahp_fast.files.kind import looks_drawn
    from jahp_fast.records import info

    bound = asked_bound(args)
    _place_output(args, ".jahp")
    with pictures.told(f"jahp: {args.input}"):
        image = pictures.read_all(_read(args.input), args.input)
        if args.auto_orient:
            image = pictures.turned(image, args.input)
        codec = _codec(
            args, quality=4.0 if args.quality is None else args.quality, pixel_checksum=args.pixel_checksum, for_gpu=args.for_gpu
        )
        line = ProgressLine(seldom=math.inf, wait=True)
        try:
            data = codec.encode(
                image,
                args.effort,
                args.max_bytes,
                args.target_bpp,
                args.target_psnr,
                args.target_ssimulacra2,
                max_error=bound,
                progress=lambda done, of: line.show(f"jahp: searching: round {done} of {of}"),
                tune=args.tune,
            )
        finally:
            line.clear()
        made = info(data)
        lossy = made.max_error is None and made.depth == 8 and "LAYR" not in made.chunks
        if lossy and not args.quiet and not isinstance(image, DeepPicture) and looks_drawn(Rows(image.convert("RGB"))):
            print(f"jahp: {args.input}: looks like a drawing: a higher quality, or --lossless, keeps its lines sharp", file=sys.stderr)
    with _output(args.output, args.force) as file:
        file.write(data)
    return 0


def _decode(args: argparse.Namespace) -> int:
    _place_output(args, ".png")
    suffix = Path(args.output).suffix.lower() or (".png" if takes_bytes(args.output) else "")
    if suffix == ".png" and not args.save_option:
        _decode_png(args)
        return 0
    from jahp_fast.files import pictures
    from jahp_fast.records import info

    kind = pictures.format_of(suffix)
    if kind is None:
        raise JahpError(f"cannot write {args.output}: Pillow knows no format for the ending {suffix!r}; .png always works")
    options = pictures.save_options(args.save_option)
    with pictures.told(f"jahp: {args.output}"):
        source = _read(args.input)
        if args.bits == 16 or (args.bits is None and info(source).depth > 8):
            warnings.warn(LossWarning(pictures.CUT.format(kind)), stacklevel=1)
        data = pictures.saved(_codec(args).decode_pil(source, args.region, args.scale), kind, args.output, options)
    with _output(args.output, args.force) as file:
        file.write(data)
    return 0


def _decode_png(args: argparse.Namespace) -> None:
    """Rows are written as they are decoded."""
    from jahp_fast.files.container import unpack
    from jahp_fast.files.png import PngWriter
    from jahp_fast.files.view import View

    codec, data = _codec(args), _read(args.input)
    blocks = codec.decode_rows(data, args.region, args.scale, None if args.bits is None else f"uint{args.bits}")
    stream = unpack(data)
    view = View.of(*stream.size, args.region, args.scale)
    first = next(blocks)  # an error that is known before any pixel leaves standard output empty
    with _output(args.output, args.force) as file:
        writer = PngWriter.of_view(file.write, stream, view, 8 * first.itemsize)
        for block in itertools.chain([first], blocks):
            writer.take(block)


def _info(args: argparse.Namespace) -> int:
    from jahp_fast import backends
    from jahp_fast.records import info
    from jahp_fast.system import devices

    fields = dataclasses.asdict(info(_read(args.file)))
    device = devices.checked(args.device)
    fields |= {"backend": backends.resolve(args.backend, device), "device": device}
    if args.json:
        print(json.dumps(fields, sort_keys=True))
    else:
        fields["bits per pixel"] = f"{8 * fields['bytes'] / (fields['width'] * fields['height']):.4f}"
        for name, value in fields.items():
            if value is None:  # of files with a layer, or without
                continue
            print(f"{name.replace('_', ' '):>14}  {value if value != {} else 'none'}")
    return 0


def _models(args: argparse.Namespace) -> int:
    from jahp_fast import library

    rows, damaged = [], 0
    for folder, reason in library.unreadable().items():
        print(f"jahp: the folder {folder} of JAHP_FAST_MODELS cannot be read: {reason}", file=sys.stderr)
    for path in library.installed():
        try:
            model = library.load(path)
            if args.verify:
                model.verify()
        except JahpError as e:  # one file that is no model must not hide the others
            print(f"jahp: {path.stem} is left out: {one_line(e)}", file=sys.stderr)
            damaged += 1
            continue
        c = model.config
        rows.append({"name": path.stem, "architecture": c.architecture, "id": model.id.hex(), "latents": c.latents,
                     "qualities": list(c.qualities), "form": c.form, "activation_bits": c.activation_bits,
                     "metric": model.metric, "bytes": path.stat().st_size, "path": str(path)})  # fmt: skip
    if args.json:
        print(json.dumps(rows, sort_keys=True))
    for row in [] if args.json else rows:
        qualities = cast(list[float], row["qualities"])
        print(f"{row['name']}  id {row['id']}  {row['architecture']}, M = {row['latents']}, q {qualities[0]:g} to {qualities[-1]:g}, "
              f"form {row['form']}, {row['activation_bits']}-bit activations, for {row['metric']}, {cast(int, row['bytes']) / 1e6:.1f} MB"
              + ("  verified" if args.verify else "") + f"\n  {row['path']}")  # fmt: skip
    return 1 if damaged and args.verify else 0


def _completion(args: argparse.Namespace) -> int:
    print(script(args.shell, _parser(_MODULES)), end="")
    return 0


def _parser(configured: Collection[str]) -> argparse.ArgumentParser:
    """The command's parser, with the options of `configured` among _MODULES."""
    parser = Parser(prog="jahp", description="Learned image codec with exact-integer entropy coding.")
    parser.add_argument("--version", action="version", version=f"jahp_fast {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    p = commands.add_parser("encode", help="image to .jahp")
    p.add_argument("input", metavar="IN", help="any grey or RGB image that Pillow reads, or - for standard input")
    p.add_argument("output", metavar="OUT.jahp", help="or a folder, or - for standard output")
    p.add_argument("-q", "--quality", type=float, help="1 to 12, fractions allowed (default 4)")
    bound_options(p)
    p.add_argument("--effort", type=int, default=0, help="0 to 3: search for smaller files (default 0)")
    p.add_argument("--tune", metavar="eye", help="with effort 2 or 3: weigh errors as an eye does")
    p.add_argument("--max-bytes", type=int, metavar="N", help="choose the quality: the best file of at most N bytes")
    p.add_argument("--target-bpp", type=float, metavar="X", help="choose the quality: the file nearest to X bits per pixel")
    p.add_argument("--target-psnr", type=float, metavar="X", help="choose the quality: the picture nearest to a PSNR of X dB")
    p.add_argument("--target-ssimulacra2", type=float, metavar="X", help="the same of SSIMULACRA 2; needs the extra eval")
    p.add_argument("--auto-orient", action="store_true", help="turn the pixels as the EXIF orientation says, and clear it; else it is kept")
    p.add_argument("--pixel-checksum", action="store_true", help="decode the file too, and keep a checksum of its pixels in it")
    p.add_argument("--for-gpu", action="store_true", help="64 lanes, for decoders on a GPU: 256 bytes more")
    p.add_argument("--quiet", action="store_true", help="do not say that a picture looks like a drawing and was not kept as one")
    _codec_options(p)
    force_option(p)
    p.description = _REPLACES
    p.set_defaults(run=_encode)

    p = commands.add_parser("decode", help=".jahp to image")
    p.add_argument("input", metavar="IN.jahp", help="or - for standard input")
    p.add_argument("output", metavar="OUT.png", help="or another ending, a folder, or - for standard output (PNG)")
    p.add_argument("--region", type=_region, metavar="LEFT,TOP,WIDTH,HEIGHT", help="that part of the picture alone, in pixels at full size")
    p.add_argument("--scale", type=int, default=1, metavar="N", help="1, 2, 4, 8 or 16: divide the sides by it (default 1)")
    p.add_argument("--bits", type=int, choices=(8, 16), help="a channel of the PNG (default: as the file says)")
    save_option(p)
    _codec_options(p)
    force_option(p)
    p.description = _REPLACES
    p.set_defaults(run=_decode)

    p = commands.add_parser("info", help="what a .jahp file says of itself")
    p.add_argument("file", metavar="FILE", help="a .jahp file; - is standard input")
    p.add_argument("--json", action="store_true", help="one JSON object")
    _device_options(p)
    p.description = "Header fields, and the backend and device that would decode it here."
    p.set_defaults(run=_info)

    p = commands.add_parser("models", help="the models that are installed or in JAHP_FAST_MODELS")
    p.add_argument("--json", action="store_true", help="a JSON list")
    p.add_argument("--verify", action="store_true", help="check every tensor against the manifest")
    p.set_defaults(run=_models)

    p = commands.add_parser("completion", help="a script that completes commands and options in a shell")
    p.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))
    p.set_defaults(run=_completion)

    for name, (module, text) in _MODULES.items():
        p = commands.add_parser(name, help=text)
        if name in configured:
            loaded = cast(_Command, importlib.import_module(module))
            loaded.configure(p)
            p.set_defaults(run=loaded.run)
    return parser


@contextmanager
def _standard_output() -> Iterator[None]:
    """Standard output, written out at the end; what its encoding lacks is escaped.

    Raises JahpError if it is full, or nobody reads it any more.
    """
    escaped = sys.stdout if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict" else None
    if escaped is not None:
        escaped.reconfigure(errors="backslashreplace")
    try:
        try:
            yield
        finally:  # argparse leaves by SystemExit when it has printed its help
            if sys.stdout is not None:
                sys.stdout.flush()
            if escaped is not None:
                escaped.reconfigure(errors="strict")
    except OSError as e:
        if e.filename is not None or sys.stdout is None:  # then it was not standard output
            raise JahpError(str(e)) from None
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter fails to flush once more at its end
        raise JahpError(f"cannot write standard output: {e.strerror}") from None


def _check_words(argv: Sequence[str]) -> None:
    """Raises UsageError for a word that can name nothing: most often a variable of a shell that is not set."""
    for number, word in enumerate(argv, 1):
        if not word:
            raise UsageError(f"argument {number} is empty")
        if "\0" in word:
            raise UsageError(f"argument {number} has a NUL byte: {word!r}")


def main(argv: list[str] | None = None) -> int:
    """Runs one command; returns its exit status."""
    words = sys.argv[1:] if argv is None else argv

    def run() -> int:
        with _standard_output():
            _check_words(words)
            args = _parser([a for a in words if not a.startswith("-")][:1]).parse_args(words)
            return cast(int, args.run(args))

    return exit_status(run)


if __name__ == "__main__":
    sys.exit(main())
