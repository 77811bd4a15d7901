"""What the reference holds is read from the code when the site is built.

A page says where it goes: in the place of the comment ``<!-- generated: commands -->`` stands what `GENERATORS` has
under that name.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import typer
from pydantic import BaseModel
from sphinx.application import Sphinx
from typer.cli import get_docs_for_click

import alpha_umi
from alpha_umi.cli import app as command_line
from alpha_umi.graph.config import UmiSettings
from alpha_umi.nodes.state import UmiContext
from alpha_umi.training.config import TrainConfig

MARK = re.compile(r"^<!-- generated: (.+) -->$", re.MULTILINE)
PACKAGE = Path(alpha_umi.__file__).parent
FOLDERS = [PACKAGE / name for name in ("cli", "graph", "nodes", "tools", "training")]  # three of them are links
MODULES = (
    "alpha_umi",
    "alpha_umi.errors",
    "alpha_umi.graph.checkpointers",
    "alpha_umi.nodes.durability.postgres",
    "alpha_umi.nodes.models.local",
    "alpha_umi.nodes.models.scripted",
    "alpha_umi.nodes.models.server",
    "alpha_umi.tools",
    "alpha_umi.tools.retrieval",
    "alpha_umi.training.evaluation.langsmith",
)
_BOUNDS = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}"}
_WORDS = {"string": "text", "null": "`null`", "boolean": "`true`, `false`", "object": "mapping"}

Schema = Mapping[str, Any]


def render_api(module: str) -> str:
    """Have autodoc write down what a module exports, but what `alpha_umi` exports as well."""
    twice = "" if module == "alpha_umi" else f"\n   :exclude-members: model_config, {', '.join(alpha_umi.__all__)}"
    return f"```{{eval-rst}}\n.. automodule:: {module}\n   :members:{twice}\n```"


def render_commands() -> str:
    """Write down the parser of the command line, by typer's own means."""
    command: Any = typer.main.get_command(command_line)
    for each in _walk(command):
        each.short_help = (each.help or "").partition("\n")[0]  # else the lists of commands are cut after 45 characters
    context = typer.Context(command, info_name="alpha-umi")
    return get_docs_for_click(obj=command, ctx=context, name="alpha-umi", title="Command line").strip()


def _walk(command: Any) -> Iterator[Any]:
    yield command
    for each in getattr(command, "commands", {}).values():
        yield from _walk(each)


def render_settings(model: type[BaseModel]) -> str:
    """Write down settings as tables: one of the model, and one of each model that is within it."""
    schema = model.model_json_schema()
    inner = schema["$defs"]
    parts = [_render_table(schema, inner)]
    for key, name in _list_inner(schema, inner):
        about = str(inner[name].get("description", "")).partition("\n\nExample")[0]
        parts += [f"## `{key}`", about, _render_table(inner[name], inner)]
    return "\n\n".join(parts)


def _list_inner(schema: Schema, inner: Mapping[str, Schema]) -> list[tuple[str, str]]:
    """Return the models within a model, each with the setting that it is first met at."""
    met: dict[str, str] = {}
    for key, field in schema["properties"].items():
        for name in re.findall(r"'#/\$defs/(\w+)'", str(field)):
            met.setdefault(name, key)
    return [(key, name) for name, key in met.items()]


def _render_table(schema: Schema, inner: Mapping[str, Schema]) -> str:
    rows = ["| setting | meaning | type | default |", "| --- | --- | --- | --- |"]
    for key, field in schema["properties"].items():
        about = field.get("description") or inner[field["$ref"].rpartition("/")[2]]["description"].partition("\n")[0]
        default = _render_default(field["default"]) if "default" in field else "has to be given"
        rows.append(f"| `{key}` | {_escape(about)} | {_render_type(field, key)} | {default} |")
    return "\n".join(rows)


def _render_default(value: object) -> str:
    match value:
        case dict():
            return "as below" if value else "none"
        case list():
            return ", ".join(f"`{each}`" for each in value) or "none"
        case None | bool():
            return {None: "`null`", True: "`true`", False: "`false`"}[value]
        case _:
            return f"`{value}`"


def _render_type(field: Schema, key: str) -> str:
    """Return what a JSON Schema allows, in words."""
    match field:
        case {"anyOf": several} | {"oneOf": several}:
            return ", or ".join(dict.fromkeys(_render_type(each, key) for each in several))
        case {"$ref": _}:
            return f"[`{key}`](#{key})"
        case {"enum": values}:
            return ", ".join(f"`{each}`" for each in values)
        case {"items": items}:
            return f"list: {_render_type(items, key)}"
        case {"additionalProperties": Mapping() as items}:
            return f"mapping: {_render_type(items, key)}"
    bounds = " and ".join(text.format(field[bound]) for bound, text in _BOUNDS.items() if bound in field)
    return f"{_WORDS.get(field['type'], field['type'])} {bounds}".strip()


def _escape(text: str) -> str:
    return re.sub(r"([*<\[|])", r"\\\1", text)


def render_variables() -> str:
    """Write down the environment variables: of the commands' options, and those that constants ``…_VARIABLE`` name."""
    found = dict(_list_constants())
    command: Any = typer.main.get_command(command_line)
    for each in _walk(command):
        for option in each.params:
            if option.envvar:
                found.setdefault(option.envvar, f"Stands for `{option.opts[0]}`. {option.help}")
    rows = [f"| `{name}` | {' '.join(about.split())} |" for name, about in sorted(found.items())]
    return "\n".join(["| variable | meaning |", "| --- | --- |", *rows])


def _list_constants() -> Iterator[tuple[str, str]]:
    for path in (path for folder in FOLDERS for path in folder.rglob("*.py")):
        body = ast.parse(path.read_text(encoding="utf-8")).body
        for statement, after in pairwise(body):
            match statement, after:
                case (
                    ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str() as variable)),
                    ast.Expr(value=ast.Constant(value=str() as about)),
                ) if name.endswith("VARIABLE"):
                    yield variable, about


GENERATORS: Mapping[str, Callable[[], str]] = {
    "commands": render_commands,
    "variables": render_variables,
    "configuration": partial(render_settings, UmiSettings),
    "run": partial(render_settings, UmiContext),
    "training": partial(render_settings, TrainConfig),
    **{f"api {module}": partial(render_api, module) for module in MODULES},
}


def fill(_: Sphinx, name: str, source: list[str]) -> None:
    """Put what is generated in the place of a page's comments."""
    source[0] = MARK.sub(lambda mark: GENERATORS[mark[1]](), source[0])


def describe(_: Sphinx, kind: str, name: str, value: object, options: object, lines: list[str]) -> None:
    """Let the docstring of a pydantic model say what its fields mean; of that of a module take the first line."""
    if kind == "module":
        del lines[1:]
    if isinstance(value, type) and issubclass(value, BaseModel):
        about = {key: _escape_rst(str(field.description)) for key, field in value.model_fields.items()}
        lines += ["", "Args:", *(f"    {key}: {text}" for key, text in about.items()), ""]


def _escape_rst(text: str) -> str:
    return re.sub(r"(`[^`]*`)|([*_])", lambda each: each[1] or f"\\{each[2]}", text)


def sign_fields(_: Sphinx, kind: str, name: str, value: object, *rest: object) -> tuple[str, None] | None:
    """Leave the marks of pydantic out of the signature of a model."""
    if not (isinstance(value, type) and issubclass(value, BaseModel)):
        return None
    fields = value.model_fields.items()
    return f"({', '.join(key if field.is_required() else f'{key}={field.default!r}' for key, field in fields)})", None


def setup(app: Sphinx) -> dict[str, bool]:
    """Have each page filled before it is read, and docstrings before napoleon reads them."""
    app.connect("source-read", fill)
    app.connect("autodoc-process-docstring", describe, priority=400)
    app.connect("autodoc-process-signature", sign_fields)
    return {"parallel_read_safe": True}
