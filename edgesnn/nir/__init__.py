"""Networks of other libraries: NIR files read, checked, simulated, folded and made into integer programs."""
