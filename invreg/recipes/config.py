"""The settings of a job: their names, ranges and defaults, as a TOML file and from the command line."""

import difflib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

# the one file that needs pydantic; the command line imports it only for verbs that read settings
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator  # noqa: TID253


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, populate_by_name=True)


C = TypeVar("C", bound=Section)

# a `description` completes the sentence "<key> takes ..."
Auto = Literal["auto"]
Filter = Literal["ramp", "shepp-logan", "cosine", "hann"]


class Data(Section):
    file: str | None = Field(None, description="the measurement, a path relative to this file")
    rows: str | None = Field(
        None, pattern=r"^\d*:\d*$", description='a range of rows "a:b", counted from 0, b not included'
    )
    views: int | None = Field(None, ge=1, description="how many of the projections to use, evenly chosen")
    angles: str | None = Field(None, description="a text file of angles, one a projection")
    angle_range: str | None = Field(
        None,
        pattern=r"^-?\d+(\.\d+)?:-?\d+(\.\d+)?$",
        description='degrees "first:end" of evenly spread angles, the end being the view after the last',
    )
    angle_unit: Literal["degrees", "radians"] | None = Field(None, description="degrees or radians")
    kind: Literal["counts", "transmission", "line integrals"] | None = Field(
        None, description="counts, transmission or line integrals"
    )


class Correct(Section):
    floor: float = Field(1e-3, gt=0, lt=1, description="the least transmission before the logarithm, 0 to 1")
    centre: Auto | float = Field("auto", description='the bin of the rotation axis, or "auto" to find it')
    bad_pixels: bool = Field(True, description="true or false: replace dead and hot pixels")
    rings: bool = Field(False, description="true or false: remove stripes of the sinogram, which make rings")
    truncated: bool = Field(False, description="true or false: go on where the detector is too narrow")
    bin: int = Field(1, ge=1, description="how many detector pixels to average into one")


class Image(Section):
    size: int | None = Field(None, ge=8, description="pixels on a side, 8 or more; default the detector bins")


class Prior(Section):
    weight: Auto | Annotated[float, Field(gt=0)] = Field(
        "auto", alias="lambda", description='the weight of the prior, a number > 0, or "auto" to choose it'
    )
    eta: Auto | Annotated[float, Field(gt=0)] = Field(
        "auto", description='the step between pixels that counts as an edge, > 0 in 1/length, or "auto"'
    )
    p: float = Field(0.5, ge=0, le=1, description="a number from 0 (edges free) to 1 (plain total variation)")
    weights: str | None = Field(
        None,
        description="a network of invreg train: of svtv-weights for the recipe svtv, of lpn for lpn; a file or a name",
    )
    range: Auto | Annotated[list[float], Field(min_length=2, max_length=2)] = Field(
        "auto", description='the values [low, high] that are 0 and 1 to the network of lpn, low < high, or "auto"'
    )

    @field_validator("range")
    @classmethod
    def _ordered(cls, pair: Auto | list[float]) -> Auto | list[float]:
        if pair != "auto" and not pair[0] < pair[1]:
            raise ValueError(f"takes [low, high] with low < high; got {pair}")
        return pair


class Misfit(Section):
    kind: Literal["least squares", "sobolev"] = Field(
        "least squares",
        description="least squares, for white noise, or sobolev, for noise correlated along the detector",
    )
    s: Auto | Annotated[float, Field(lt=1.5)] = Field(
        "auto", description='the order of the Sobolev misfit, a number < 1.5, or "auto" to find it in the noise'
    )


class Solver(Section):
    max_iter: int | None = Field(None, ge=1, description="the most iterations of a solve, default the recipe's")
    tol: float | None = Field(None, gt=0, description="the gap relative to the objective to stop at, > 0")


class FBP(Section):
    filter: Filter = Field("ramp", description="ramp, shepp-logan, cosine or hann")


class Compute(Section):
    device: str = Field("cpu", pattern=r"^(cpu|cuda(:\d+)?)$", description="cpu, cuda or cuda:0")
    memory: float | None = Field(None, gt=0, description="GiB to work in; default half of what is free")
    batch: int | None = Field(None, ge=1, description="rows solved together; default what fits in the memory")


class Config(Section):
    """A job with every default filled in; `load` makes it, `dump` writes it."""

    version: Literal[1] = Field(1, description="1, the version of this layout")
    recipe: str = Field("tv", description="the name of a recipe")
    data: Data = Data()
    correct: Correct = Correct()
    image: Image = Image()
    prior: Prior = Prior()
    misfit: Misfit = Misfit()
    solver: Solver = Solver()
    fbp: FBP = FBP()
    compute: Compute = Compute()

    @field_validator("misfit")
    @classmethod
    def _goes_with(cls, misfit: Misfit, info: ValidationInfo) -> Misfit:
        from invreg.recipes import RECIPES

        recipe, able = info.data.get("recipe"), [name for name, r in RECIPES.items() if r.misfits]
        if misfit.kind == "sobolev" and recipe is not None and recipe not in able:
            raise ValueError(f"sobolev goes with the recipes {' and '.join(able)}, not with {recipe}; use --recipe tv")
        if misfit.kind != "sobolev" and misfit.s != "auto":
            raise ValueError(f"{misfit.kind} has no order s = {misfit.s:g}; add --misfit sobolev or leave out --s")
        return misfit

    @field_validator("recipe")
    @classmethod
    def _known(cls, name: str) -> str:
        from invreg.recipes import RECIPES

        if name not in RECIPES:
            raise ValueError(f"takes {', '.join(RECIPES)}{_near(name, list(RECIPES))}; got {name!r}")
        return name


def flat(config: Section) -> dict[str, Any]:
    """The settings by dotted key."""
    found: dict[str, Any] = {}
    for name, value in config.model_dump(by_alias=True).items():
        found |= {f"{name}.{key}": v for key, v in value.items()} if isinstance(value, dict) else {name: value}
    return found


def _near(word: str, valid: list[str]) -> str:
    close = difflib.get_close_matches(word, valid, 1, 0.5)
    return f" (did you mean {close[0]}?)" if close else ""


def keys(model: type[Section] = Config) -> dict[str, tuple[Any, str]]:
    """Every dotted key with its default and what it takes."""
    out: dict[str, tuple[Any, str]] = {}
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, Section):
            for key, inner in kind.model_fields.items():
                out[f"{name}.{inner.alias or key}"] = inner.default, inner.description or ""
        else:
            out[name] = field.default, field.description or ""
    return out


def load(path: Path | None, overrides: dict[str, tuple[str, Any]]) -> Config:
    """The settings of a TOML file (or the defaults), with overrides {dotted key: (where from, value)} on top.

    Raises InputError that lists every error, each with its file or flag, key, what it takes and what it got.
    """
    table: dict[str, Any] = {}
    source = "the settings"
    if path is not None:
        source = str(path)
        table = read_toml(path, "recipe", "give a path to one, or a name", "invreg recipes lists what it may hold")
    config = overridden(Config, table, source, overrides)
    return config if path is None else _relative_to(path.parent, config, set(overrides))


def read_toml(path: Path, what: str, missing: str, hint: str) -> dict[str, Any]:
    """The tables of a TOML file; `what` it is, and what helps where it is `missing` or no TOML (`hint`)."""
    from invreg.io import InputError

    try:
        return tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such {what} file; {missing}") from None
    except OSError as e:
        raise InputError(f"{path}: the {what} file cannot be read ({e.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise InputError(f"{path}: not a {what} in TOML ({e}); {hint}") from None


def overridden(model: type[C], table: dict[str, Any], source: str, overrides: dict[str, tuple[str, Any]]) -> C:
    """The settings of a table from `source` with overrides {dotted key: (where from, value)} on top.

    Raises InputError that lists every error, each with its file or flag, key, what it takes and what it got.
    """
    from invreg.io import InputError

    origin = {}
    for key, (where, value) in overrides.items():
        section, _, last = key.rpartition(".")
        inner = table.setdefault(section, {}) if section else table
        if isinstance(inner, dict):
            inner[last] = value
            origin[key] = where
    try:
        return model.model_validate(table)
    except ValidationError as e:
        problems = list(dict.fromkeys(_say(error, source, origin, keys(model)) for error in e.errors()))
    if len(problems) == 1:
        raise InputError(problems[0])
    raise InputError(f"{len(problems)} settings are wrong:\n" + "\n".join(f"  {p}" for p in problems))


def _relative_to(folder: Path, config: Config, told: set[str]) -> Config:
    """Paths of the file count from its folder, those of the command line from the working folder."""
    from invreg.weights import names

    paths = {
        key: str(folder / name)
        for key in ("file", "angles")
        if (name := getattr(config.data, key)) is not None and f"data.{key}" not in told
    }
    update: dict[str, Section] = {"data": config.data.model_copy(update=paths)}
    if config.prior.weights not in (None, *names()) and "prior.weights" not in told:
        update["prior"] = config.prior.model_copy(update={"weights": str(folder / str(config.prior.weights))})
    return config.model_copy(update=update)


def _say(error: Any, source: str, origin: dict[str, str], valid: dict[str, tuple[Any, str]]) -> str:
    """One error of pydantic in our words; all branches of a union give the same sentence."""
    at = [str(part) for part in error["loc"]]
    key = next((k for k in (".".join(at[:2]), at[0]) if k in valid), ".".join(at[:2]))
    where = origin.get(key, source)
    if error["type"] == "extra_forbidden":
        in_section = [k.removeprefix(f"{at[0]}.") for k in valid if k.startswith(f"{at[0]}.")]
        sections = list(dict.fromkeys(k.partition(".")[0] for k in valid))
        known = in_section if len(at) > 1 else sections
        return f"{where}: there is no setting {key}{_near(at[-1], known)}; there are {', '.join(known)}"
    if error["type"] == "value_error":
        return f"{where}: {key} {error['ctx']['error']}"
    if error["type"] == "missing":
        return f"{where}: {key} is missing; it takes {valid[key][1]}"
    if key not in valid:
        return f"{where}: [{key}] takes a section of settings; got {error['input']!r}"
    return f"{where}: {key} takes {valid[key][1]}; got {error['input']!r}"


def value(text: str) -> Any:
    """A value as it would stand in the file; what is no TOML is taken as a string."""
    try:
        return tomllib.loads(f"x = {text}")["x"]
    except tomllib.TOMLDecodeError:
        return text


def dump(config: Section, comments: dict[str, str], head: str) -> str:
    """The settings as TOML, all but those that are None, with `comments` {dotted key: text} at line ends."""
    lines = [f"# {line}" for line in head.splitlines()]
    data = config.model_dump(by_alias=True, exclude_none=True)
    flat = {"": {k: v for k, v in data.items() if not isinstance(v, dict)}}
    for section, table in (flat | {k: v for k, v in data.items() if isinstance(v, dict)}).items():
        if section and table:
            lines += ["", f"[{section}]"]
        for key, item in table.items():
            # JSON writes strings, numbers and booleans as TOML does; repr keeps every bit of a float
            note = comments.get(f"{section}.{key}" if section else key)
            lines.append(f"{key} = {json.dumps(item, ensure_ascii=False)}" + (f"  # {note}" if note else ""))
    return "\n".join(lines) + "\n"
