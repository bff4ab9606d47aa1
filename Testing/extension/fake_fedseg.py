"""Stands in for the `fedseg` command: tells recorded events, writes small files, does what FAKE_FEDSEG says."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import fake_federation

HERE = Path(__file__).parent
INSTALLED = {"kind": "installation", "python": "3.12.1", "lacking": [], "device": "cpu (2 threads)"}
SEGMENTS = [
    "Segment0_ID:=Segment_1",
    "Segment0_Name:=Liver",
    "Segment0_LabelValue:=1",
    "Segment0_Layer:=0",
]
PLAIN = '{"event": "result", "paths": [], "summary": {"volumes_ml": {}}}'


def main(words):
    how = os.environ.get("FAKE_FEDSEG", "")
    if how == "mute":
        time.sleep(60)
    asked = os.environ.get("FAKE_FEDSEG_WORDS")
    if asked and words[0] != "info":  # what a panel asks by itself
        Path(asked).write_text(json.dumps(words))
    code = fake_federation.run(words, how)
    if code is not None:
        return code
    if words == ["info", "--json"]:
        print(json.dumps({"event": "result", "summary": INSTALLED}))
    elif words[0] == "info":
        print(Path(words[-1]).read_text())
    elif words[0] == "check" and how != "crash":
        print(
            json.dumps(
                {
                    "event": "problem",
                    "severity": "error",
                    "file": "imagesTr/a.nii.gz",
                    "message": "Torn.",
                    "fix": "Mend.",
                }
            )
        )
        print(json.dumps({"event": "result", "summary": {"errors": 1}}))
        return 1
    elif words[0] == "demo":
        return demo(Path(words[words.index("--out") + 1]), how)
    elif words[0] == "train":
        return train(Path(words[words.index("--out") + 1]), how)
    elif how == "crash":
        print("a library's last words", file=sys.stderr)
        os._exit(9)
    elif how == "error":
        print('{"event": "error", "message": "The image is empty.", "fix": "Give another one."}')
        return 2
    elif how == "wait":
        print(
            '{"event": "progress", "stage": "segment", "value": 0.25, "message": "", "eta_s": 3}', flush=True
        )
        time.sleep(60)
    elif how == "deaf child":
        deaf = (
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); "
            "time.sleep(60)"
        )
        subprocess.run([sys.executable, "-S", "-c", deaf], check=False)
    elif how == "left behind":
        subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(60)"])
        print(PLAIN, flush=True)
    else:
        segment(words)
        if how == "cut":
            Path(words[words.index("--disagreement") + 1]).write_bytes(b"NRRD0004")
    return 0


def segment(words):
    image = Path(words[words.index("--image") + 1].partition("=")[2])
    write_like(image, Path(words[words.index("-o") + 1]), "unsigned char", SEGMENTS)
    if "--route" in words:
        write_like(image, Path(words[words.index("--disagreement") + 1]), "unsigned char", [])
        print((HERE / "routed.jsonl").read_text(), end="")
    else:
        print(PLAIN)


def demo(out, how):
    (out / "hospitals" / "north" / "imagesTs").mkdir(parents=True)
    if how == "wait":
        time.sleep(60)
    if how == "error":
        print('{"event": "error", "message": "The disk is full.", "fix": "Make room."}')
        return 1
    header = "NRRD0004\ntype: unsigned char\ndimension: 3\nspace: left-posterior-superior\nsizes: 2 2 2\n"
    header += "space directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\nencoding: raw\n\n"
    (out / "hospitals" / "north" / "imagesTs" / "scan.nrrd").write_bytes(header.encode() + bytes(8))
    (out / "models").mkdir()
    (out / "models" / "global.safetensors").touch()
    print(json.dumps({"event": "result", "summary": {}}))
    return 0


def train(out, how):
    if how == "error":
        print('{"event": "error", "message": "The disk is full.", "fix": "Make room."}')
        return 2
    (out / "models").mkdir(parents=True, exist_ok=True)
    (out / "study.json").touch()
    for number in (1, 2):
        print(
            json.dumps(
                {"event": "round", "number": number, "total": 2, "loss": 0.5, "dice": {"Liver": 0.4 * number}}
            )
        )
        print(
            json.dumps({"event": "progress", "stage": "train", "value": number / 2, "eta_s": 90}), flush=True
        )
        if how == "wait":
            time.sleep(60)
    (out / "models" / "local-mine.safetensors").touch()
    print(json.dumps({"event": "result", "summary": {}}))
    return 0


def write_like(image, out, kind, more):
    """A file on the grid of an uncompressed NRRD, as Slicer writes one; its first voxels are 1."""
    header = image.read_bytes().split(b"\n\n")[0].decode().splitlines()
    kept = [line for line in header if line.startswith(("dimension", "space", "sizes", "kinds"))]
    sizes = next(line for line in kept if line.startswith("sizes")).split()[1:]
    voxels = 1
    for size in sizes:
        voxels *= int(size)
    lines = ["NRRD0004", f"type: {kind}", *kept, "encoding: raw", *more, "", ""]
    out.write_bytes("\n".join(lines).encode() + b"\1\1" + bytes(voxels - 2))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
