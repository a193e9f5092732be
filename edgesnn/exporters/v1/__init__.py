"""Students of version 1.0 as ONNX: float32, and int8 in three forms."""
