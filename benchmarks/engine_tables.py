"""Tables of ``engine.py``: for a terminal, and for ``docs/performance.md``."""

from __future__ import annotations

from typing import Any

RATIOS = ("float32_over_it", "int8_over_it", "dense_over_it", "dense_plain_over_it")


def _cell(ratio: tuple[float, float] | None) -> str:
    """A ratio of least times, and in brackets the median of turns."""
    return "" if ratio is None else f"{ratio[0]:.2f} ({ratio[1]:.2f})"


def report(result: dict[str, Any]) -> None:
    """One vocabulary size, for a terminal."""
    print(
        f"\nV = {result['vocab']}, {result['turns']} turns: {result['row_additions']} row additions a token;",
        end=" ",
    )
    print(f"{result['bytes'] / 1e6:.2f} MB to read at {result['gigabytes_per_second']} GB/s:", end=" ")
    print(f"bound {result['bound_us']} us")
    print(f"{'engine':32} {'min us':>8} {'median':>8}", end="")
    print(f" {'fp32 / it':>14} {'int8 / it':>14} {'dense / it':>14} {'plain / it':>14} {'of bound':>9}")
    for row in result["rows"]:
        ratios = " ".join(f"{_cell(row[key]):>14}" for key in RATIOS)
        share = result["bound_us"] / row["min_us"]
        print(f"{row['engine']:32} {row['min_us']:8.1f} {row['median_us']:8.1f} {ratios} {share:9.0%}")
    for row in result["linear_layers"]:
        print(
            f"linear layers, {row['kernels']}: native {row['native_us']} us, dense {row['dense_us']} us,",
            end=" ",
        )
        print(f"dense / native {_cell(row['dense_over_it'])}")
    for length, speeds in result["prefill_tokens_per_second"].items():
        listed = ", ".join(f"{name} {speed:,} tokens/s" for name, speed in speeds.items())
        print(f"prefill of {length}: {listed}")


def markdown(facts: dict[str, Any], bandwidths: str, results: list[dict[str, Any]]) -> None:
    """The tables of docs/performance.md."""
    print(", ".join(f"{key}: {value}" for key, value in facts.items()) + ". Read " + bandwidths + ".")
    for result in results:
        print(f"\n### One token, V = {result['vocab']:,}\n")
        print(
            f"{result['row_additions']} row additions a token; {result['bytes'] / 1e6:.2f} MB to read at "
            f"{result['gigabytes_per_second']} GB/s: bound {result['bound_us']} us. "
            f"{result['turns']} turns.\n"
        )
        names = "ONNX float32 / it | ONNX int8 / it | dense / it | dense plain / it"
        print(f"| engine | least us | median us | {names} | of bound |")
        print("|---|---|---|---|---|---|---|---|")
        for row in result["rows"]:
            cells = [row["engine"], row["min_us"], row["median_us"], *(_cell(row[key]) for key in RATIOS)]
            print("| " + " | ".join(map(str, cells)) + f" | {result['bound_us'] / row['min_us']:.0%} |")
    print("\n### Linear layers alone\n\n| V | kernels | native us | dense us | dense / native |")
    print("|---|---|---|---|---|")
    for result in results:
        for row in result["linear_layers"]:
            cells = [f"{result['vocab']:,}", row["kernels"], row["native_us"], row["dense_us"]]
            print("| " + " | ".join(map(str, cells)) + f" | {_cell(row['dense_over_it'])} |")
    columns = list(results[0]["prefill_tokens_per_second"]["64"])
    print(f"\n### Prefill, tokens per second\n\n| V | prompt | {' | '.join(columns)} |")
    print("|---|---|" + "---|" * len(columns))
    for result in results:
        for length, speeds in result["prefill_tokens_per_second"].items():
            cells = " | ".join(f"{speeds[name]:,}" for name in columns)
            print(f"| {result['vocab']:,} | {length} | {cells} |")
