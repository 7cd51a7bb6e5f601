"""A model without the softmax or sigmoid at its end: what errors are measured on.

Scores hide them: a softmax brings a wrong answer and a right one to the same two numbers, and its int8 form rounds all
small scores to nothing.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from converter.quantization.observe import Real
from converter.tflite_schema import packed_model, read_graph, unpacked_model

SCORES = ("SOFTMAX", "LOGISTIC")


def without_scores(content: bytes) -> tuple[bytes, tuple[bool, ...]]:
    """The model with its outputs taken before a last SOFTMAX or LOGISTIC, and for each output whether it was a softmax:
    then only differences between the values of one answer mean anything.
    """
    graph = read_graph(content)
    made = {operator.outputs[0]: number for number, operator in enumerate(graph.operators)}
    consumed = {position for operator in graph.operators for position in operator.inputs}
    cut = {
        output: made[output]
        for output in graph.outputs
        if output in made and graph.operators[made[output]].name in SCORES and output not in consumed
    }
    moved = {output: graph.operators[number].inputs[0] for output, number in cut.items()}
    if not cut or set(moved.values()) & {*graph.inputs, *graph.outputs}:
        return content, tuple(False for _ in graph.outputs)
    model = unpacked_model(content, "is taken apart to measure errors")
    main = model.subgraphs[0]
    main.outputs = [moved.get(position, position) for position in graph.outputs]
    main.operators = [operator for number, operator in enumerate(main.operators) if number not in cut.values()]
    for signature in model.signatureDefs or ():
        for mapping in signature.outputs:
            mapping.tensorIndex = moved.get(mapping.tensorIndex, mapping.tensorIndex)
    soft = tuple(output in cut and graph.operators[cut[output]].name == "SOFTMAX" for output in graph.outputs)
    return packed_model(model, len(content)), soft


def snr_db(expected: Sequence[Sequence[Real]], found: Sequence[Sequence[Real]], soft: Sequence[bool]) -> float:
    """Signal to noise of the answers over all samples, dB; of several outputs the noise of each counts alike."""
    noise = 0.0
    for position, centered in enumerate(soft):
        a, b = (_answers(side, position, centered=centered) for side in (expected, found))
        power = float(np.square(a).sum())
        noise += float(np.square(b - a).sum()) / power if power > 0 else float(np.any(b != a))
    return float(-10 * np.log10(max(noise / max(len(soft), 1), 1e-20)))


def _answers(side: Sequence[Sequence[Real]], position: int, *, centered: bool) -> NDArray[np.float64]:
    wide = np.stack([answer[position].reshape(-1) for answer in side]).astype(np.float64)
    return wide - wide.mean(axis=1, keepdims=True) if centered else wide
