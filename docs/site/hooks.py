"""What MkDocs does beside its own: links into the repository, notebooks, equations, search.

Equations become MathML, which browsers show by themselves: pages fetch nothing from elsewhere.
"""

import html
import json
import pathlib
import posixpath
import re

from latex2mathml.converter import convert

NOTEBOOKS = "<!-- notebooks -->"
LINK = re.compile(r"(\]\()(\.\./[^)\s#]*)")
MATH = re.compile(r'<(div|span) class="arithmatex">(.*?)</\1>', re.S)
# Not every device has a font for mathematics: with these, any serif font does. Names of functions
# are no operators, and primes, high already, no superscripts.
PRIME = r"<mi>(&#x0203[2-4];)</mi>"
TEXT_FONTS = (
    (r"<mo>([A-Za-z]{2,})</mo>", r'<mi mathvariant="normal">\1</mi>'),
    (r"<mi>([A-Za-z]{2,})</mi>", r'<mi mathvariant="normal">\1</mi>'),
    (rf"<msup>(<mi>\w</mi>){PRIME}</msup>", r"<mrow>\1<mo>\2</mo></mrow>"),
    (
        rf"<msubsup>(<mi>\w</mi><mi>\w</mi>){PRIME}</msubsup>",
        r"<mrow><msub>\1</msub><mo>\2</mo></mrow>",
    ),
)


def on_page_markdown(markdown, page, config, **kwargs):
    """Links to files outside `docs/`, which work on GitHub, become links to the repository."""
    if page.file.src_uri.startswith("api/"):
        page.meta["search"] = {"boost": 0.5}  # pages that explain come first

    def to_repository(match):
        folder = posixpath.dirname(page.file.src_uri)
        path = posixpath.normpath(posixpath.join("docs", folder, match[2]))
        if path.startswith("docs/"):
            return match[0]
        return f"{match[1]}{config.repo_url.rstrip('/')}/blob/main/{path}"

    markdown = re.sub(r"(\d) -> (\d)", "\\1\u00a0→\u00a0\\2", markdown)
    markdown = markdown.replace(NOTEBOOKS, _notebooks(config))
    return LINK.sub(to_repository, markdown)


def _notebooks(config):
    """A list of the notebooks in `examples/` by their titles, each with a link to Colab."""
    folder = pathlib.Path(config.config_file_path).parent / "examples"
    colab = config.repo_url.replace(
        "https://github.com", "https://colab.research.google.com/github"
    )
    lines = []
    for path in sorted(folder.glob("*.ipynb")):
        cells = json.loads(path.read_text("utf-8"))["cells"]
        text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
        title = re.search(r"^# (.+)$", text, re.M)[1]
        in_colab = f"{colab.rstrip('/')}/blob/main/examples/{path.name}"
        lines.append(f"- [{title}](../examples/{path.name}) ([in Colab]({in_colab}))")
    return "\n".join(lines)


def on_page_content(content, **kwargs):
    """Equations, marked by `pymdownx.arithmatex`, become MathML."""

    def to_mathml(match):
        latex = re.sub(r"^\\[\[(]|\\[\])]$", "", html.unescape(match[2]).strip())
        math = convert(latex, display="block" if match[1] == "div" else "inline")
        for pattern, replacement in TEXT_FONTS:
            math = re.sub(pattern, replacement, math)
        return f'<{match[1]} class="math">{math}</{match[1]}>'

    return MATH.sub(to_mathml, content)
