"""The TFLite export: int8 in three forms."""
