"""A study of all heads as a table: text for the terminal, HTML for Jupyter. What is in it: `probes.head_study`."""

from html import escape

from circuits.notation import Unit

HEAD = (
    "head", "kind", "share", "input dependence", "writes mine", "writes empty", "logit gap", "board read",
    "board lost at once", "board lost at the end", "frozen pattern, at once", "top-N error",
)  # fmt: skip


def rows(study) -> list[tuple[str, ...]]:
    """One row of cells per head, under `HEAD`."""
    layers, heads = study.shape
    found = []
    for layer in range(layers):
        for head in range(heads):
            s = study.summary(Unit(layer, "head", head))
            found.append(
                (
                    str(s.unit), s.kind.name, f"{s.kind.share:.0%}", f"{s.input_dependence.value:.2f}",
                    _percent(s.writes["mine"].value), _percent(s.writes["empty"].value), f"{s.logit_gap.value:+.3f}",
                    _percent(s.read.value), _change(s.board["own"], 100, 2), _change(s.board["last"], 100, 2),
                    _change(s.frozen["own"], 100, 2), _change(s.moves["top_n_error"], 1, 3),
                )
            )  # fmt: skip
    return found


def caption(study) -> str:
    """What the table shows: units, baselines, games, plies, how heads are replaced."""
    a, b = study.about, study.ablations
    n = ", ".join(f"{name} {games}" for name, games in a["ablation_games"].items())
    return (
        f"{a['model']}: {a['games']} held-out games, {a['positions']} positions at plies {a['first_ply']} to "
        f"{a['last_ply']}; means and probes from {a['train_games']} other games. kind: by what it attends to, with the "
        "deciding share of its attention. input dependence: total variation between its pattern and the mean pattern "
        "of the ply. writes: share of what tells mine from theirs, and empty from occupied, in the stream after its "
        "layer's attention. logit gap: direct contribution to legal moves less illegal ones on empty squares, final "
        "LayerNorm frozen. board read: squares right from its output alone (commonest class of square and ply: "
        f"{study.reading.constant_square_ply:.1%}). lost: change, in percentage points, of the squares read right when "
        "it is replaced by its mean of the ply at every ply, LayerNorms recomputed, after its own layer's attention "
        f"and after the last layer ({_percent(float(b.board_base[0, -1, 3]))} in the whole model); top-N error: change "
        f"of that error (whole model {float(b.play_base[0, 3]):.2f}). *: the 95 % interval over games leaves out zero. "
        f"Games of each replacement: {n}."
    )


def text(study) -> str:
    """All heads as text, one a line, and the caption."""
    found = [HEAD, *rows(study)]
    widths = [max(len(row[i]) for row in found) for i in range(len(HEAD))]
    lines = ["  ".join(cell.rjust(n) for cell, n in zip(row, widths, strict=True)) for row in found]
    return "\n".join([*lines, "", caption(study)])


def as_html(study) -> str:
    """The same as an HTML table."""
    head = "".join(f"<th>{escape(name)}</th>" for name in HEAD)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows(study))
    below = f"<caption style='caption-side:bottom;text-align:left'>{escape(caption(study))}</caption>"
    return f"<table>{below}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _percent(share: float) -> str:
    return "-" if share != share else f"{share:.1%}"


def _change(figure, scale: int, digits: int) -> str:
    """With a star where the interval leaves out zero."""
    if figure.value != figure.value:
        return "-"
    star = "*" if figure.low > 0 or figure.high < 0 else " "
    return f"{scale * figure.value:+.{digits}f}{star}"
