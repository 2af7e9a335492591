"""Networks that come with invreg, each beside a card (.md) that says what it was trained on and how well it does."""

from pathlib import Path

from invreg.io import InputError

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Those there are, such as lpn-natural-0.05."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def path(name_or_path: str | Path) -> Path:
    """The file of a network that comes with invreg, by its name, or a path as it is. Raises InputError for neither."""
    given = Path(name_or_path)
    shipped = FOLDER / f"{name_or_path}.safetensors"
    if given.exists() or not (shipped.exists() or given.parent == Path()):
        return given  # reading says what is wrong with a path
    if shipped.exists():
        return shipped
    raise InputError(f"{name_or_path}: neither a file nor one of the networks of invreg, {', '.join(names())}")
