"""How the report looks: one palette for page and figures, light and dark, with shapes and words beside every hue."""

from __future__ import annotations

from html import escape

# name: (light, dark). The solver and stage colours are those of Okabe and Ito, adjusted for contrast on either ground.
PALETTE = {
    "ink": ("#1b1f24", "#e6e9ec"),
    "muted": ("#57606a", "#9aa6b2"),
    "line": ("#d0d7de", "#3a424b"),
    "ground": ("#ffffff", "#14181d"),
    "panel": ("#f6f8fa", "#1c2229"),
    "vermillion": ("#c84e00", "#ff8f52"),
    "blue": ("#0068a8", "#58b2f2"),
    "green": ("#00795a", "#3fcfa4"),
    "purple": ("#a0407f", "#e79fcd"),
    "amber": ("#b87900", "#f0be4a"),
    "sky": ("#4fa6dc", "#9ad4f7"),
    "slate": ("#57606a", "#9aa6b2"),
    "alarm": ("#fff1e5", "#3a2414"),
}
SENTINELS = {name: f"#0101{index + 16:02x}" for index, name in enumerate(PALETTE)}
"""Figures are drawn in these colours, which the page then replaces by its variables: one figure serves both grounds."""

SOLVER_LOOKS = {
    "qsvt": ("vermillion", "o"), "kernel_reflection": ("amber", "v"), "jennings": ("ink", "p"),
    "jennings_released_code": ("ink", "*"),
    "lu": ("blue", "s"), "cholesky": ("green", "^"), "cg": ("purple", "D"), "qr": ("sky", "P"),
}  # fmt: skip
OTHER_LOOKS = (("slate", "X"), ("slate", "<"), ("slate", ">"))
STAGE_COLOURS = ("sky", "blue", "green", "amber", "slate", "vermillion", "purple", "ink")


def solver_look(name: str) -> tuple[str, str]:
    """Colour name and marker of a solver, also of one that is not known yet."""
    return SOLVER_LOOKS.get(name) or OTHER_LOOKS[sum(map(ord, name)) % len(OTHER_LOOKS)]


def clock(name: str) -> str:
    """The badge of one of the two clocks."""
    return f'<span class="clock {name}">{name}</span>'


def solver_badge(name: str) -> str:
    return f'<span class="solver" style="--c:var(--{solver_look(name)[0]})">{escape(name)}</span>'


def section(title: str, *parts: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n" + "\n".join(parts) + "\n</section>"


def framed(drawing: str, caption: str, kind: str = "") -> str:
    """A figure with its caption; kind "half" is no wider than one panel of two."""
    return f"<figure{kind and f' class={kind}'}>{drawing}<figcaption>{caption}</figcaption></figure>"


def plural(number_of: int, noun: str) -> str:
    return f"{number_of:,} {noun}{'' if number_of == 1 else 's'}"


def _variables(index: int) -> str:
    return "".join(f"--{name}:{colours[index]};" for name, colours in PALETTE.items())


RULES = """
*{box-sizing:border-box}
body{margin:0 auto;padding:1.6rem 1.6rem 3rem;max-width:74rem;background:var(--ground);color:var(--ink);
  font:15px/1.5 system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif}
h1{font-size:1.6rem;margin:0 0 .3rem;line-height:1.25}
h2{font-size:1.2rem;margin:2.6rem 0 .4rem;padding-top:.9rem;border-top:1px solid var(--line)}
h3{font-size:1rem;margin:1.6rem 0 .3rem}
p{margin:.3rem 0 .7rem;max-width:60rem}
.lead{font-size:1.05rem}
.note,figcaption,caption{color:var(--muted);font-size:.86rem;text-align:left}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(10.5rem,1fr));gap:.7rem;margin:1rem 0}
.tile{background:var(--panel);border:1px solid var(--line);border-radius:.5rem;padding:.6rem .8rem}
.tile b{display:block;font-size:1.45rem;line-height:1.3;font-variant-numeric:tabular-nums}
.tile .name{color:var(--muted);font-size:.86rem}
.tile .more{font-size:.84rem;color:var(--muted);display:block}
.options{display:grid;grid-template-columns:repeat(auto-fit,minmax(20rem,1fr));gap:.1rem 1.4rem;margin:.6rem 0;
  font-size:.88rem}
.options div{display:flex;gap:.6rem}
.options dt{color:var(--muted);flex:0 0 6rem}
.options dd{margin:0;overflow-wrap:anywhere}
figure{margin:.6rem 0 1rem;break-inside:avoid}
figure.half{max-width:38rem}
svg{width:100%;height:auto;display:block}
svg text{font-family:system-ui,-apple-system,"Segoe UI","DejaVu Sans",sans-serif!important}
.scroll{overflow:auto;max-height:60rem;border:1px solid var(--line);border-radius:.4rem;margin:.4rem 0 .8rem}
table{border-collapse:separate;border-spacing:0;width:100%;font-size:.84rem;font-variant-numeric:tabular-nums}
caption{padding:.4rem .6rem;border-bottom:1px solid var(--line)}
th,td{padding:.26rem .45rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
th{position:sticky;top:0;background:var(--panel);font-weight:600;vertical-align:bottom;z-index:1}
tbody tr:last-child td{border-bottom:0}
td.n,th.n{text-align:right;white-space:nowrap}
td.wide{min-width:14rem}
td.name{min-width:6.5rem;max-width:11rem;overflow-wrap:anywhere}td.name .small{white-space:nowrap}
tr.trouble td{background:var(--alarm)}
.small{color:var(--muted);font-size:.8rem;display:block}
.clock{display:inline-block;font-size:.72rem;font-weight:600;line-height:1.35;padding:0 .4em;border-radius:.3em;
  white-space:nowrap;vertical-align:.08em;color:var(--ink)}
.clock.simulated{border:1px solid var(--green);color:var(--green)}
.clock.projected{border:1px dashed var(--purple);color:var(--purple)}
.solver{white-space:nowrap;font-weight:600}
.solver::before{content:"";display:inline-block;width:.62em;height:.62em;border-radius:50%;background:var(--c);
  margin-right:.35em}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(21rem,1fr));gap:0 2rem}
.two ul{margin:.2rem 0 .8rem;padding-left:1.2rem}
.formula{font-family:ui-monospace,"DejaVu Sans Mono",monospace;font-size:.84rem;background:var(--panel);
  border:1px solid var(--line);border-radius:.4rem;padding:.5rem .7rem;overflow-x:auto;max-width:none}
@page{margin:12mm}
@media print{body{padding:0;max-width:none;font-size:11px}.scroll{max-height:none;overflow:visible;border:0}
  th{position:static}tr,.tile{break-inside:avoid}h2,h3{break-after:avoid}.tiles{grid-template-columns:repeat(6,1fr)}td.wide{min-width:9rem}
  th,td{padding:.15rem .3rem}*{print-color-adjust:exact}}
"""
CSS = (
    f":root{{color-scheme:light dark;{_variables(0)}}}\n"
    f"@media screen and (prefers-color-scheme:dark){{:root{{{_variables(1)}}}}}\n{RULES}"
)
