"""One small invented tool: a real function; what it returns is made up, but always the same for the same arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.tools import BaseTool

from alpha_umi.tools.convert import make_tool
from alpha_umi.tools.spec import ToolSpec
from alpha_umi.training.data.fields import make_schema
from alpha_umi.training.data.split import hash_text
from alpha_umi.training.data.tasks.draw import Draw, Wording
from alpha_umi.training.data.tasks.piece import Piece, fixed

_PEOPLE = ("Anna", "Ben", "Carla", "David", "Emma", "Farid", "Grace", "Hugo", "Ines", "Jonas", "Kofi", "Lena", "Mia")
_CITIES = (
    "Oslo",
    "Porto",
    "Lyon",
    "Graz",
    "Basel",
    "Gdansk",
    "Turin",
    "Cork",
    "Ghent",
    "Malmo",
    "Tartu",
    "Brno",
    "Bari",
)
_FOODS = ("rice", "lentils", "apples", "cheese", "salmon", "oats", "spinach", "yoghurt", "walnuts", "bread", "tofu")
_TOPICS = ("chess", "volcanoes", "jazz", "rowing", "bees", "tides", "opera", "glaciers", "robots", "pottery", "maps")
_NOTES = (
    "buy milk",
    "call the bank",
    "water the plants",
    "pay the rent",
    "book a table",
    "pack the bag",
    "feed the cat",
)
_SONGS = ("Blue Moon", "Yesterday", "Summertime", "Clair de Lune", "Bolero", "Take Five", "Imagine", "Gymnopedie")
_WORDS = ("house", "river", "bread", "window", "friend", "garden", "winter", "mirror", "bridge", "candle", "forest")
_LANGUAGES = ("French", "Spanish", "German", "Italian", "Polish", "Dutch", "Greek", "Swedish", "Turkish", "Finnish")
_COMPANIES = ("Nordwind", "Altapress", "Quintar", "Bluefern", "Solvany", "Tarkis", "Meridia", "Corvalo", "Hexalon")
_ROOMS = ("kitchen", "bedroom", "office", "hall", "bathroom", "garage", "cellar", "balcony", "attic")
_VALUES: Mapping[str, tuple[str, ...]] = {
    "person": _PEOPLE,
    "city": _CITIES,
    "food": _FOODS,
    "topic": _TOPICS,
    "note": _NOTES,
    "song": _SONGS,
    "word": _WORDS,
    "language": _LANGUAGES,
    "company": _COMPANIES,
    "room": _ROOMS,
}
_SKIES = ("sunny", "cloudy", "light rain", "snow", "windy", "foggy")


@dataclass(frozen=True, slots=True)
class Fake:
    """An invented tool and how people ask for what it does.

    Args:
        name: Tool name.
        description: What the model is told.
        arguments: Argument name → (what to draw for it: a key of the word lists or ``number``, description).
        ask: Questions with the argument names as slots.
        reply: What it returns, with the argument names, and `n` and `sky` made up, as slots.
        need: What the user wants from it, to go after "No tool can".
        held_out: Whether the tool never occurs in training.
    """

    name: str
    description: str
    arguments: Mapping[str, tuple[str, str]]
    ask: Wording
    reply: str
    need: str
    held_out: bool = field(default=False)

    def make_tool(self, tool_name: str | None = None, names: Mapping[str, str] | None = None) -> BaseTool:
        """Return the tool.

        Args:
            tool_name: Another name for it.
            names: Other names for its arguments, by their own.
        """
        names = names or {name: name for name in self.arguments}
        originals = {theirs: ours for ours, theirs in names.items()}
        properties = {
            names[name]: {"type": "integer" if kind == "number" else "string", "description": text}
            for name, (kind, text) in self.arguments.items()
        }
        spec = ToolSpec(tool_name or self.name, self.description, make_schema(properties, list(properties)))

        def run(**given: Any) -> str:
            arguments = {originals[name]: value for name, value in given.items()}
            number = hash_text(f"{self.name} {sorted(arguments.items())}", 0)
            return self.reply.format(**arguments, n=2 + number % 97, sky=_SKIES[number // 97 % len(_SKIES)])

        return make_tool(spec, run)

    def make_piece(self, draw: Draw) -> Piece:
        """Return one question for this tool."""
        arguments: dict[str, Any] = {
            name: draw.integer(2, 60) if kind == "number" else draw.name(_VALUES[kind])
            for name, (kind, _) in self.arguments.items()
        }
        return Piece(draw.say(self.ask, **arguments), self.name, fixed(**arguments))
