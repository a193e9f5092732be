"""The ONNX exports: int8 in three forms, and the float32 baseline."""
