"""The threshold of an anomaly task, where the recipe states none: from the errors that the converted model makes on the
representative data, which has to be of the normal, and best unseen in training.

How a threshold is made of errors is `tasks.anomaly`.
"""

from converter.samples import Dataset
from edge_agent.inference.model import Model
from edge_agent.tasks.anomaly import AnomalyDecoder, threshold_of
from edge_agent.transform.prepared import Prepared


def calibrated_threshold(model: Model, data: Dataset, share: float) -> float:
    """What at most `share` of new normal samples exceed, rounded up to six digits: a manifest is read by people.

    Raises:
        ModelError: the outputs are not those of the task, or not numbers.
    """
    engine = model.engine
    decoder = AnomalyDecoder.build(model.manifest.output, engine.outputs, model.labels, engine.inputs)
    errors = []
    for inputs in data.inputs(engine.inputs):
        prepared = Prepared(tuple(inputs))
        errors.append(decoder.error(model.invoke(prepared), prepared))
    threshold = threshold_of(errors, share)
    return float(f"{threshold * (1 + 5e-6):.6g}")
