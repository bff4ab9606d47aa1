"""What can go wrong, and what to do about it.

FedSegError                     exit code 1
├── InputError                  exit code 2: the user can mend it
│   ├── UsageError              a verb called with arguments that do not fit
│   ├── StudyError              a study file that cannot be run
│   ├── DataError               a dataset folder, image or label that cannot be used
│   └── ModelFileError          a model, message or checkpoint file that cannot be trusted
└── RunError                    exit code 1: the run could not go on
    ├── SiteError               one site, in one round
    │   └── UpdateError         what it sent is not what was asked for
    └── TooFewSites             fewer sites answered than `min_sites`
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FedSegError(Exception):
    """One sentence that says what was expected and what came, and one that says what to do.

    Args:
        message: what was expected and what came; names the file, or the site and round.
        fix: what the user can do about it.
    """

    exit_code = 1

    def __init__(self, message: str, fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.message} {self.fix}".strip()


class InputError(FedSegError):
    """The user's input is at fault and the user can mend it."""

    exit_code = 2


class UsageError(InputError):
    """A verb was called with arguments that do not fit together."""


class StudyError(InputError):
    """A study file cannot be run as it is."""


class DataError(InputError):
    """A dataset folder, an image or a label map cannot be used as it is."""


class ModelFileError(InputError):
    """A model, message or checkpoint file is truncated, foreign, altered or from another version."""


class StorageError(InputError):
    """A file could not be written; what was written before is intact.

    Args:
        path: the file.
        error: what the system said.
    """

    def __init__(self, path: object, error: OSError) -> None:
        super().__init__(
            f"{path} could not be written: {error.strerror or error}.",
            "Free some space or choose another folder; what was written before is intact.",
        )


class RunError(FedSegError):
    """The run itself could not go on."""


class SiteError(RunError):
    """One site failed in one round.

    Args:
        message: what happened.
        site: the site's name.
        round_number: the round it happened in, counted from 1.
    """

    def __init__(self, message: str, fix: str = "", *, site: str, round_number: int) -> None:
        super().__init__(f"site {site}, round {round_number}: {message}", fix)
        self.site = site
        self.round_number = round_number
        self.reason = message


class UpdateError(SiteError):
    """A site's update has other names, shapes or values than its round asked for."""


class TooFewSites(RunError):
    """Fewer sites answered than the study's `min_sites`; the state before the round is kept."""


def plain(text: str) -> str:
    """What somebody else says, as one short line: it is shown to people and written into logs.

    >>> plain("no\\x1b[2J space\\non disk")
    'no[2J spaceon disk'
    """
    return "".join(letter for letter in text[:3000] if letter.isprintable())[:300]


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names the known word nearest to a mistyped one, or lists what is known.

    >>> nearest("fedgan", ["fedavg", "fedgin"])
    'Did you mean "fedgin"?'
    """
    known = list(known)
    lowered = {name.lower(): name for name in reversed(known)}
    close = difflib.get_close_matches(word.lower(), list(lowered), n=1, cutoff=0.5)
    if close:
        return f'Did you mean "{lowered[close[0]]}"?'
    return f"Known: {', '.join(known)}." if known else "Nothing is known here."
