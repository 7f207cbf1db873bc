"""Write the reference of the HTTP API as Markdown: ``python -m serve.ingress > docs/http-api.md``."""

from serve.ingress.api_reference import api_markdown
from serve.ingress.app import openapi_description

if __name__ == "__main__":
    print(api_markdown(openapi_description()), end="")
