"""Our own reading of ONNX files: their protobuf, their shapes, and their operators as PyTorch's."""
