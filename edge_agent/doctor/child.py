"""The doctor's child process: `python -m edge_agent.doctor.child interpreter|delegate [LIBRARY]`.

An interpreter or a delegate that does not fit the machine may end the process that loads it. Prints one JSON object.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

TINY_MODEL = Path(__file__).parent / "tiny.tflite"  # next_sum = sum + x; y = next_sum x gain


def main(arguments: Sequence[str]) -> int:
    found = _interpreter() if arguments[0] == "interpreter" else _delegate(arguments[1])
    print(json.dumps(found), flush=True)
    return 0


def _interpreter() -> dict[str, object]:
    import numpy as np

    from edge_agent.errors import EdgeError
    from edge_agent.inference.tflite import open_engine

    try:
        with open_engine(TINY_MODEL) as engine:
            total = np.array([[1, 2]], np.float32)
            found = engine.invoke([total, total, np.array(2, np.float32)])
            right = [array.tolist() for array in found] == [[[2, 4]], [[4, 8]]]
            report = engine.report
    except EdgeError as error:
        return {"error": str(error), "hint": error.hint}
    return {"library": report.library, "numpy": np.__version__, "delegated": report.delegated, "right": right}


def _delegate(library: str) -> dict[str, object]:
    from edge_agent.inference.delegates import library_problem

    problem = library_problem(library)
    return {"error": problem.detail, "hint": problem.hint} if problem else {}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
