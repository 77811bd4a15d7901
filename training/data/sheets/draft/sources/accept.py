"""Whether a wording that somebody else wrote can stand in a sheet: a larger model, or people who asked."""

from __future__ import annotations

import random
import re

from alpha_umi.errors import ConfigError
from alpha_umi.training.data.sheets.draft.sentences.wordings import find_shape
from alpha_umi.training.data.sheets.form import ToolSheet, is_optional
from alpha_umi.training.data.sheets.request import draw_value
from alpha_umi.training.data.sheets.wording import ToolWording, parse_wording

_N_DRAWS = 3
_MIN_CHARS = 4
_MAX_CHARS = 400
_MAX_CHARS_PER_SLOT = 60


class WordingJudge:
    """Takes wordings for one tool that no other tool of its domain has.

    Args:
        sheet: The tool.
        taken: Shapes of the wordings that there are; those that are taken are added, see `find_shape`.
    """

    def __init__(self, sheet: ToolSheet, taken: set[str]) -> None:
        """Look up what the tool needs."""
        self._sheet = sheet
        self._taken = taken
        self._needed = {path for path in sheet.sources if not is_optional(sheet.tool.parameters, path)}

    def find_fault(self, text: str) -> str:
        """Return why a wording cannot be taken, in words that can be counted; empty if it is taken."""
        if not _MIN_CHARS <= len(text) <= _MAX_CHARS + _MAX_CHARS_PER_SLOT * len(self._sheet.sources) or "\n" in text:
            return "it is too short or too long"
        try:
            wording = parse_wording(text, list(self._sheet.sources))
        except ConfigError as error:
            return _name_fault(str(error))
        if self._needed - wording.slots:
            return "a value that the tool needs is not said"
        if wording.always_said - self._needed:
            return "an optional value is not in brackets"
        if not re.search(r"[^\W\d_]{2}", re.sub(r"\{[^}]*\}", "", text)):
            return "there are no words"
        if find_shape(text) in self._taken:
            return "it is there already"
        if not self._reads_back(wording):
            return "its values cannot be told apart"
        self._taken.add(find_shape(text))
        return ""

    def _reads_back(self, wording: ToolWording) -> bool:
        """Tell whether the values of the sentence are found in it again."""
        rng = random.Random(wording.text)
        pattern = _make_pattern(wording)
        for _ in range(_N_DRAWS):
            said = {path: draw_value(self._sheet.sources[path], self._sheet, rng).said for path in wording.slots}
            match = pattern.fullmatch(wording.fill(said))
            slots = [piece for part in wording.parts for piece in part.pieces[1::2]]
            if match is None or [_plain(text) for text in match.groups()] != [_plain(said[slot]) for slot in slots]:
                return False
        return True


def _make_pattern(wording: ToolWording) -> re.Pattern[str]:
    pieces = [(piece, i % 2 == 1) for part in wording.parts for i, piece in enumerate(part.pieces)]
    texts = ["(.+?)" if is_slot else r"\s*".join(map(re.escape, re.split(r"\s+", piece))) for piece, is_slot in pieces]
    return re.compile(rf"\s*{''.join(texts)}\s*", re.IGNORECASE | re.DOTALL)


def _plain(text: str) -> str:
    return " ".join(text.split()).lower()


def _name_fault(text: str) -> str:
    if "said twice" in text:
        return "a value is said twice"
    if "is no parameter" in text:
        return "it has a slot that the tool does not have"
    return "a brace or bracket is wrong"
