"""Prompt templates: text with blanks, one file per template in ``prompts/``.

A file ``<name>.md.jinja`` opens with YAML front matter between two lines ``---``: ``name``,
``version``, ``used_by`` and ``variables`` with a sentence for each. The body is Jinja2, run in an
immutable sandbox. What the front matter declares and what the body uses must be the same names,
and so must what a caller gives: a blank is never filled with nothing. Values are text and never
read as a template. This module does not know what a template is about or who reads the result.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from llmrec.errors import ConfigError, nearest_name
from llmrec.resources import resource_dir

if TYPE_CHECKING:
    import jinja2

SUFFIX = ".md.jinja"
_FOLDER = "prompts"
_FENCE = "---"
_KEYS = ("name", "version", "used_by", "variables")


@dataclass(frozen=True)
class Template:
    """A text with blanks.

    Attributes:
        name: Its name; a shipped file is called the same.
        version: Counts changes of the text, from 1.
        used_by: Which part of the toolkit fills it.
        variables: Name of every blank and a sentence on what goes there.
        body: The Jinja2 text.
        source: The file, for messages.
        first_line: Line of the file at which ``body`` begins.
    """

    name: str
    version: int
    used_by: str
    variables: Mapping[str, str]
    body: str
    source: str
    first_line: int

    @cached_property
    def fingerprint(self) -> str:
        """Hash of version and body, 16 hexadecimal digits; texts made earlier carry it."""
        return hashlib.sha256(f"{self.version}\n{self.body}".encode()).hexdigest()[:16]

    def render(self, **variables: Any) -> str:
        """Fill the blanks; blank space at both ends of the text is dropped.

        Args:
            **variables: A value for every name of ``variables`` and for no other.

        Raises:
            ConfigError: A variable is missing or unknown, or the body cannot be filled with the
                values (the message says in which line).
        """
        self._require_exactly(variables)
        from jinja2 import TemplateError

        try:
            return self._compiled.render(variables).strip()
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            place = f"{self.source} line {self._line_of(error)}"
            raise ConfigError(
                f"{place}: the template cannot be filled: {_without_stop(error)}; "
                "check the value it is given there."
            ) from error

    def _require_exactly(self, given: Mapping[str, Any]) -> None:
        unknown = sorted(given.keys() - self.variables.keys())
        if unknown:
            hint = nearest_name(unknown[0], self.variables) if self.variables else ""
            raise ConfigError(f"template {self.name} has no variable {unknown[0]!r}{hint}.")
        missing = [name for name in self.variables if name not in given]
        if missing:
            raise ConfigError(
                f"template {self.name} needs the variable {missing[0]!r}: "
                f"{self.variables[missing[0]]}"
            )

    @cached_property
    def _compiled(self) -> "jinja2.Template":
        return _environment().from_string(self.body)

    def _line_of(self, error: Exception) -> int:
        """Line of the file at which filling failed: Jinja2 puts it into the traceback."""
        line, step = 1, error.__traceback__
        while step is not None:
            if step.tb_frame.f_code.co_filename == "<template>":
                line = step.tb_lineno
            step = step.tb_next
        return self.first_line + line - 1


def template_names() -> list[str]:
    """Names of the templates that come with the toolkit."""
    files = resource_dir(_FOLDER).glob(f"*{SUFFIX}")
    return sorted(file.name.removesuffix(SUFFIX) for file in files)


def load_template(name: str | Path) -> Template:
    """Read a template by its name, or from a file.

    Args:
        name: ``"user_profile"``, or the path of a file that ends in ``.jinja``.

    Raises:
        ConfigError: There is no such template, its front matter is not as it should be, the body
            is no valid Jinja2, or the two disagree about the variables.
    """
    path = Path(name)
    shipped = path.suffix != ".jinja"
    if shipped:
        if str(name) not in template_names():
            hint = nearest_name(str(name), template_names())
            raise ConfigError(
                f"unknown template {str(name)!r}{hint}. A file of your own must end in .jinja."
            )
        path = resource_dir(_FOLDER) / f"{name}{SUFFIX}"
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"template file {path} cannot be read: {error}.") from None
    template = _parsed(text, str(path))
    if shipped and template.name != str(name):
        raise ConfigError(f"{path}: the name is {template.name!r} but the file is called {name!r}.")
    return template


def _parsed(text: str, source: str) -> Template:
    """Make a template of a file's text."""
    lines = text.splitlines(keepends=True)
    fences = [number for number, line in enumerate(lines) if line.rstrip() == _FENCE]
    if len(fences) < 2 or fences[0] != 0:
        raise ConfigError(
            f"{source} line 1: a template opens with front matter between two lines {_FENCE!r}."
        )
    matter = _checked_matter("".join(lines[1 : fences[1]]), source)
    body = "".join(lines[fences[1] + 1 :])
    template = Template(body=body, source=source, first_line=fences[1] + 2, **matter)
    _require_declared(template)
    return template


def _checked_matter(text: str, source: str) -> dict[str, Any]:
    import yaml

    try:
        matter = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)  # absent when a character is not allowed
        line = 2 if mark is None else mark.line + 2
        problem = getattr(error, "problem", None) or error
        raise ConfigError(
            f"{source} line {line}: the front matter is no YAML: {problem}."
        ) from None
    if not isinstance(matter, dict):
        raise ConfigError(f"{source} line 2: the front matter must hold keys and values.")
    for key in matter:
        if key not in _KEYS:
            line = _line_of_key(text, str(key))
            hint = nearest_name(str(key), _KEYS)
            raise ConfigError(f"{source} line {line}: unknown key {key!r}{hint}.")
    for key in _KEYS:
        if key not in matter:
            raise ConfigError(f"{source}: the front matter lacks the key {key!r}.")
    matter["variables"] = matter["variables"] or {}
    for key in _KEYS:
        problem = _wrong_value(key, matter[key])
        if problem:
            raise ConfigError(f"{source} line {_line_of_key(text, key)}: {problem}.")
    return matter


def _wrong_value(key: str, value: Any) -> str:
    """What is wrong with a value of the front matter, or nothing."""
    if key == "version":
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        return "" if whole else f"version is {value!r}; expected a whole number from 1"
    if key != "variables":
        named = isinstance(value, str) and bool(value.strip())
        return "" if named else f"{key} is {value!r}; expected a text"
    if not isinstance(value, dict):
        return "variables must map every name to a sentence"
    for name, sentence in value.items():
        if not (isinstance(name, str) and name.isidentifier()):
            return f"variable {name!r} is no name; use letters, digits and underscores"
        if not (isinstance(sentence, str) and sentence.strip()):
            return f"variable {name!r} has no sentence that says what goes there"
    return ""


def _line_of_key(text: str, key: str) -> int:
    starts = [number for number, line in enumerate(text.splitlines(), 2) if line.startswith(key)]
    return starts[0] if starts else 2


def _require_declared(template: Template) -> None:
    """Refuse a body that is no Jinja2, or that uses other names than the front matter declares."""
    from jinja2 import TemplateSyntaxError, meta, nodes

    try:
        tree = _environment().parse(template.body)
        free = meta.find_undeclared_variables(tree)
        template._compiled  # noqa: B018  unknown filters show only now
    except TemplateSyntaxError as error:
        line = template.first_line + error.lineno - 1
        _refuse(template, line, f"no valid template: {(error.message or '').rstrip('.')}")
    functions = _environment().globals.keys() - template.variables.keys()
    used = free - functions
    for node in tree.find_all(nodes.Name):
        if node.name in used and node.name not in template.variables:
            hint = nearest_name(node.name, template.variables) if template.variables else ""
            line = template.first_line + node.lineno - 1
            _refuse(template, line, f"the variable {node.name!r} is not declared{hint}")
    unused = [name for name in template.variables if name not in used]
    if unused:
        _refuse(template, 2, f"the variable {unused[0]!r} is declared but the text never uses it")


def _refuse(template: Template, line: int, problem: str) -> NoReturn:
    raise ConfigError(f"{template.source} line {line}: {problem}.")


def _without_stop(error: Exception) -> str:
    return (str(error) or type(error).__name__).rstrip(".")


def _environment() -> "jinja2.Environment":
    """Templates may be a stranger's: no attribute of Python and nothing that changes a value."""
    from jinja2 import StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    return ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
    )
