"""SCPI instruments: their driver, a table of models, their twin."""
