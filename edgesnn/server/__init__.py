"""An open student behind HTTP, as the OpenAI interface has it."""
