"""``headrace cache``: what is in the cache, why it decides as it does, and how it is kept in order."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.formats import Format, IdColumn, PromptColumn
from headrace.errors import OutputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headrace.cache.store import Store
    from headrace.settings import CacheSettings

_SHOWN = 5

app = typer.Typer(name="cache", help="Look into the cache of pictures, and keep it in order.", no_args_is_help=True, rich_markup_mode=None)

Config = Annotated[Path | None, typer.Option("-c", "--config", help="Configuration.  [default: headrace.toml, if there]")]
Folder = Annotated[Path | None, typer.Option("--dir", help="The cache's folder.  [default: the configuration's]")]


@app.command()
def stats(config: Config = None, folder: Folder = None) -> None:
    """Show what the cache holds, and what it saved."""
    from headrace.cache.inventory import statistics  # noqa: PLC0415 - see main.py
    from headrace.cli.tables import statistics_table  # noqa: PLC0415

    with _store(config, folder) as (_, store):
        statistics_table(store.folder, statistics(store))


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="What to look for.")],
    count: Annotated[int, typer.Option(min=1, max=1000, help="Pictures to show.")] = 10,
    config: Config = None,
    folder: Folder = None,
) -> None:
    """Show the pictures whose prompts are nearest to a text, with their cosines."""
    from headrace.cli.tables import neighbours_table  # noqa: PLC0415

    with _store(config, folder) as (settings, store):
        from headrace.cache.encoder import load  # noqa: PLC0415
        from headrace.cache.search import Search  # noqa: PLC0415
        from headrace.caching import DAY_S  # noqa: PLC0415

        found = Search(store.folder, load(settings.encoder), -1.0, settings.ttl_days * DAY_S).everywhere(text, count)
        neighbours_table(store.folder, [(near.cosine, entry) for near in found if (entry := store.get_number(near.id)) is not None])


@app.command()
def why(
    asked: Annotated[str, typer.Argument(metavar="A", help="The prompt that asks.")],
    known: Annotated[str, typer.Argument(metavar="B", help="The prompt that was answered.")],
    config: Config = None,
) -> None:
    """Show step by step whether A would get the picture of B, all other parameters being the same."""
    from headrace.cache.encoder import load  # noqa: PLC0415
    from headrace.cache.words import read  # noqa: PLC0415
    from headrace.caching import BY_MEANING, judge_of  # noqa: PLC0415
    from headrace.cli.tables import chain_table  # noqa: PLC0415

    settings = _settings(config)
    verdict = None
    if settings.policy in BY_MEANING:
        judge, encoder = judge_of(settings), load(settings.encoder)
        judge.check(encoder.fingerprint)
        first, second = encoder.encode([asked, known])
        verdict = judge.judge(read(asked), read(known), float(first @ second))
    chain_table(asked, known, settings.policy, verdict)


@app.command()
def audit(
    source: Annotated[str, typer.Argument(metavar="FILE", help="Prompts: text or JSONL lines, or a table; - is stdin.")],
    form: Format = "auto",
    prompt_column: PromptColumn = None,
    id_column: IdColumn = None,
    show: Annotated[int, typer.Option(min=0, help="Hits and near misses to list, those nearest to the border.")] = 20,
    config: Config = None,
) -> None:
    """Tell how many prompts of a file would share a picture, without paying for any."""
    from headrace.cli.audit import audit_file  # noqa: PLC0415
    from headrace.columns import Columns  # noqa: PLC0415
    from headrace.settings import Settings  # noqa: PLC0415
    from headrace.sources import Source  # noqa: PLC0415

    audit_file(Settings.load(config), Source(source, form, Columns(prompt=prompt_column, id=id_column)), show)


@app.command()
def prune(config: Config = None, folder: Folder = None) -> None:
    """Remove what is too old, too much or broken, and files that belong to nothing."""
    from headrace.cache.inventory import mend, statistics  # noqa: PLC0415

    with _store(config, folder) as (settings, store):
        before = statistics(store)
        while store.evict(settings.max_entries, settings.max_bytes):
            pass
        broken, loose = mend(store)
        after = statistics(store)
    typer.echo(
        f"removed {before.entries - after.entries:,} entries ({broken:,} of them broken), {loose:,} stray files, "
        f"{before.bytes - after.bytes:,} bytes; {after.entries:,} entries stay"
    )


@app.command()
def verify(config: Config = None, folder: Folder = None) -> None:
    """Check the store against its files; exit status 1 where they disagree."""
    from headrace.cache.inventory import problems  # noqa: PLC0415

    found = 0
    with _store(config, folder) as (_, store):
        for found, problem in enumerate(problems(store), 1):  # noqa: B007 - the count is wanted afterwards
            typer.echo(problem)
    if found:
        typer.echo(f"headrace: {found} problems; 'headrace cache prune' removes what is broken", err=True)
        raise typer.Exit(1)
    typer.echo("the store and its files agree")


@app.command("export")
def export_entries(
    target: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder.")],
    config: Config = None,
    folder: Folder = None,
) -> None:
    """Write everything into a folder of plain files: one JSON line an entry, and the pictures."""
    from headrace.cache.inventory import export  # noqa: PLC0415

    with _store(config, folder) as (_, store):
        count = export(store, target)
    typer.echo(f"{count:,} entries are in {target}")


@app.command("import")
def import_entries(
    source: Annotated[Path, typer.Argument(metavar="FOLDER", help="What 'headrace cache export' wrote.")],
    config: Config = None,
    folder: Folder = None,
) -> None:
    """Take in what was exported; a line that cannot be used is named, and the others are taken."""
    from headrace.cache.inventory import MANIFEST, TAKEN, THERE, import_from  # noqa: PLC0415

    if not (source / MANIFEST).is_file():
        raise UsageError(f"there is no {MANIFEST} in {source}; name a folder that 'headrace cache export' wrote")
    told: Counter[str] = Counter()
    with _store(config, folder, new=True) as (_, store):
        for outcome in import_from(store, source):
            told[outcome if outcome in (TAKEN, THERE) else "refused"] += 1
            if outcome not in (TAKEN, THERE):
                typer.echo(f"headrace: {outcome}", err=True)
    typer.echo(f"{told[TAKEN]:,} entries taken, {told[THERE]:,} there already, {told['refused']:,} refused")
    raise typer.Exit(1 if told["refused"] else 0)


@app.command()
def forget(
    words: Annotated[str, typer.Argument(metavar="ID|PROMPT", help="The id or the words of a prompt that was paid for, or #NUMBER.")],
    config: Config = None,
    folder: Folder = None,
) -> None:
    """Forget answers, so that they are made anew."""
    from headrace.cache.inventory import matching  # noqa: PLC0415
    from headrace.text import clean  # noqa: PLC0415

    with _store(config, folder) as (_, store):
        entries = matching(store, words)
        if len({entry.request.prompt for entry in entries}) > 1:
            # The id of a line without one is its number, which every file has.
            several = ", ".join(f"#{entry.number} {clean(entry.request.prompt, 40)!r}" for entry in entries[:_SHOWN])
            raise UsageError(f"{len(entries)} answers go by {words!r}: {several}; say which by its #NUMBER")
        for entry in entries:
            store.drop(entry.number)
            typer.echo(f"forgot #{entry.number}: {clean(entry.request.prompt, 100)}")
        while store.sweep():
            pass
    if not entries:
        raise UsageError(f"the cache has no prompt with the id or the words {words!r}; 'headrace cache search' finds what is like it")


def _settings(config: Path | None) -> CacheSettings:
    from headrace.settings import Settings  # noqa: PLC0415

    return Settings.load(config).cache


@contextmanager
def _store(config: Path | None, folder: Path | None, *, new: bool = False) -> Iterator[tuple[CacheSettings, Store]]:
    import sqlite3  # noqa: PLC0415

    from headrace.cache.database import FILE  # noqa: PLC0415
    from headrace.cache.store import Store  # noqa: PLC0415
    from headrace.caching import DAY_S  # noqa: PLC0415

    settings = _settings(config)
    path = folder or Path(settings.dir)
    with suppress(RuntimeError):  # no such home: then there is no such folder either
        path = path.expanduser()
    if not new and not (path / FILE).is_file():
        raise UsageError(f"there is no cache in {path}; name its folder with --dir")
    store = Store(path, settings.ttl_days * DAY_S)
    try:
        yield settings, store
    except sqlite3.Error as error:
        raise OutputError(f"the cache in {path} cannot be read or written: {error}") from None
    finally:
        store.close()
