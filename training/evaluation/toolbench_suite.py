"""ToolBench's query files as a live suite: its tools are called through its server, a judge tells who solved what."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from alpha_umi.errors import ConfigError
from alpha_umi.tools.spec import log_omissions
from alpha_umi.tools.toolbench import ToolBenchServer, make_query_tools
from alpha_umi.training.evaluation.live_task import LiveTask


def load_toolbench_suite(path: Path, server: ToolBenchServer) -> list[LiveTask]:
    """Return the queries of a file, or of all files of a folder; what cannot be read is left out and logged.

    Args:
        path: ``G1_instruction.json`` or the like, a list of ``{"query", "query_id", "api_list"}``; or their folder.
        server: Where calls are posted.

    Raises:
        ConfigError: If there is no such file, or no query that can be used.
    """
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    tasks: dict[str, LiveTask] = {}
    faults: list[str] = []
    for file in files:
        for where, row in _read(file, faults):
            try:
                task = _make_task(file.stem, row, server)
            except (LookupError, TypeError, ValueError) as error:
                faults.append(f"{where} is left out: {type(error).__name__}: {error}")
                continue
            if task.key in tasks:
                faults.append(f"{where} is left out: query_id {task.query_id} occurs twice")
            tasks.setdefault(task.key, task)
    log_omissions(str(path), faults)
    if not tasks:
        raise ConfigError(
            f"{path} holds no ToolBench query ({'; '.join(faults[:3]) or 'no .json file'}). Give a file such as "
            "G1_instruction.json of its test_instruction folder, or that folder."
        )
    return list(tasks.values())


def _read(file: Path, faults: list[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        rows = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        faults.append(f"{file.name} cannot be read: {error}")
        return
    for number, row in enumerate(rows if isinstance(rows, list) else [], 1):
        if isinstance(row, dict):
            yield f"{file.name}, query {number}", row
        else:
            faults.append(f"{file.name}, query {number} is no object")


def _make_task(group: str, row: Mapping[str, Any], server: ToolBenchServer) -> LiveTask:
    query, apis = row["query"], row["api_list"]
    if not isinstance(query, str) or not query.strip():
        raise ValueError("'query' is empty")
    if not isinstance(apis, list) or not all(isinstance(api, dict) for api in apis):
        raise TypeError("'api_list' is no list of APIs")
    return LiveTask(group, str(row["query_id"]), query.strip(), functools.partial(make_query_tools, apis, server))
