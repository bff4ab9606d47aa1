"""`python -m Testing.hospital.proxy PORT`: a hospital's proxy in a process of its own, until it is ended."""

from __future__ import annotations

import sys

from Testing.hospital.hub import ConnectProxy

if __name__ == "__main__":
    ConnectProxy(port=int(sys.argv[1])).serve_forever()
