"""docs/frontends-torch.md lists the operators that there are."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
OPERATORS = ROOT / "converter/frontends/onnx_model/operators"


def test_every_operator_is_listed_and_no_other() -> None:
    text = (ROOT / "docs/frontends-torch.md").read_text(encoding="utf-8")
    own, of_tables = (
        set(re.findall(r"\w+", part.partition(":")[2].partition(".")[0]))
        for part in re.findall(r"^(Operators: .*?|Operators of ai\.onnx\.ml: .*?)\n\n", text, re.MULTILINE | re.DOTALL)
    )
    found = {file.stem: _names(file) for file in OPERATORS.glob("*.py")}
    moved = {"ZipMap", "ArrayFeatureExtractor"}
    assert of_tables == found.pop("sklearn") | moved
    assert own == set().union(*found.values()) - moved | {"If", "Constant"}


def _names(file: Path) -> set[str]:
    """Names in `@entry(TABLE, …)`, and the keys of the dictionaries of functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "entry":
            names |= {str(argument.value) for argument in node.args if isinstance(argument, ast.Constant)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Dict):
            target = node.target.id if isinstance(node.target, ast.Name) else ""
            if target in ("_UNARY", "_BINARY", "_REDUCTIONS"):
                names |= {str(key.value) for key in node.value.keys if isinstance(key, ast.Constant)}
    return names
