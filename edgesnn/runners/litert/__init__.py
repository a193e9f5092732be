"""LiteRT, the runtime of TFLite files."""
