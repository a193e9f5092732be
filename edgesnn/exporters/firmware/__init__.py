"""The firmware export: a project for ``make`` and CMake that builds a board with the student in its flash."""
