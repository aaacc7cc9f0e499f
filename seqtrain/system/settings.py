"""Declare each setting once, in the class that uses it.

    class GRUCell(MemoryCell):
        reset: Literal["after", "before"] = "after"
        \"\"\"Apply the reset gate after the recurrent product (PyTorch, cuDNN) or before it (Cho et al. 2014).\"\"\"

The annotation has the type and the bounds (`Annotated[int, Field(ge=1)]`), the value is the default, and the string
below is the description. An `Affects` in the annotation says what the setting affects; without one it affects the
weights. A `Null` says what null stands for. Validation, listings, the page of settings, `eval`, `--resume` and
`compare` all read this declaration.

Sections of a config are pydantic models (`Section`). Built-in cells, tasks and users' cells are classes with a
constructor: `section_of` makes the section of such a class from the signature of its constructor.
"""

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from itertools import pairwise
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Literal,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    JsonValue,
    Tag,
    TypeAdapter,
    create_model,
)
from pydantic.fields import FieldInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from seqtrain.system.ignoring import warnings_ignored


class Affects(StrEnum):
    """What a change of a setting changes."""

    SIZE = "size"
    """The number of weights."""
    WEIGHTS = "weights"
    """The trained weights: `eval` and `--resume` refuse another value."""
    DATA = "data"
    """The sequences in training and evaluation: `eval` accepts another value, to test weights on other sequences."""
    CONTENT = "content"
    """The data, which are the content of a file wherever it is: `eval` accepts another file, `--resume` and `compare`
    accept the same content at another place."""
    EVALUATION = "evaluation"
    """The evaluation of trained weights and its data: `eval` accepts another value."""
    BUDGET = "budget"
    """The length of a training run: `--resume` accepts another value."""
    SPEED = "speed"
    """The speed of the same computation: `eval` and `--resume` accept another value."""
    MACHINE = "machine"
    """Only the needs of one machine: `eval` and `--resume` accept another value, and runs that differ are compared."""
    SAVING = "saving"
    """Only when training saves: `--resume` accepts another value, and runs that differ in it are compared."""
    NOTHING = "nothing"
    """Only what training writes: runs that differ in it are compared."""


NO_RESULT = (Affects.MACHINE, Affects.SAVING, Affects.NOTHING)
"""What runs may differ in and still be runs of one row of a comparison."""

Marker = TypeVar("Marker")


@dataclass(frozen=True, eq=False)  # pydantic hashes it, and a value may be a list
class Null:
    """What null stands for in a setting. The config of a run holds that value, and `{null}` in the description is it.

    value : the value, or what computes it from the section.
    when : whether it applies to a section; if not, the setting stays null.
    text : the value in the description.
    """

    value: Any
    when: Callable[[Any], bool] = lambda _: True
    text: str = ""


def nulls_of(section: "Section") -> dict[str, Any]:
    """The values that null stands for, by setting, of the settings of a section that are null."""
    values = {}
    for name, field in type(section).model_fields.items():
        null = marker_of(field, Null)
        if getattr(section, name) is None and null is not None and null.when(section):
            values[name] = null.value(section) if callable(null.value) else null.value
    return values


Faults = Iterator[tuple[str, str]]
"""Settings that are valid one by one but not together: the name of a setting, and a message about it."""

LARGEST, SMALLEST = 1e38, 1e-37
"""Limits of the size of a number: float32 holds it, and twice or half of it."""


def beyond_float32(number: float) -> str:
    """What is wrong with a number that float32 does not hold; empty if it does."""
    if number == 0 or SMALLEST <= abs(number) <= LARGEST:
        return ""
    limit = f"at most {LARGEST:g}" if abs(number) > LARGEST else f"at least {SMALLEST:g}"
    return f"is {number:g}; its size must be {limit}, as models compute in float32"


Fraction = Annotated[float, Field(ge=0, lt=1)]
Size = Annotated[int, Field(ge=1, le=1_000_000)]
Steps = Annotated[int, Field(ge=1, le=1_000_000_000)]
Positive = Annotated[float, Field(gt=0)]
Symbols = Annotated[int, Field(ge=2, le=10_000)]
Length = Annotated[int, Field(ge=2, le=1_000_000)]
ONE_OR_EACH = Discriminator(lambda value: "each" if isinstance(value, list) else "one")
"""Chooses between a number and a list of numbers, so that faults are reported for the given form only."""


class Section(BaseModel):
    """Base of all sections of a config: frozen, without unknown keys, and without silent conversion of types."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        protected_namespaces=(),
        defer_build=True,
    )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The schema with the descriptions that people read; a section that is chosen by its name must have one."""
        found = handler(schema)
        section = handler.resolve_ref_schema(found)
        for name in cls.model_fields:
            if text := described(cls, name):
                section["properties"][name]["description"] = text
        if "name" in cls.model_fields:
            section["required"] = list(dict.fromkeys(["name", *section.get("required", ())]))
        return found


class Named(Section):
    """A section that is selected by its name; `{name: gru}` may be written as `gru`."""

    name: str

    def options(self) -> dict[str, Any]:
        """The settings without the name, as keyword arguments of a constructor."""
        return self.model_dump(exclude={"name"})

    def faults(self) -> Faults:
        """Settings that are valid one by one but not together: the name of a setting, and a message about it."""
        yield from ()

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """A setting of the class with that name."""


class Configurable:
    """Base of classes whose settings become a section: cells and tasks."""

    given: ClassVar[Collection[str]]
    """Arguments of the constructor that the program provides; all others are settings."""

    @classmethod
    def faults(cls, settings: Any) -> Faults:  # noqa: ARG003
        """Settings that are valid one by one but not together: the name of a setting, and a message about it."""
        yield from ()


class Declared(Named):
    """The section of a class whose constructor declares the settings.

    owner : the class.
    """

    owner: ClassVar[type[Configurable]]

    def faults(self) -> Faults:
        """As the class does."""
        yield from self.owner.faults(self)


MODULE_AND_CLASS = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"
"""What the name of a user's own class looks like."""


def names_user_class(name: str | None) -> bool:
    """Whether a name is that of a user's own class, `module:Class`."""
    return name is not None and re.match(MODULE_AND_CLASS, name) is not None


class UserClass(Named):
    """A class of the user's own, a cell or a task; all other keys go to its constructor.

    owner : the class, once its code is imported and its settings are declared (see `config.plugins`).
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]

    owner: ClassVar[type[Configurable] | None] = None

    name: Annotated[str, Field(pattern=MODULE_AND_CLASS)]
    """`module:Class`; the module is searched in the current folder, beside the config, and on Python's path."""
    folder: Annotated[str | None, Affects.MACHINE] = None
    """Folder of the module; null for the result of the search, which is then written here. The folder in a checkpoint
    is ignored."""

    code: str | None = None
    """Identifies the code of the class without its comments; null for the code that is found, which is then noted here.
    With another code it is another class."""

    def options(self) -> dict[str, Any]:
        """The arguments of its constructor."""
        return self.model_dump(exclude={"name", "folder", "code"})

    def faults(self) -> Faults:
        """As the class does, if it is imported."""
        if self.owner is not None:
            yield from self.owner.faults(self)


def name_of(section: Any) -> str | None:
    """The name in a section, which is raw data or a model; None if there is no name."""
    name = section.get("name") if isinstance(section, dict) else getattr(section, "name", None)
    return name if isinstance(name, str) else None


OTHERS = "module:Class"
"""The tag of a section for names with a colon."""


@dataclass(frozen=True)
class OneOf:
    """Lets pydantic select a section by its name: `cell: Annotated[Named, OneOf(sections)]`.

    sections : by name.
    others : the section for names with a colon, such as `my_cells:MyCell`; None if such names are not allowed.
    """

    sections: Mapping[str, type[Section]]
    others: type[Section] | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The schema of a union of all sections."""
        choices: list[Any] = [Annotated[section, Tag(name)] for name, section in self.sections.items()]
        if self.others is not None:
            choices.append(Annotated[self.others, Tag(OTHERS)])
        schema = handler.generate_schema(Annotated[Union[tuple(choices)], Discriminator(self._tag)])  # noqa: UP007
        if self.others is not None:  # write out all settings of a class, also those that it has declared
            schema = cast(CoreSchema, {**schema, "serialization": core_schema.simple_ser_schema("any")})
        return schema

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """A name alone, or a section."""
        found = handler(schema)
        names: list[JsonSchemaValue] = [{"enum": [*self.sections]}]
        if self.others is not None:
            names.append({"type": "string", "pattern": MODULE_AND_CLASS})
        return {"anyOf": [*names, *found.get("oneOf", [found])]}

    def _tag(self, section: Any) -> str | None:
        name = name_of(section)
        return OTHERS if self.others is not None and name is not None and ":" in name else name


def by_name(*sections: type[Named]) -> dict[str, type[Named]]:
    """Sections by the default of their field `name`."""
    return {section.model_fields["name"].default: section for section in sections}


Base = TypeVar("Base", Declared, UserClass)


_SECTIONS: dict[tuple[type, str, type], Any] = {}


def section_of(cls: type[Configurable], name: str, base: type[Base]) -> type[Base]:
    """The section whose settings are the keyword arguments of a class's constructor.

    Those in `cls.given` are provided by the program and are not settings.
    """
    key = cls, name, base  # one class for equal sections, which pydantic otherwise takes for different
    found = _SECTIONS.get(key) or _SECTIONS.setdefault(key, _made_section(*key))  # another thread may have made it
    return cast(type[Base], found)


def _made_section(cls: type[Configurable], name: str, base: type[Base]) -> type[Base]:
    fields: dict[str, Any] = {"name": (Literal[name], ...)}
    for parameter in _parameters(cls, base):
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (parameter.annotation, default)
    with warnings_ignored(UserWarning):  # an option of a user's cell may be called `copy` or `json`
        section: type[Base] = create_model(
            cls.__name__,
            __base__=base,
            __doc__=summary_of(cls),
            **fields,
        )
    section.owner = cls
    return section


def summary_of(cls: type) -> str:
    """The first sentence or line of a docstring."""
    return (inspect.getdoc(cls) or "").split("\n\n")[0].replace("\n", " ")


def _parameters(cls: type[Configurable], base: type[Named]) -> Iterator[inspect.Parameter]:
    """The parameters of a constructor that can be fields of a section, with their annotations resolved.

    Others are left to the constructor: one whose default cannot be written in YAML, such as a function, and one with a
    name that a section uses itself.
    """
    try:
        hints = get_type_hints(cls.__init__, include_extras=True)
    except (NameError, TypeError):  # a name that exists for type checkers only
        hints = {}
    for parameter in inspect.signature(cls).parameters.values():
        named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        taken = parameter.name.startswith("_") or hasattr(base, parameter.name) or parameter.name in base.model_fields
        if named and not taken and parameter.name not in cls.given and _is_plain(parameter.default):
            annotation = hints.get(parameter.name, JsonValue)
            yield parameter.replace(annotation=_annotation(annotation, parameter.default))


def _is_plain(default: Any) -> bool:
    if default is inspect.Parameter.empty or default is None or type(default) in (bool, int):
        return True
    try:
        TypeAdapter(JsonValue).validate_python(default, strict=True)
        json.dumps(default, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return False
    return True


def _annotation(annotation: Any, default: Any) -> Any:
    """The annotation, with None if that is the default; `JsonValue` if YAML cannot hold it or it is wrong."""
    for candidate in (annotation, Union[annotation, None]):  # noqa: UP007
        if _is_json(candidate) and _accepts(candidate, default):
            return candidate
    return JsonValue


def _accepts(annotation: Any, default: Any) -> bool:
    try:
        adapter = TypeAdapter[Any](annotation)
        if default is not inspect.Parameter.empty:
            adapter.validate_python(default, strict=True)
    except Exception:  # pydantic raises various errors for unknown types
        return False
    return True


def _is_json(annotation: Any) -> bool:
    """Whether values of a type can be written in YAML as they are; an `Enum` or a `Path` can not."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _is_json(parts[0])
    if origin in (list, dict, Union, UnionType):
        return all(map(_is_json, parts))
    return origin is Literal or annotation in (bool, int, float, str, list, dict, NoneType, JsonValue)


@cache
def _descriptions(section: type[Section]) -> dict[str, str]:
    """The strings below the settings in the bodies of a section and of the class that it is made for, and their bases.

    To read all sources takes longer than to build all sections, so this waits until somebody asks for a description.
    """
    made_for: type = getattr(section, "owner", None) or object
    found: dict[str, str] = {}
    for cls in (*reversed(section.__mro__), *reversed(made_for.__mro__)):
        found |= _own_descriptions(cls)
    if made_for is not object:
        found.pop("name", None)  # it only chooses the section
    return found


@cache
def _own_descriptions(cls: type) -> dict[str, str]:
    """Those in the body of the class itself."""
    is_made = vars(cls).get("owner") is not None  # by `section_of`, without a body
    if is_made or not inspect.get_annotations(cls) or cls.__module__.startswith(("torch.", "pydantic.")):
        return {}  # to parse the source of torch's `Module` takes a while
    try:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    except (OSError, TypeError, SyntaxError, ValueError):  # a class without source, such as a built-in one
        return {}
    found = {}
    for first, second in pairwise(getattr(tree, "body", ())):
        match first, second:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = inspect.cleandoc(text).replace("\n", " ")
    return found


def described(section: type[Section], name: str) -> str:
    """The description of a setting."""
    field = section.model_fields[name]
    text = " ".join((field.description or _descriptions(section).get(name, "")).split())
    null = marker_of(field, Null)
    return text if null is None else text.replace("{null}", null.text or str(null.value))


def marker_of(field: FieldInfo, kind: type[Marker]) -> Marker | None:
    """The marker of a kind in the annotation of a setting, if there is one."""
    return next((marker for marker in field.metadata if isinstance(marker, kind)), None)


def affects(field: FieldInfo) -> Affects:
    """What a setting affects."""
    return marker_of(field, Affects) or Affects.WEIGHTS


def files_of(section: "Section") -> dict[str, str]:
    """The files and folders that a section names, by setting; of these the content decides, not the place."""
    named = {name for name, field in type(section).model_fields.items() if affects(field) is Affects.CONTENT}
    return {name: value for name, value in section if name in named and isinstance(value, str)}
