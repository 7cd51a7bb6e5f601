"""The tables by domain. What they leave out is refused by name."""

from collections.abc import Mapping

from converter.frontends.onnx_model.operators import arithmetic, layout, pictures, recurrent, sklearn
from converter.frontends.onnx_model.operators.table import Operator, Table

_OF_SKLEARN = ("ZipMap", "ArrayFeatureExtractor")
_OWN: Table = {**arithmetic.TABLE, **layout.TABLE, **pictures.TABLE, **recurrent.TABLE}
OPERATORS: Mapping[str, Mapping[str, Operator]] = {
    "": {name: operator for name, operator in _OWN.items() if name not in _OF_SKLEARN},
    "ai.onnx.ml": {**sklearn.TABLE, **{name: layout.TABLE[name] for name in _OF_SKLEARN}},
}
