"""The page and the pictures of a benchmark document: `sanderling bench --html F --png DIR`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from string import Template

from sanderling.cli.bench_charts import Chart, Panel, page_colour, png, svg
from sanderling.cli.bench_document import Document, Row, describe, thread_text
from sanderling.cli.bench_drawings import charts
from sanderling.cli.bench_figures import (
    best,
    contestants,
    display_name,
    identity,
    mean,
    speed_ups,
    unique,
)
from sanderling.cli.bench_text import marked, three
from sanderling.cli.console import size
from sanderling.compiler.files import replacing

_NOTHING = "–"
_MEAN = "geometric mean"


def write(path: Path, document: Document) -> None:
    """Write one HTML file with everything inside. Raises OSError."""
    content = page(document).encode()
    with replacing(path) as file:
        file.write(content)


def write_pictures(folder: Path, document: Document) -> list[Path]:
    """Write every chart as `<name>.png` into `folder`, made if need be. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for chart in charts(document):
        paths.append(folder / f"{chart.name}.png")
        content = png(chart, f"{document.machine_text}, {document.date}")
        with replacing(paths[-1]) as file:
            file.write(content)
    return paths


def page(document: Document) -> str:
    """The whole page, the same for the same document."""
    template = Template(files("sanderling.cli").joinpath("bench_report.html").read_text(encoding="utf-8"))
    models = unique(row.model for row in document.rows)
    settings = ", ".join(f"{name} {value}" for name, value in document.settings.items())
    return template.substitute(
        title=escape(f"Benchmark: {models[0]}" if len(models) == 1 else f"Benchmark: {len(models)} models"),
        source=escape(
            " ".join(f"{part}." for part in (document.machine_text, document.date, document.note) if part)
        ),
        verdict=_verdict(document),
        facts=_facts(document),
        marked=_marked(document.rows),
        charts="\n".join(_sections(charts(document))),
        speed_ups=_speed_ups(document.rows),
        tables="\n".join(_rows(document, threads) for threads in sorted({r.threads for r in document.rows})),
        settings=escape(f"Settings: {settings}." if settings else ""),
        command=escape(document.command),
    )


def _verdict(document: Document) -> str:
    """Wins and losses in one sentence."""
    pairs = best(speed_ups(document.rows))
    if not pairs:
        return "Nothing to compare with: no other runtime gave right answers."
    lost = sorted((pair for pair in pairs if pair.ratio < 1), key=lambda pair: pair.ratio)
    won = sum(pair.ratio > 1 for pair in pairs)
    text = f"Sanderling is faster than the fastest peer in {won} of {len(pairs)} rows, slower in {len(lost)}"
    if lost:
        own, peer, ratio = lost[0].own, lost[0].peer, lost[0].ratio
        text += f"; at worst {ratio:.2f} × {display_name(peer.runtime)}'s speed, with {_which(own)}"
    return escape(f"{text}.")


def _which(own: Row) -> str:
    return f"{own.model}, {own.target}, {thread_text(own.threads)}"


def _facts(document: Document) -> str:
    pairs = speed_ups(document.rows)
    facts = [
        (f"{ratio:.2f} ×", f"the fastest peer's speed, {target}: geometric mean of all models and threads")
        for target in unique(pair.own.target for pair in pairs)
        if (ratio := mean(best(pair for pair in pairs if pair.own.target == target)))
    ]
    errors = [row.error for row in document.rows if row.ours and row.error is not None]
    if errors:
        facts.append((f"{max(errors):.0e}", "our largest error, relative to the largest output"))
    return "".join(
        f'<div class="fact"><b>{escape(value)}</b><span class="soft">{escape(what)}</span></div>'
        for value, what in facts
    )


def _marked(rows: Sequence[Row]) -> str:
    """What gave no right answer, with the reason."""
    lines = [
        f'<li><span class="bad">{row.outcome}</span>: {escape(f"{describe(row.key)}: {_reason(row)}")}</li>'
        for row in rows
        if not row.right
    ]
    if not lines:
        return "<p>Every runtime gave right answers for every model.</p>"
    return f'<h2>Not right</h2><div class="marked"><ul>{"".join(lines)}</ul></div>'


def _reason(row: Row) -> str:
    if row.note is not None:
        return row.note
    return "no reason given" if row.error is None else f"error {row.error:.1e} of the largest output"


def _sections(drawn: Sequence[Chart]) -> Iterator[str]:
    """A section a chart; charts of one kind with a single panel each, as of a single model, share one."""
    for caption, group in groupby(drawn, key=lambda chart: chart.caption):
        kin = list(group)
        if len(kin) > 1 and all(len(chart.panels) == 1 for chart in kin):
            titles = [chart.title.partition(", ") for chart in kin]
            figures = [
                _figure(c, c.panels[0], f"{c.panels[0].title}, {title[2]}")
                for c, title in zip(kin, titles, strict=True)
            ]
            yield _section(titles[0][0], caption, kin[0], figures)
            continue
        for chart in kin:
            figures = [_figure(chart, panel, panel.title) for panel in chart.panels]
            yield _section(chart.title, caption if chart is kin[0] else "", chart, figures)


def _section(title: str, caption: str, chart: Chart, figures: Sequence[str]) -> str:
    key = "".join(
        f'<span class="key"><i style="background: {page_colour(colour)}; opacity: {opacity}"></i>'
        f"{escape(label)}</span>"
        for label, colour, opacity in chart.key
    )
    about = (f'<p class="soft">{escape(caption)}</p>' if caption else "") + (f"<p>{key}</p>" if key else "")
    return f'<section><h2>{escape(title)}</h2>{about}<div class="panels">{"".join(figures)}</div></section>'


def _figure(chart: Chart, panel: Panel, title: str) -> str:
    notes = "".join(f"<li>{escape(note)}</li>" for note in panel.notes)
    below = f"<figcaption><ul>{notes}</ul></figcaption>" if notes else ""
    return f"<figure><h3>{escape(title)}</h3>{svg(chart, panel)}{below}</figure>"


def _speed_ups(rows: Sequence[Row]) -> str:
    """Ratios as a table: a line a row of ours, a column a peer."""
    pairs = speed_ups(rows)
    if not pairs:
        return ""
    peers = unique(pair.peer.runtime for pair in pairs)
    fastest = {pair.own.key: pair for pair in best(pairs)}
    ratios = {(pair.own.key, pair.peer.runtime): pair.ratio for pair in pairs}
    lines = [
        [
            _which(own),
            *(marked(ratios[own.key, peer]) if (own.key, peer) in ratios else _NOTHING for peer in peers),
            f"{marked(fastest[own.key].ratio)} ({display_name(fastest[own.key].peer.runtime)})",
        ]
        for own in {pair.own.key: pair.own for pair in pairs}.values()
    ]
    for target, threads in dict.fromkeys((pair.own.target, pair.own.threads) for pair in pairs):
        group = [pair for pair in pairs if (pair.own.target, pair.own.threads) == (target, threads)]
        means = [mean(pair for pair in group if pair.peer.runtime == peer) for peer in peers]
        cells = [marked(ratio) if ratio else _NOTHING for ratio in (*means, mean(best(group)))]
        lines.append([f"{_MEAN}, {target}, {thread_text(threads)}", *cells])
    header = ["peer's median ÷ ours", *map(display_name, peers), "fastest peer"]
    body = "".join(map(_line, lines))
    return f"<h2>Speed-up</h2>{_table(header, body)}"


def _line(cells: Sequence[str]) -> str:
    kind = ' class="mean"' if cells[0].startswith(_MEAN) else ""
    return f"<tr{kind}>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"


def _rows(document: Document, threads: int) -> str:
    rows = [row for row in document.rows if row.threads == threads]
    order = list(contestants(rows))
    models = unique(row.model for row in rows)
    rows.sort(key=lambda row: (models.index(row.model), order.index(identity(row))))
    header = ["model", "runtime", "version", "device", "target", "precision", "p50", "min", "p90", "p99"]
    header += [
        "mean",
        "runs",
        "runs/s",
        "import",
        "load",
        "first",
        "memory",
        "model size",
        "error",
        "outcome",
    ]
    caption = "Times in ms, memory above that of Python with numpy, errors relative to the largest output."
    body = "".join(map(_row, rows))
    table = _table(header, body, "figures")
    return f'<h2>All figures, {thread_text(threads)}</h2><p class="soft">{caption}</p>{table}'


def _row(row: Row) -> str:
    texts = (
        row.model,
        display_name(row.runtime),
        row.version or _NOTHING,
        row.device,
        row.target,
        row.precision,
    )
    if row.latency:
        times = (
            row.latency.p50_ms,
            row.latency.min_ms,
            row.latency.p90_ms,
            row.latency.p99_ms,
            row.latency.mean_ms,
        )
        numbers = [*map(three, times), f"{row.latency.runs:,}", three(row.latency.throughput)]
    else:
        numbers = [_NOTHING] * 7
    numbers += [
        _NOTHING if value is None else three(value) for value in (row.import_ms, row.load_ms, row.first_ms)
    ]
    numbers += [_NOTHING if value is None else size(value) for value in (row.memory_bytes, row.model_bytes)]
    numbers.append(
        "reference"
        if row.error is None and row.right
        else _NOTHING
        if row.error is None
        else f"{row.error:.1e}"
    )
    outcome = "right" if row.right else f'<span class="bad">{row.outcome}</span>: {escape(_reason(row))}'
    cells = "".join(f'<td class="text">{escape(text)}</td>' for text in texts)
    cells += "".join(f"<td>{escape(number)}</td>" for number in numbers)
    kind = "ours" if row.ours else "peer"
    return f'<tr class="{kind}">{cells}<td class="note">{outcome}</td></tr>'


def _table(header: Iterable[str], body: str, kind: str = "ratios") -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    whole = f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="scroll">{whole}</div>'
