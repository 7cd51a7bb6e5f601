"""ONNX's operators by PyTorch's, in tables: arithmetic, layout, pictures, recurrent, and those of scikit-learn."""
