"""The pieces of a page: sections, tables, figures with their scales, all in one file and for dark or light."""

import base64
import html
from typing import Any

from invreg.report.figures import nice

STYLE = """
:root { color-scheme: light dark; --page: #fbfbfa; --ink: #1d2126; --soft: #666d75; --line: #dfe1e3;
  --card: #fff; --good: #1a7f4b; --warn: #a86200; --bad: #b3261e; --mark: #2f6fb7; }
@media (prefers-color-scheme: dark) { :root { --page: #15181b; --ink: #e4e6e8; --soft: #98a0a8; --line: #2e3338;
  --card: #1c2024; --good: #4cc38a; --warn: #e2a33d; --bad: #ff7b72; --mark: #70a9e8; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 2.5rem 1.5rem 4rem; }
.kind { color: var(--soft); font-size: .85rem; letter-spacing: .04em; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: .1rem 0 .9rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 0 0 .35rem; }
section { border-top: 1px solid var(--line); padding: 1.6rem 0 1.2rem; }
.lead { color: var(--soft); max-width: 46rem; margin: 0 0 1rem; }
.verdict { border-left: 4px solid var(--tone); padding: .35rem 0 .35rem .9rem; font-weight: 600; }
.good { --tone: var(--good); } .warn { --tone: var(--warn); } .bad { --tone: var(--bad); }
.key { display: flex; flex-wrap: wrap; gap: .8rem 2.6rem; margin: 1.5rem 0 1.8rem; padding: 0; }
.key div { display: flex; flex-direction: column-reverse; justify-content: flex-end; }
.key dt { color: var(--soft); font-size: .8rem; white-space: nowrap; }
.key dd { margin: 0; font-size: 1.2rem; font-variant-numeric: tabular-nums; white-space: nowrap; }
.row { display: grid; grid-template-columns: repeat(auto-fit, minmax(270px, 1fr)); gap: 1.2rem; align-items: start; }
.one { max-width: 760px; }
.main { display: grid; grid-template-columns: minmax(0, 2.2fr) minmax(220px, 1fr); gap: 1.6rem; align-items: start; }
.main th { width: 8rem; }
@media (max-width: 760px) { .main { grid-template-columns: 1fr; } }
.chart { margin-bottom: 1.2rem; }
figure { margin: 0 0 .6rem; }
.frame { position: relative; background: #000; border-radius: 4px; overflow: hidden; }
.frame img { display: block; width: 100%; height: auto; }
.frame.wide img { height: 240px; }
.length { position: absolute; left: 4%; bottom: 4%; border-bottom: 3px solid #fff; color: #fff; font-size: .75rem;
  padding-bottom: 1px; text-shadow: 0 0 3px #000, 0 0 3px #000; white-space: nowrap; }
figcaption { color: var(--soft); font-size: .84rem; padding-top: .35rem; }
.bar { display: flex; align-items: center; gap: .5rem; font-size: .76rem; color: var(--soft); margin-top: .4rem;
  font-variant-numeric: tabular-nums; }
.bar i { flex: 1; height: 7px; border-radius: 4px; background: linear-gradient(90deg, #000, #fff);
  border: 1px solid var(--line); }
.bar.colours i { background: linear-gradient(90deg, #053061, #4393c3, #f7f7f7, #d6604d, #67001f); }
.chart { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: .6rem; max-width: 520px; }
.chart svg { width: 100%; height: auto; display: block; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; margin: .8rem 0 1rem; }
th { text-align: left; font-weight: 500; color: var(--soft); padding: .3rem 1.2rem .3rem 0; width: 13rem; }
td, th { border-bottom: 1px solid var(--line); vertical-align: top; }
td { padding: .3rem 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.note { border-left: 3px solid var(--warn); padding: .2rem 0 .2rem .8rem; margin: .4rem 0; max-width: 50rem; }
.note + .row { margin-top: 1rem; }
.time { display: flex; height: 1.5rem; border-radius: 4px; overflow: hidden; margin: .4rem 0; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; font-size: .84rem; margin: 0 0 1rem; }
.legend b { display: inline-block; width: .7rem; height: .7rem; border-radius: 2px; margin-right: .4rem; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: .9rem; overflow-x: auto;
  font: .82rem/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
@media print { section { break-inside: avoid; } }
"""
PARTS = ["#8a94a0", "#5b8fd0", "#46a97c", "#d9a13b", "#3767b0", "#a56fb5"]


def text(value: Any) -> str:
    """Any value as text that is safe in a page."""
    return html.escape(str(value))


def document(*, title: str, verdict: str, tone: str, figures: list[tuple[str, str]], body: str) -> str:
    """The page. tone: good, warn or bad. figures: (value, what it is), told first."""
    key = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for value, name in figures)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}: reconstruction</title><style>{STYLE}</style></head><body><main>"
        f'<div class="kind">Reconstruction of</div><h1>{text(title)}</h1>'
        f'<div class="verdict {tone}">{text(verdict[:1].upper() + verdict[1:])}</div>'
        f'<dl class="key">{key}</dl>{body}</main></body></html>\n'
    )


def section(title: str, body: str, lead: str = "") -> str:
    told = f'<p class="lead">{text(lead)}</p>' if lead else ""
    return f"<section><h2>{text(title)}</h2>{told}{body}</section>"


def facts(table: list[tuple[str, str]]) -> str:
    """A table of names and what they are."""
    lines = "".join(f"<tr><th>{text(name)}</th><td>{text(told)}</td></tr>" for name, told in table)
    return f"<table>{lines}</table>" if table else ""


def figure(
    png: bytes,
    caption: str,
    *,
    bar: tuple[float, float, str] | None = None,
    extent: tuple[float, str] | None = None,
    colours: bool = False,
    wide: bool = False,
) -> str:
    """A picture. bar: (low, high, unit) of its values. extent: (width, unit), for a bar of length.

    colours: blue to red instead of black to white. wide: stretched to a set height, for sinograms.
    """
    data = base64.b64encode(png).decode()
    over, scale = "", ""
    if extent is not None:
        length = nice(extent[0] / 4)
        told = f"{length:g} {text(extent[1])}"
        over = f'<span class="length" style="width:{100 * length / extent[0]:.2f}%">{told}</span>'
    if bar is not None:
        low, high, unit = bar
        kind = "bar colours" if colours else "bar"
        scale = f'<div class="{kind}"><span>{low:.3g}</span><i></i><span>{high:.3g} {text(unit)}</span></div>'
    return (
        f'<figure><div class="frame{" wide" if wide else ""}"><img alt="{text(caption)}" '
        f'src="data:image/png;base64,{data}">{over}</div>{scale}<figcaption>{text(caption)}</figcaption></figure>'
    )


def timings(seconds: dict[str, float]) -> str:
    """A bar of the parts of the work and their seconds."""
    whole = sum(seconds.values()) or 1.0
    colours = dict(zip(seconds, PARTS, strict=False))
    bars = "".join(f'<i style="width:{100 * s / whole:.2f}%;background:{colours[n]}"></i>' for n, s in seconds.items())
    names = "".join(f'<span><b style="background:{colours[n]}"></b>{n} {s:.1f} s</span>' for n, s in seconds.items())
    return f'<div class="time">{bars}</div><div class="legend">{names}<span>in all {whole:.1f} s</span></div>'
