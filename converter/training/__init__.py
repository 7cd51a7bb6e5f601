"""Training steps before quantization: pruning, clustering, quantization-aware training, distillation."""
