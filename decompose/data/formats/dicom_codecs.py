"""A decoder of lossless and 12-bit JPEG for pydicom, which has none of its own with a free licence.

imagecodecs decodes through libjpeg-turbo, which reports damaged data as an error. The interface is pydicom's for
plugins of decoders: `is_available`, `DECODER_DEPENDENCIES` and a function that decodes a frame.
"""

from __future__ import annotations

import functools
from typing import Any

from pydicom import uid
from pydicom.pixels.decoders import base as decoders

DECODER_DEPENDENCIES = {
    syntax: ("imagecodecs",) for syntax in (uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
}
_LABEL = "imagecodecs"


def is_available(syntax: str) -> bool:
    """Return whether this plugin decodes a transfer syntax."""
    return syntax in DECODER_DEPENDENCIES


def decode_frame(source: bytes, runner: Any) -> bytes:
    """Return a decoded frame: (H, W) or (H, W, 3) in C order, of 8 or 16 bits as the frame holds."""
    import imagecodecs

    try:
        frame = imagecodecs.jpeg8_decode(source)
    except imagecodecs.Jpeg8Error as error:
        raise ValueError(str(error)) from None
    runner.set_option("bits_allocated", frame.dtype.itemsize * 8)
    if frame.ndim == 3:
        runner.set_option("planar_configuration", 0)
    return bytes(frame.tobytes())


@functools.cache
def register() -> None:
    """Give pydicom this plugin, once per process: a copy of this module beside an engine gives the same one."""
    for decoder in (decoders.JPEGExtended12BitDecoder, decoders.JPEGLosslessDecoder, decoders.JPEGLosslessSV1Decoder):
        if _LABEL not in decoder.available_plugins:
            decoder.add_plugin(_LABEL, (__name__, decode_frame.__name__))


def plugin_of(syntax: str) -> str:
    """Return the plugin to decode a transfer syntax with, "" for pydicom's choice.

    Each is fixed: GDCM, where it is installed, ends the process on damaged frames.
    """
    register()
    fixed = {
        uid.JPEGBaseline8Bit: "pillow",
        uid.JPEG2000: "pylibjpeg",
        uid.JPEG2000Lossless: "pylibjpeg",
        uid.HTJ2K: "pylibjpeg",
        uid.HTJ2KLossless: "pylibjpeg",
        uid.HTJ2KLosslessRPCL: "pylibjpeg",
        uid.JPEGLSLossless: "pyjpegls",
        uid.JPEGLSNearLossless: "pyjpegls",
        uid.RLELossless: "pydicom",
        **dict.fromkeys(DECODER_DEPENDENCIES, _LABEL),
    }
    return fixed.get(uid.UID(syntax), "")
