"""Students of version 1.0: export, agreement with torch, upgrade."""
