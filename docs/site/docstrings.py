"""Makes the sections of our docstrings that Griffe does not know into Markdown.

`Example:` with `>>>` lines becomes a block of code, `Call arguments:` and `Class attributes:` a
list, `Reference:` and `Notes:` a paragraph. So does `Returns:`, in which ours have no types.
"""

import re
import textwrap

import griffe

SECTION = re.compile(r"^(Call arguments|Class attributes|Returns|Reference|Notes|Example):$", re.M)
DOCTEST = re.compile(r"^>>> .*(?:\n(?!\s*$).*)*", re.M)
ITEM = re.compile(r"^(\*{0,2}\w[\w, *]*): ?(.*)$")


class Docstrings(griffe.Extension):
    """Changes docstrings after they were read and before they are parsed."""

    def on_object(self, *, obj, **kwargs):
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value)

    def on_function(self, *, func, **kwargs):
        for parameter in func.parameters:
            if parameter.name.startswith("*") or "variadic" in parameter.kind.value:
                parameter.annotation = parameter.default = None  # `**kwargs` has neither


def to_markdown(text):
    """The text of a docstring with the sections that Griffe does not know as Markdown."""
    text = DOCTEST.sub(_code, text)
    lines, result = text.split("\n"), []
    while lines:
        line = lines.pop(0)
        section = SECTION.match(line)
        if not section:
            result.append(line)
            continue
        body = []
        while lines and (not lines[0].strip() or lines[0].startswith("    ")):
            body.append(lines.pop(0))
        body = textwrap.dedent("\n".join(body)).strip("\n")
        listed = section[1] in ("Call arguments", "Class attributes")
        result += [f"**{section[1]}:**", "", _items(body) if listed else body, ""]
    return "\n".join(result)


def _code(match):
    code = re.sub(r"\s*# doctest:.*$", "", match[0], flags=re.M)
    return f"```pycon\n{code}\n```"


def _items(body):
    items = []
    for line in body.split("\n"):
        item = ITEM.match(line)
        if item:
            names = ", ".join(f"**`{name.strip()}`**" for name in item[1].split(","))
            items.append(f"- {names} – {item[2]}")
        else:
            items.append(f"  {line.strip()}" if line.strip() else "")
    return "\n".join(items)
