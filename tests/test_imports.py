"""Imports run downwards only, and the command line answers without torch."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "speechssl"
LAYERS = (
    {"cores", "errors", "files"},
    {"config", "frames", "installation", "outputs", "redaction", "seeding"},
    {"audio", "text"},
    {"model", "shards"},
    {"ingest", "remote"},
    {"data"},
    {"objectives"},
    {"training", "decoding", "evaluation"},
    {"transcripts"},
    {"embedder", "embedding", "recogniser", "held_out", "live"},
    {"tasks", "report", "interop"},
    {"probing"},
    {"verbs"},
    {"cli", "__init__"},
    {"__main__"},
)
# Beside each other, and neither may know the other.
STRANGERS = {
    *(("model", "shards"), ("shards", "model"), ("ingest", "model"), ("remote", "model"), ("data", "model")),
    *(("ingest", "remote"), ("remote", "ingest"), ("data", "ingest")),
    *(("audio", "text"), ("text", "audio")),
}


def layer_of(module: str) -> int:
    return next(i for i, names in enumerate(LAYERS) if module in names)


def imports_of(path: Path) -> set[str]:
    """Parts of the package that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module == "speechssl":
            names += [f"speechssl.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("speechssl.")}
    return found - {"__version__"}


def test_imports_run_downwards() -> None:
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for other in imports_of(path) - {own}:
            if layer_of(other) > layer_of(own) or (own, other) in STRANGERS:
                wrong.append(f"{path} imports {other}")
    assert wrong == []


def test_no_verb_imports_another() -> None:
    assert [path for path in (PACKAGE / "verbs").glob("*.py") if "speechssl.verbs" in path.read_text()] == []
