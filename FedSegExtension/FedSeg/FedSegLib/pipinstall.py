"""Run by an interpreter of its own: pip into a folder, told as the `fedseg` command tells its work.

python pipinstall.py REQUIREMENTS.txt FOLDER
"""

import json
import subprocess
import sys


def main(words):
    """Install, and say how it went; the exit code is pip's."""
    requirements, folder = words
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--upgrade", "--target", folder]
    pip += ["--only-binary=:all:", "--no-input", "--disable-pip-version-check", "-r", requirements]
    process = subprocess.Popen(
        pip, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    last = ""
    for line in process.stdout:
        if line.strip():
            last = line.strip()
        if line.startswith("Collecting "):
            tell(event="progress", stage="install", value=0.0, message=last, eta_s=None)
        sys.stderr.write(line)
    code = process.wait()
    if code:
        tell(
            event="error",
            message=f"pip could not install FedSeg's packages: {last}",
            fix="Check the network connection and the disk's space, then try again.",
        )
    else:
        tell(event="result", summary={"folder": folder})
    return code


def tell(**event):
    """One event a line."""
    print(json.dumps(event), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
