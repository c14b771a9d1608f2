"""What MkDocs does beside its own: links into the repository, and equations as MathML.

MathML is shown by browsers themselves, so that pages fetch nothing from elsewhere.
"""

import html
import posixpath
import re

from latex2mathml.converter import convert

LINK = re.compile(r"(\]\()(\.\./[^)\s#]*)")
MATH = re.compile(r'<(div|span) class="arithmatex">(.*?)</\1>', re.S)


def on_page_markdown(markdown, page, config, **kwargs):
    """Links to files outside `docs/`, which work on GitHub, become links to the repository."""

    def to_repository(match):
        folder = posixpath.dirname(page.file.src_uri)
        path = posixpath.normpath(posixpath.join("docs", folder, match[2]))
        if path.startswith("docs/"):
            return match[0]
        return f"{match[1]}{config.repo_url.rstrip('/')}/blob/main/{path}"

    return LINK.sub(to_repository, markdown)


def on_page_content(content, **kwargs):
    """Equations, marked by `pymdownx.arithmatex`, become MathML."""

    def to_mathml(match):
        display = "block" if match[1] == "div" else "inline"
        latex = html.unescape(match[2]).strip()
        latex = re.sub(r"^\\[\[(]|\\[\])]$", "", latex)
        return f'<{match[1]} class="math">{convert(latex, display=display)}</{match[1]}>'

    return MATH.sub(to_mathml, content)
