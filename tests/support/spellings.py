"""How a trimmed vocabulary spells the tokens of its teacher."""


def spellings(trimmed):
    """Student ids of each native id; empty for ids that stand for nothing."""
    flat, bounds = trimmed.flat.tolist(), trimmed.offsets.tolist()
    return [tuple(flat[a:b]) for a, b in zip(bounds, bounds[1:], strict=False)]
