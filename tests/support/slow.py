"""The integer program once more, in plain Python integers and loops, written from its definition alone.

Slow on purpose: no numpy arithmetic, no blocks, no state. What it shares with the package is the list of ops.
"""

from edgesnn.program.ops import LIF, Add, Attend, Count, Embed, Linear, Saturate, Shift


def truncated(numerator: int, denominator: int) -> int:
    """The quotient rounded toward zero."""
    quotient = abs(numerator) // denominator
    return quotient if numerator >= 0 else -quotient


def saturated(value: int, limit: int) -> int:
    return max(-limit, min(limit, value))


def lif(currents: list[int], n: int, theta: int, bias: int) -> tuple[list[int], list[int], list[int]]:
    """One neuron over T: membranes before saturation, membranes as compared, spikes."""
    v, raw, compared, spikes = 0, [], [], []
    for current in currents:
        v = truncated(v * n, 256) + 64 * current + bias
        raw.append(v)
        v = saturated(v, 2**23 - 1)
        compared.append(v)
        spikes.append(int(v > theta))
        if v > theta:
            v = 0
    return raw, compared, spikes


def dot(left: list[int], right: list[int]) -> int:
    return sum(a * b for a, b in zip(left, right, strict=True))


def column(matrix, index: int) -> list[int]:
    return [int(row[index]) for row in matrix]


def attend(qkv: list[list], windows: tuple[int, ...], dh: int, i: int) -> list[int]:
    """Token i's output; ``qkv[p][j]`` are the spikes of q, k or v of token j at one inner timestep."""
    (q, k, v), out = qkv, []
    for head, window in enumerate(windows):
        part = slice(head * dh, (head + 1) * dh)
        scores = {j: dot(q[i][part], k[j][part]) for j in range(max(0, i - window + 1), i + 1)}
        out += [sum(score * v[j][head * dh + c] for j, score in scores.items()) for c in range(dh)]
    return out


def run(program, ids: list[int], see=None) -> list[list[int]]:  # noqa: PLR0912 - one branch per op
    """Integer logits of every token of one sequence.

    Args:
        program: The program.
        ids: Token ids.
        see: Called with op and value of every op: ``value[i][t][c]``, for a LIF the membranes before
            saturation, for counts and logits ``value[i][c]``, for a readout the products before the shift.
    """
    T, tell = program.timesteps, see or (lambda op, value: None)
    values = {}
    for op in program.ops:
        value = None
        if isinstance(op, Embed):
            value = []
            for token in ids:
                row = [int(e) for e in op.table[token]]
                codes = [dot(row, column(op.projection, c)) for c in range(op.projection.shape[1])]
                x0 = [truncated(z * int(m), 2**op.shift) for z, m in zip(codes, op.multiplier, strict=True)]
                value.append([x0] * T)
        elif isinstance(op, Linear):
            columns = [column(op.weight, c) for c in range(op.weight.shape[1])]
            value = [[[dot(s, w) for w in columns] for s in token] for token in values[op.input]]
        elif isinstance(op, LIF):
            value, raws = [], []
            for token in values[op.input]:
                neurons = [
                    lif([token[t][c] for t in range(T)], op.decay, int(theta), int(bias))
                    for c, (theta, bias) in enumerate(zip(op.threshold, op.bias, strict=True))
                ]
                value.append([[spikes[t] for _, _, spikes in neurons] for t in range(T)])
                raws.append([[raw[t] for raw, _, _ in neurons] for t in range(T)])
            tell(op, raws)
        elif isinstance(op, Shift):
            moved, source = set(op.channels.tolist()), values[op.input]
            value = [
                [
                    [
                        s if c not in moved else (source[i - 1][t][c] if i else 0)
                        for c, s in enumerate(source[i][t])
                    ]
                    for t in range(T)
                ]
                for i in range(len(ids))
            ]
        elif isinstance(op, Attend):
            width, source = op.head_dim * len(op.windows), values[op.input]
            value = [[] for _ in ids]
            for t in range(T):
                qkv = [[token[t][p * width : (p + 1) * width] for token in source] for p in range(3)]
                for i in range(len(ids)):
                    value[i].append(attend(qkv, op.windows, op.head_dim, i))
        elif isinstance(op, Add):
            left, right = values[op.left], values[op.right]
            value = [
                [[left[i][t][c] + x for c, x in enumerate(right[i][t])] for t in range(T)]
                for i in range(len(ids))
            ]
        elif isinstance(op, Saturate):
            value = [[[saturated(x, 2**17 - 1) for x in row] for row in token] for token in values[op.input]]
        elif isinstance(op, Count):
            value = [
                [sum(row[c] for row in token) for c in range(len(token[0]))] for token in values[op.input]
            ]
        else:
            value, products = [], []
            columns = [column(op.weight, j) for j in range(op.weight.shape[1])]
            for counts in values[op.input]:
                z = [dot(counts, w) + int(b) for w, b in zip(columns, op.bias, strict=True)]
                products.append([a * int(m) for a, m in zip(z, op.multiplier, strict=True)])
                z8 = [saturated(truncated(p, 2**op.shift), 127) for p in products[-1]]
                value.append([dot(z8, [int(e) for e in row]) for row in op.table])
            tell(op, products)
        values[op.out] = value
        if not isinstance(op, LIF) and op is not program.readout:
            tell(op, value)
    return values[program.readout.out]
