"""Stands in for the `fedseg` command: tells recorded events, writes small files, does what FAKE_FEDSEG says."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
PLAIN = '{"event": "result", "paths": [], "summary": {"volumes_ml": {}}}'


def main(words):
    how = os.environ.get("FAKE_FEDSEG", "")
    asked = os.environ.get("FAKE_FEDSEG_WORDS")
    if asked:
        Path(asked).write_text(json.dumps(words))
    if words[0] == "info":
        print(Path(words[-1]).read_text())
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
    return 0


def segment(words):
    Path(words[words.index("-o") + 1]).write_text("segments")
    if "--route" in words:
        Path(words[words.index("--disagreement") + 1]).write_text("bits")
        print((HERE / "routed.jsonl").read_text(), end="")
    else:
        print(PLAIN)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
