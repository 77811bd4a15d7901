"""What is installed is what stands in the folders, and it declares what it imports."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from grimp import build_graph
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("graph", "nodes", "tools", "training")
HEAVY = ["torch", "transformers", "peft"]
EXTRAS = {
    "dev",
    "docs",
    "eval",
    "fuzz",
    "huggingface",
    "llamacpp",
    "mcp",
    "openai",
    "postgres",
    "qlora",
    "redaction",
    "retrieval",
    "serve",
    "train",
    "ui",
}
OPTIONAL = [
    "langchain",
    "langchain_huggingface",
    "langchain_mcp_adapters",
    "langchain_openai",
    "langgraph_api",
    "mcp",
    "nicegui",
    "tensorboard",
    "xllamacpp",
]


def run(*command: str | Path, cwd: Path, **env: str) -> str:
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def list_package_files(tree: Path) -> set[str]:
    roots = [(tree / name, tree) for name in FOLDERS] + [(tree / "src" / "alpha_umi", tree / "src" / "alpha_umi")]
    return {
        f"alpha_umi/{(Path(folder) / name).relative_to(base)}"
        for root, base in roots
        for folder, _, names in os.walk(root, followlinks=False)
        for name in names
    }


def list_wheel_files(wheel: Path) -> set[str]:
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the files that git knows or would add, links kept."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs a git checkout")
    listing = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    copy = tmp_path_factory.mktemp("tree")
    for name in filter(None, listing.split("\0")):
        if os.path.lexists(ROOT / name):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name, follow_symlinks=False)
    return copy


@pytest.fixture(scope="module")
def wheel(tree: Path) -> Path:
    """Built as `pip install .` builds it."""
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", "wheel", ".", cwd=tree)
    return next((tree / "wheel").iterdir())


@pytest.fixture(scope="module")
def released(tree: Path) -> tuple[Path, Path]:
    """Sdist, and the wheel built from it."""
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", "dist", cwd=tree)
    return next((tree / "dist").glob("*.tar.gz")), next((tree / "dist").glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("site")
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", target, wheel, cwd=target)
    return target


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    archive = zipfile.ZipFile(wheel)
    name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(archive.read(name).decode())


@pytest.mark.parametrize("folder", FOLDERS)
def test_link_is_relative_and_names_its_folder(tree: Path, folder: str) -> None:
    assert os.readlink(tree / "src" / "alpha_umi" / folder) == f"../../{folder}"


def test_wheel_holds_every_package_file_and_nothing_else(tree: Path, wheel: Path) -> None:
    files = list_wheel_files(wheel)
    assert files == list_package_files(tree)
    assert {"alpha_umi/py.typed", "alpha_umi/graph/agent.py", "alpha_umi/nodes/format/templates/umi.jinja"} <= files


@pytest.mark.slow
def test_wheel_from_sdist_equals_wheel_from_tree(wheel: Path, released: tuple[Path, Path]) -> None:
    assert list_wheel_files(released[1]) == list_wheel_files(wheel)


@pytest.mark.slow
def test_sdist_holds_what_a_packager_needs(released: tuple[Path, Path]) -> None:
    with tarfile.open(released[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "Makefile", "constraints.txt", "langgraph.json", "tests/test_packaging.py"} <= names
    assert not [name for name in names if name.endswith(".pyc")]


def test_metadata_names_license_python_and_readme(wheel: Path, metadata: Message) -> None:
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert "# α-UMi on LangGraph" in metadata.get_payload()
    assert [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".dist-info/licenses/LICENSE")]


def test_metadata_offers_the_optional_parts_as_extras(metadata: Message) -> None:
    assert set(metadata.get_all("Provides-Extra", [])) == EXTRAS


def test_installed_command_starts(installed: Path) -> None:
    assert "ask" in run(installed / "bin" / "alpha-umi", "--help", cwd=installed, PYTHONPATH=str(installed))


def test_import_needs_no_weights_no_extras_and_nothing_heavy(installed: Path, tmp_path: Path) -> None:
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({OPTIONAL}))\n"
        "import alpha_umi, alpha_umi.cli, alpha_umi.graph.agent, alpha_umi.graph.embed\n"
        "print(alpha_umi.__file__)\n"
        f"print(sorted(set({HEAVY}) & set(sys.modules)))"
    )
    env = {"PYTHONPATH": str(installed), "ALPHA_UMI_CACHE": str(tmp_path / "none"), "ALPHA_UMI_CONFIG": ""}
    file, heavy = run(sys.executable, "-c", code, cwd=tmp_path, **env).splitlines()
    assert Path(file).is_relative_to(installed)
    assert heavy == "[]"


def test_no_import_leads_back_to_its_module() -> None:
    graph = build_graph("alpha_umi", cache_dir=None)  # late imports and those for type checkers count
    circles = [
        (importer, imported)
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
        if graph.chain_exists(importer=imported, imported=importer)
    ]
    assert circles == []


def test_public_names_are_importable_and_others_are_not(installed: Path, tmp_path: Path) -> None:
    code = "import alpha_umi as a\nfor n in a.__all__: getattr(a, n)\nprint(hasattr(a, 'nothing'))"
    assert run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(installed)) == "False\n"


def list_imports(path: Path) -> set[str]:
    """Return the top-level modules that a file names in its imports, at the top or in functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"alpha_umi"}


@pytest.fixture(scope="module")
def requirements(metadata: Message) -> list[Requirement]:
    return [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]


def test_imports_are_declared_as_dependencies(requirements: list[Requirement]) -> None:
    declared = {
        canonicalize_name(requirement.name)
        for requirement in requirements
        if requirement.marker is None or not requirement.marker.evaluate({"extra": "dev"})
    }
    homes = packages_distributions()
    missing = {
        f"{path.relative_to(ROOT)}: {module}"
        for folder in (*FOLDERS, "src/alpha_umi")
        for path in (ROOT / folder).rglob("*.py")
        for module in list_imports(path)
        if not {canonicalize_name(name) for name in homes.get(module, [])} & declared
    }
    assert missing == set()


@pytest.mark.parametrize("python_version", ["3.11", "3.13"])
def test_constraints_pin_every_direct_dependency(requirements: list[Requirement], python_version: str) -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    environment = {"python_version": python_version, "python_full_version": f"{python_version}.0"}
    pins = {
        canonicalize_name(pin.name): pin
        for pin in (Requirement(line) for line in lines if line and not line.startswith("#"))
        if pin.marker is None or pin.marker.evaluate(environment)
    }
    for requirement in requirements:
        marker = requirement.marker
        wanted = marker is None or any(marker.evaluate({**environment, "extra": extra}) for extra in EXTRAS)
        if requirement.name == "alpha-umi" or not wanted:
            continue
        pin = pins[canonicalize_name(requirement.name)]
        (version,) = [specifier.version for specifier in pin.specifier if specifier.operator == "=="]
        assert requirement.specifier.contains(version), f"{pin} does not satisfy {requirement}"
