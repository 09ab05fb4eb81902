#!/usr/bin/env python3
"""How speech and music sound through the mixer, by judges from elsewhere: PESQ (ITU-T P.862.2, wide band) and, with --visqol,
ViSQOL (full band), beside the spectral distance of src/distance.rs.

    apt-get install espeak-ng sox
    python3 -m venv judges && judges/bin/pip install numpy scipy pesq visqol-python
    judges/bin/python bench/quality.py [--visqol] [--pairs FOLDER]

Three sentences in each of four voices of espeak-ng, and a chord of sox's. PESQ and ViSQOL answer on the scale of 1 to 5 in
which people judge (MOS); more is better. What stands here is the mean over all sentences, and the least.

With --pairs, nothing is made: what `campanile-bench audio --folder FOLDER` has left is judged, by pieces of four seconds.
"""
import argparse, pathlib, re, statistics, subprocess, tempfile

import numpy
from pesq import NoUtterancesError, pesq
from scipy.signal import correlate, resample_poly

ROOT = pathlib.Path(__file__).resolve().parents[1]
VOICES = ["en-us", "en-gb+f2", "de+f4", "en-gb-x-rp+m3"]
SENTENCES = [
    "The meeting was moved to Thursday afternoon because the architects wanted more time. She asked whether the figures for the "
    "second quarter were ready.",
    "Please read them aloud, slowly and clearly. A quick brown fox jumps over the lazy dog while seven wizards fetch extra jars "
    "of honey.",
    "Nobody expected the shipment to arrive before winter, yet the harbour was full of boats. His voice sounded calm, even "
    "through a poor telephone.",
]
PIECE = 4 * 48000
RAW = ["-r", "48000", "-c", "1", "-b", "16", "-e", "signed", "-L", "-t", "raw"]
CHORD = ("synth 10 pluck C3 pluck E4 pluck G4 pluck C5 delay 0 .2 .4 .6 remix - norm -6").split()


def samples(path):
    return numpy.frombuffer(path.read_bytes(), "<i2").astype(float) / 32768


def aligned(said, heard):
    """Both without the delay between them, which is looked for up to 100 ms."""
    delay = int(numpy.argmax(correlate(heard, said, "full")[len(said) - 1 :][:4800]))
    length = min(len(said), len(heard) - delay)
    return said[:length], heard[delay : delay + length]


def recordings(folder):
    for voice in VOICES:
        for number, sentence in enumerate(SENTENCES):
            wav, raw = folder / "said.wav", folder / f"{voice} {number}"
            subprocess.run(["espeak-ng", "-v", voice, "-s", "150", "-w", wav, sentence], check=True)
            subprocess.run(["sox", wav, *RAW, raw, "norm", "-3", "pad", "0.3", "0.3"], check=True)
            yield "speech", raw
    subprocess.run(["sox", "-n", *RAW, folder / "chord", *CHORD], check=True)
    yield "music", folder / "chord"


def judge_pairs(folder, judges):
    for path in sorted(folder.glob("*.said")):
        said, heard = samples(path), samples(path.with_suffix(".heard"))
        pieces = [slice(at, at + PIECE) for at in range(0, len(said) - PIECE + 1, PIECE)]
        for name, judge in judges.items():
            try:
                judgments = [judge(said[piece], heard[piece]) for piece in pieces]
                print(f"{path.stem:50} {name} {statistics.mean(judgments):.2f} (least {min(judgments):.2f})")
            except NoUtterancesError:
                print(f"{path.stem:50} {name} finds nobody's words in so many voices")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--visqol", action="store_true", help="slow: several seconds a recording")
    arguments.add_argument("--pairs", type=pathlib.Path, metavar="FOLDER", help="*.said and *.heard")
    options = arguments.parse_args()
    judges = {"PESQ": lambda said, heard: pesq(16000, resample_poly(said, 1, 3), resample_poly(heard, 1, 3), "wb")}
    if options.visqol:
        from visqol import VisqolApi

        api = VisqolApi()
        api.create(mode="audio")
        judges["ViSQOL"] = lambda said, heard: api.measure_from_arrays(said, heard, 48000).moslqo
    if options.pairs:
        return judge_pairs(options.pairs, judges)
    scores = {}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for kind, raw in recordings(folder):
            out = folder / f"heard of {raw.name}"
            out.mkdir()
            bench = ["cargo", "run", "-q", "--release", "-p", "campanile-bench", "--", "quality", raw, out]
            text = subprocess.run(bench, check=True, cwd=ROOT, capture_output=True, text=True).stdout
            for line in text.splitlines():
                match = re.match(r"(.+?) +([\d.]+) dB at +([\d.]+) kbit/s", line)
                row = scores.setdefault((kind, match[1]), {"dB": [], "kbit/s": [], **{judge: [] for judge in judges}})
                row["dB"].append(float(match[2]))
                row["kbit/s"].append(float(match[3]))
                said, heard = aligned(samples(raw), samples(out / match[1]))
                for judge, judgment in judges.items():
                    row[judge].append(judgment(said, heard))
    for (kind, name), row in scores.items():
        mean = {measure: statistics.mean(values) for measure, values in row.items()}
        columns = [f"{judge} {mean[judge]:.2f} (least {min(row[judge]):.2f})" for judge in judges]
        print(f"{kind:7} {name:26} {mean['kbit/s']:5.1f} kbit/s  distance {mean['dB']:5.2f} dB  {'  '.join(columns)}")


if __name__ == "__main__":
    main()
