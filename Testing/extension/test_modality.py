"""Names and headers speak for a modality, or for none."""

from __future__ import annotations

import pytest
from FedSegLib.modality import guessModality


@pytest.mark.parametrize(
    ("texts", "known", "guessed"),
    [
        (["Abdomen", "CT"], ["CT", "MRI"], "CT"),
        (["Abdomen", "MR"], ["CT", "MRI"], "MRI"),
        (["patient7_t1ce"], ["T1", "T1CE", "T2", "FLAIR"], "T1CE"),
        (["3: T2 FLAIR axial", "MR"], ["T1", "T2", "FLAIR"], "FLAIR"),
        (["sub-01_T1w", "MR"], ["T1", "T2"], "T1"),
        (["AX T1 +GD"], ["T1", "T2"], "T1"),
        (["sub-01_T1w", "MR"], [], "T1"),
        (["MRHead"], [], ""),
        (["CTChest", "CT"], [], "CT"),
        (["Spect"], ["CT", "MR"], ""),
        (["volume"], ["CT"], ""),
        (["phase_B"], ["phase_A", "B"], "B"),
    ],
)
def test_words_speak_for_a_modality(texts: list[str], known: list[str], guessed: str) -> None:
    assert guessModality(texts, known) == guessed
