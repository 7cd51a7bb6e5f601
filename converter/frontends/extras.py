"""Which packages each extra of the front-ends brings, and the error that names the extra where one is missing.

Asked before a child is started; no package is loaded for it.
"""

import importlib.util
import platform
import sys
from typing import Literal

from converter.errors import ConversionError

Extra = Literal["keras", "torch", "onnx", "sklearn"]

# Module → what people call it. pyproject.toml says why each is needed.
_TORCH = {"torch": "PyTorch", "litert_torch": "litert-torch"}
_ONNX = {**_TORCH, "onnx": "onnx", "onnxruntime": "onnxruntime"}
_PACKAGES: dict[Extra, dict[str, str]] = {
    "keras": {"tensorflow": "TensorFlow", "keras": "Keras", "tf_keras": "tf_keras", "h5py": "h5py"},
    "torch": _TORCH,
    "onnx": _ONNX,
    "sklearn": {**_ONNX, "sklearn": "scikit-learn", "skl2onnx": "skl2onnx"},
}
_LITERT_TORCH_PLATFORMS = (("linux", "x86_64"), ("darwin", "arm64"))


def require(extra: Extra, what: str) -> None:
    """All packages of `extra` can be imported; `what` needs them: `an ONNX model`.

    Raises:
        ConversionError: some are missing; names them and the extra, or says that this machine cannot have them.
    """
    missing = {module: name for module, name in _PACKAGES[extra].items() if importlib.util.find_spec(module) is None}
    if not missing:
        return
    hint = f"pip install 'edge-deploy[{extra}]', or export the model as .tflite where it was trained"
    if "litert_torch" in missing and (sys.platform, platform.machine()) not in _LITERT_TORCH_PLATFORMS:
        hint = "litert-torch exists for Linux on x86-64 and macOS on ARM only: convert there"
    named = " and ".join(missing.values()) if len(missing) < 3 else f"{', '.join(missing.values())}"
    raise ConversionError(
        f"{what} needs {named}, which {'is' if len(missing) == 1 else 'are'} not installed", hint=hint
    )
