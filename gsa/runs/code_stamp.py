"""A hash of the code that decides a stage's output: what DVC and checkpoints compare instead of source files.

The hash covers the syntax trees, without docstrings (comments never enter a tree), of the stage's module and of every
module of ours that it imports, directly or through others, at the top or inside functions. So an edited comment reruns
nothing and an edited loss reruns what uses it.
"""

import ast
import hashlib
from itertools import accumulate
from pathlib import Path

from gsa.errors import ParamsError
from gsa.pipeline import roots

PACKAGES = ("gsa", "stages")

NOT_STAMPED = (
    "gsa.config",  # parameters are tracked by value (params: in dvc.yaml)
    "gsa.pipeline",  # names the module of every learner as text; a stage begins at its own
    "gsa.errors",  # messages
    "gsa.faults",
    # When and where an output is written, never what is in it:
    "gsa.runs.claims",
    "gsa.runs.code_stamp",
    "gsa.runs.fingerprint",
    "gsa.runs.obsolete",
    "gsa.runs.process",
    "gsa.runs.publish",
    "gsa.runs.run_dir",
    "gsa.startup",
    "stages.checkout",
    "stages.estimate",
    "stages.options",
    "stages.progress",
)
"""Modules, and what is below them, that enter no hash."""

LISTS_OF_NAMES = {"gsa.tasks": frozenset({"_DMC_TASKS", "_MW_TASKS", "EXTRA_TASKS"})}
"""Assignments left out of a module's hash: another name in such a list changes nothing for the names already there."""

SOURCE_ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds the packages ``gsa`` and ``stages``."""


def code_stamp(stage: str, root: Path = SOURCE_ROOT) -> str:
    """sha256 over the modules behind a stage of ``gsa.pipeline`` or a tool, by name; errors of ``stage_modules``."""
    return _digest(stage_modules(stage, root), root)


def module_stamp(module: str, root: Path = SOURCE_ROOT) -> str:
    """sha256 over one of our modules and those it imports: for what a stage imports only when asked for it."""
    return _digest(_reached([module], root), root)


def _digest(modules: list[str], root: Path) -> str:
    digest = hashlib.sha256()
    for module in modules:
        digest.update(f"{module}\n{_canonical(module, root)}\n".encode())
        # What a package fills in is as much its code as what fills it in.
        for template in sorted(root.joinpath(*module.split("."), "templates").glob("*")):
            digest.update(f"{template.name}\n".encode() + template.read_bytes())
    return digest.hexdigest()


def stage_modules(stage: str, root: Path = SOURCE_ROOT) -> list[str]:
    """Sorted names of our modules that the stage's code can reach, less ``NOT_STAMPED``."""
    begins = roots(stage)
    for module in begins:
        if _module_file(module, root) is None:
            raise ParamsError(f"no code of {stage!r}: {root / module.replace('.', '/')}.py does not exist")
    return _reached(begins, root)


def _reached(queue: list[str], root: Path) -> list[str]:
    seen: set[str] = set()
    while queue:
        module = queue.pop()
        if module in seen or any(f"{module}.".startswith(f"{name}.") for name in NOT_STAMPED):
            continue
        seen.add(module)
        queue.extend(_imports(module, root))
    return sorted(seen)


def _module_file(module: str, root: Path) -> Path | None:
    base = root.joinpath(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def _tree(module: str, root: Path) -> ast.Module:
    path = _module_file(module, root)
    assert path is not None
    return ast.parse(path.read_bytes())


def _imports(module: str, root: Path) -> set[str]:
    """Our modules named by any import statement of ``module``, with the packages whose __init__ they run."""
    named: set[str] = set()
    for node in ast.walk(_tree(module, root)):
        if isinstance(node, ast.Import):
            named.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            # `from gsa.envs import dmc` may name a module or an attribute: both are tried.
            named.update([node.module, *(f"{node.module}.{alias.name}" for alias in node.names)])
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("gsa."):
            named.add(node.value.partition(":")[0])  # registries name modules as text, imported when asked for
    ours = (list(accumulate(name.split("."), "{}.{}".format)) for name in named if name.split(".")[0] in PACKAGES)
    return {prefix for prefixes in ours for prefix in prefixes if _module_file(prefix, root)}


def _canonical(module: str, root: Path) -> str:
    """The module's syntax tree as text: no docstrings, comments, line numbers, layout or lists of names."""
    tree, names = _tree(module, root), LISTS_OF_NAMES.get(module, frozenset())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [statement for statement in node.body if not _says_nothing(statement)]
    tree.body = [
        s for s in tree.body if not (isinstance(s, ast.Assign) and names & {ast.unparse(t) for t in s.targets})
    ]
    return ast.dump(tree)


def _says_nothing(statement: ast.stmt) -> bool:
    """A bare string: attribute docstrings are such anywhere in a body, and none of them does anything."""
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)
