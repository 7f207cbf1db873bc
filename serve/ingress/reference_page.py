"""The HTTP API's reference as a page: without scripts, and with nothing from elsewhere."""

from itertools import pairwise
from string import Template

from markdown_it import MarkdownIt

from serve.ingress.api_reference import anchor

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>HTTP API · nsecast</title>
<link rel="icon" href="static/$version/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="static/$version/base.css">
<link rel="stylesheet" href="static/$version/parts.css">
</head>
<body>
<header class="top"><div class="page bar">
  <a class="brand" href="./">nsecast<small>Nairobi Securities Exchange</small></a>
</div></header>
<main class="page view reference">
$body</main>
</body>
</html>
""")
BOXED = {
    "<table>": '<div class="box" tabindex="0"><table>',
    "</table>": "</table></div>",
    "<pre>": '<pre tabindex="0">',
}
"""What is wider than a phone scrolls by itself, with the keyboard too."""


def reference_page(markdown: str, version: str) -> bytes:
    """The page of `serve.ingress.api_reference.reference`, in the dashboard's style of that version."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(markdown)
    for heading, title in pairwise(tokens):
        if heading.type == "heading_open":
            heading.attrSet("id", anchor(title.content))
    body = parser.renderer.render(tokens, parser.options, {})
    for tag, boxed in BOXED.items():
        body = body.replace(tag, boxed)
    return PAGE.substitute(version=version, body=body).encode()
