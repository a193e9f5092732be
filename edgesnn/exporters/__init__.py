"""Exporters: one file per format, each turns a program into the files of that format."""
