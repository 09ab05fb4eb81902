#!/usr/bin/env python3
"""Makes the clips beside this script: apt-get install ffmpeg x264 vpx-tools libvpx-dev libaom-dev gcc

Each is 32 frames at 15 a second, the first of which is the only keyframe: the sender begins again from it when someone needs
one. A bar moves, there is noise enough to cost bits, and the picture says which one it is, for whoever looks at it after
decoding and scaling. The width is cut into ten; from the top left there are two rows of squares of that size:

    white  8 squares: the frame's number, high bit first, white is 1     black
    black  8 squares: the sender's number, likewise                      white

Every codec is a sender of its own (see CLIPS), so that a picture tells where it comes from. `make.py FOLDER SENDER` makes
the same clips with one sender's number elsewhere.
"""
import pathlib
import struct
import subprocess
import sys
import tempfile

FRAMES, RATE = 32, 15
# name: sender, width, height, kbit/s
CLIPS = {
    "low.vp8": (1, 160, 90, 60),
    "mid.vp8": (1, 320, 180, 200),
    "hi.vp8": (1, 640, 360, 600),
    "mid.h264": (2, 320, 180, 200),
    "l1t3.vp9": (3, 320, 180, 200),
    "l3t3.vp9": (4, 640, 360, 500),
    "l1t3.av1": (5, 320, 180, 150),
}
HERE = pathlib.Path(__file__).resolve().parent


def luma(width, height, number, sender):
    picture = bytearray(width * height)
    bar = number * width // FRAMES
    state = number * 7919 + 1
    for y in range(height):
        for x in range(width):
            shade = 40 + 140 * y // height
            if abs(x - bar) < width // 20:
                shade = 220
            if (x ^ y) & 7 == 0:
                state = (state * 1103515245 + 12345) & 0x7FFFFFFF
                shade += (state >> 16) % 17 - 8
            picture[y * width + x] = max(16, min(235, shade))
    square = width // 10
    for row, value in enumerate([0x200 | number << 1, sender << 1 | 1]):
        for column in range(10):
            shade = 235 if value >> (9 - column) & 1 else 16
            for y in range(row * square, (row + 1) * square):
                start = y * width + column * square
                picture[start : start + square] = bytes([shade]) * square
    return bytes(picture)


def run(command, given):
    return subprocess.run(list(map(str, command)), input=given, check=True, stdout=subprocess.PIPE).stdout


def vp8(raw, width, height, kbps):
    head = f"YUV4MPEG2 W{width} H{height} F{RATE}:1 Ip A1:1 C420\n".encode()
    frames = [raw[at : at + len(raw) // FRAMES] for at in range(0, len(raw), len(raw) // FRAMES)]
    command = ["vpxenc", "--codec=vp8", "--ivf", "--rt", "--cpu-used=4", "--end-usage=cbr", "--error-resilient=1"]
    command += ["--kf-min-dist=9999", "--kf-max-dist=9999", "--auto-alt-ref=0", "--lag-in-frames=0", "--quiet"]
    command += [f"--target-bitrate={kbps}", "--passes=1", "--output=-", "-"]
    return run(command, head + b"".join(b"FRAME\n" + frame for frame in frames))


def h264(raw, width, height, kbps):
    """Constrained baseline, Annex B. Each access unit begins with a delimiter, at which the stream is cut."""
    command = ["x264", "--quiet", "--demuxer", "raw", "--input-res", f"{width}x{height}", "--fps", RATE, "--profile", "baseline"]
    command += ["--tune", "zerolatency", "--level", "3.1", "--keyint", "infinite", "--no-scenecut", "--bitrate", kbps]
    command += ["--vbv-maxrate", kbps, "--vbv-bufsize", kbps, "--aud", "--slices", 1, "--muxer", "raw", "-o", "-", "-"]
    units = run(command, raw).split(b"\0\0\0\1\x09")[1:]
    ivf = b"DKIF" + struct.pack("<HH4sHHIII4x", 0, 32, b"H264", width, height, RATE, 1, FRAMES)
    for number, unit in enumerate(units):
        frame = unit[1:]  # what is left of the delimiter
        ivf += struct.pack("<IQ", len(frame), number) + frame
    return ivf


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    with tempfile.TemporaryDirectory() as built:
        svc = f"{built}/svc"
        subprocess.run(["cc", "-O2", HERE / "svc.c", "-lvpx", "-laom", "-o", svc], check=True)
        for name, (sender, width, height, kbps) in CLIPS.items():
            sender = int(sys.argv[2]) if len(sys.argv) > 2 else sender
            chroma = bytes([128]) * (width * height // 2)
            raw = b"".join(luma(width, height, number, sender) + chroma for number in range(FRAMES))
            mode, codec = name.split(".")
            if codec == "vp8":
                ivf = vp8(raw, width, height, kbps)
            elif codec == "h264":
                ivf = h264(raw, width, height, kbps)
            else:
                ivf = run([svc, codec, mode[1], mode[3], width, height, RATE, kbps], raw)
            (folder / f"{name}.ivf").write_bytes(ivf)


main()
