"""Traces of a person in file names, headers and dataset.json: names, dates, hospital numbers.

FedSeg sends no file name and no header, but local results and score tables carry case names on; licence,
label and channel names do leave the site. So somebody should look.
Cautious on purpose: what could as well be a scanner, a software version or a pseudonym is let pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from FedSegCore.data.io import image_stem
from FedSegCore.data.legend import Legend
from FedSegCore.data.problem import Problem, shown
from FedSegCore.data.rawimage import FileFacts

_DATE = re.compile(
    r"(?<![\d.])(?:(?:19|20)\d\d([-_.]?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])"
    r"|(?:0[1-9]|[12]\d|3[01])([-_.])(?:0[1-9]|1[0-2])\2(?:19|20)\d\d"
    r"|(?:0[1-9]|1[0-2])([-_.])(?:0[1-9]|[12]\d|3[01])\3(?:19|20)\d\d)(?![\d.]*\d)"
)
_CARETS = re.compile(r"(?<![A-Za-z0-9^])[^\W\d_]{2,}\^[^\W\d_]{2,}")
_COMMA = re.compile(r"(?<![A-Za-z])[A-Z][A-Za-z'-]+, ?[A-Z][a-z]+(?![A-Za-z])")
_TITLE = re.compile(r"\b(?:Dr|Prof|Mrs?|Ms|Frau|Herr)\.? [A-Z]")
_NUMBER_WORD = re.compile(
    r"(?i)(?<![a-z])(?:mrn|ssn|dob|nhs|patient[-_ .]?(?:id|name|nr|no)|pat[-_]?id|accession(?:[-_ .]?n[or])?)"
    r"[-_ .:=#\"']*[a-z]{0,3}\d{3,}"
)
_NAMED_FIELD = re.compile(
    r"(?i)(?:patient'?s?[ _]?(?:name|id|birth[ _]?date)|birth[ _]?date|referring[ _]?physician)"
    r"[\"']?\s*[:=]\s*[\"']?([^\"',;\n\r}]{2,})"
)
_NAMED_KEY = re.compile(
    r"(?i)patient.{0,3}(name|id|birth|address|phone)|birth.?date|\bmrn\b|accession|physician"
)
_ANONYMOUS = re.compile(
    r"(?i)^\W*$|anon|de-?id|remov|unknown|none|n/?a$|null|not.?avail|pseud|test|phantom"
    r"|^[x*0^ .-]+$|^19000101$|^18000101$"
)
_DICOM_TAGS = {
    "0010|0010": "PatientName",
    "0010|0020": "PatientID",
    "0010|0030": "PatientBirthDate",
    "0010|1000": "OtherPatientIDs",
    "0010|1001": "OtherPatientNames",
    "0010|1005": "PatientBirthName",
    "0010|1040": "PatientAddress",
    "0010|1060": "PatientMotherBirthName",
    "0010|2154": "PatientTelephoneNumbers",
    "0008|0050": "AccessionNumber",
    "0008|0090": "ReferringPhysicianName",
    "0008|1050": "PerformingPhysicianName",
    "0008|1070": "OperatorsName",
}
_IDENTITY_REMOVED = "0012|0062"
_WORDS = re.compile(r"[^\W\d_]+")
_GIVEN_NAMES = frozenset(
    _WORDS.findall("""
    alexander andreas andrew anna anne antonio barbara carlos catherine charles christian christine
    christopher claudia daniel david dieter elizabeth emily emma erik eva fatima francesco franz fritz
    george giovanni giuseppe hans heinz helga henry ingrid jacob jakob james jan jane janet jean jennifer
    jessica joe johann johannes john jonathan jorge jose joseph juan juergen julia karl katharina klaus
    laura linda lisa luca luis lukas manuel marco margaret maria marie mario martin mary matthew michael
    michel mohamed mohammed monika muhammad nancy nicolas olga patricia paul pedro peter petra philip
    pierre rachel richard robert sabine sarah sophie stefan stephen steven susan thomas ursula walter
    werner william wolfgang
    """)
)
_FILE_FIX = (
    "Rename it to a pseudonym such as case_001 (and in dataset.json); keep the key outside this folder."
)
_STATED_FIX = (
    "It leaves the site with the join message and the models; write it without that in dataset.json."
)
_HEADER_FIX = "Anonymise the file's header, for instance by converting it again without these fields."


def identifier_problems(facts: FileFacts, folder: Path) -> Iterator[Problem]:
    """What a file's header tells about a person; values are not repeated in the message."""
    name = shown(facts.path, folder)
    removed = facts.texts.get(_IDENTITY_REMOVED, "").strip().upper() == "YES"
    for key, text in facts.texts.items():
        trace = _header_trace(key, text.strip(), removed=removed, stem=image_stem(facts.path))
        if trace:
            message = (
                f"The header's {_DICOM_TAGS.get(key, key)} holds {trace} ({len(text.strip())} characters)."
            )
            yield Problem(name, "warning", message, _HEADER_FIX)


def name_problems(path: Path, folder: Path) -> Iterator[Problem]:
    """What a file's name, and the folders between it and the dataset's folder, tell about a person."""
    name = shown(path, folder)
    parts = Path(name).parts if not name.startswith("..") else (path.name,)
    for part in parts:
        trace = text_trace(re.sub(r"_\d{4}$", "", image_stem(Path(part)))) or _person(part)
        if trace:
            yield Problem(name, "warning", f'The file name seems to hold {trace}: "{part}".', _FILE_FIX)


def stated_problems(licence: str, *, labels: Sequence[str], channels: Sequence[str]) -> Iterator[Problem]:
    """What the texts of dataset.json that leave the site tell about a person.

    A comma between two capitalised words is no sign here: "Kidney, Left" is a label, not a patient.
    """
    stated = [
        ("licence", licence),
        *(("label", one) for one in labels),
        *(("channel", one) for one in channels),
    ]
    for what, text in stated:
        named = _TITLE.search(text) or _CARETS.search(text)
        trace = "a person's name" if named else _number_or_date(text) or _person(text)
        if trace:
            yield Problem(
                "dataset.json", "warning", f'The {what} seems to hold {trace}: "{text}".', _STATED_FIX
            )


def text_trace(text: str) -> str:
    """What free text seems to tell about a person, "" where nothing."""
    return "a person's name" if _CARETS.search(text) or _COMMA.search(text) else _number_or_date(text)


def _number_or_date(text: str) -> str:
    if _NUMBER_WORD.search(text):
        return "a patient or accession number"
    return "a date (of birth or examination)" if _DATE.search(text) else ""


def _person(part: str) -> str:
    """A common given name beside another word: DOE_JOHN, JohnDoe."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", image_stem(Path(part)))
    words = [word.lower() for word in _WORDS.findall(spaced)]
    given = [word for word in words if word in _GIVEN_NAMES]
    others = [word for word in words if len(word) > 2 and word not in given]
    return "a person's name" if given and (others or len(given) > 1) else ""


def _header_trace(key: str, text: str, *, removed: bool, stem: str) -> str:
    """What one header field tells about a person."""
    if key.startswith("DICOM header"):
        return "a whole DICOM header, which names the patient as a rule"
    if key in _DICOM_TAGS:
        known = removed or _ANONYMOUS.search(text) or text == stem
        return "" if known else "what a DICOM export writes about a person"
    if re.fullmatch(r"[0-9a-f]{4}\|[0-9a-f]{4}", key) or key.startswith(("Segment", "ITK_", "NRRD_")):
        return ""  # other DICOM tags hold dates and codes by their nature
    if Legend.from_text(text) is not None:
        return ""  # structures' names, which dataset.json states too
    if _NAMED_KEY.search(key):
        return "" if _ANONYMOUS.search(text) else "what its name promises"
    field = _NAMED_FIELD.search(text)
    if field and not _ANONYMOUS.search(field[1].strip()):
        return "a field about the patient"
    return text_trace(text)
