"""What other programs load: the plug-ins for pytest and for llm."""
