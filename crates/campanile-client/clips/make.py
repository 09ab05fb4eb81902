#!/usr/bin/env python3
"""Makes the clips beside this script with Debian's vpxenc (package vpx-tools).

Each is two seconds at 15 frames a second: a bar that moves, noise enough to cost bits, and the frame's number as a row of
black and white squares at the top, so that whoever looks at a decoded picture can tell which one it is. One keyframe, the
first: the sender begins again from it when someone needs one.
"""
import pathlib
import subprocess

FRAMES, RATE = 30, 15
LAYERS = [("low", 160, 90, 60), ("mid", 320, 180, 200), ("hi", 640, 360, 600)]


def picture(width, height, number):
    luma = bytearray(width * height)
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
            luma[y * width + x] = max(16, min(235, shade))
    square = width // 10
    for bit in range(8):
        shade = 235 if number >> (7 - bit) & 1 else 16
        for y in range(square):
            start = y * width + (bit + 1) * square
            luma[start : start + square] = bytes([shade]) * square
    chroma = bytes([128]) * ((width // 2) * (height // 2) * 2)
    return bytes(luma) + chroma


here = pathlib.Path(__file__).parent
for name, width, height, kbps in LAYERS:
    raw = f"YUV4MPEG2 W{width} H{height} F{RATE}:1 Ip A1:1 C420\n".encode()
    raw += b"".join(b"FRAME\n" + picture(width, height, number) for number in range(FRAMES))
    command = ["vpxenc", "--codec=vp8", "--ivf", "--rt", "--cpu-used=4", "--end-usage=cbr", "--error-resilient=1"]
    command += ["--kf-min-dist=9999", "--kf-max-dist=9999", "--auto-alt-ref=0", "--lag-in-frames=0", "--quiet"]
    command += [f"--target-bitrate={kbps}", "--passes=1", f"--output={here / (name + '.vp8.ivf')}", "-"]
    subprocess.run(command, input=raw, check=True)
