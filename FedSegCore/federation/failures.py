"""What a site tells of its own failure: one of a few fixed sentences. The rest stays in its `errors.log`.

The text of an exception may name a case or a folder, so nothing of it leaves but the exception's type.
"""

from __future__ import annotations

import contextlib
import time
import traceback
from pathlib import Path

from FedSegCore.errors import DataError, ModelFileError, SiteError

LOG = "errors.log"


def site_failure(error: Exception, *, site: str, round_number: int, task: str, folder: Path) -> SiteError:
    """What leaves the site in place of `error`, which is written whole into its folder.

    Args:
        task: what the site was at, such as `training`.
        folder: the site's private folder.
    """
    _log(error, f"round {round_number}, {task}", folder / LOG)
    name = type(error).__name__
    if isinstance(error, DataError):
        what = "its data could not be read"
    elif isinstance(error, ModelFileError):
        what = "what it kept of earlier rounds could not be read"
    elif isinstance(error, MemoryError) or name == "OutOfMemoryError":
        what = f"its memory ran out in {task} ({name})"
    else:
        what = f"its {task} failed ({name})"
    return SiteError(
        f"{what}; the site's {LOG} says more.",
        "Mend the cause at the site; it is asked again each time.",
        site=site,
        round_number=round_number,
    )


def _log(error: Exception, when: str, path: Path) -> None:
    """Append the whole error; one that cannot be written down, on a full disk, is still told in its sentence."""
    text = "".join(traceback.format_exception(error))
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {when}\n{text}\n")
