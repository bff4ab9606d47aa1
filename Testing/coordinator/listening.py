"""An ASGI application behind TLS on a free port of this machine, in a thread."""

from __future__ import annotations

import threading
import time
from typing import Any

import uvicorn

from FedSegCore.federation.keys import TlsFiles


class Listening:
    """Listens from when it is made until `stop`."""

    def __init__(self, app: Any, tls: TlsFiles) -> None:
        config = uvicorn.Config(
            app, host="127.0.0.1", port=0, ssl_certfile=str(tls.certificate), ssl_keyfile=str(tls.key),
            log_config=None, access_log=False, lifespan="off", http="h11", ws="none", timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()
