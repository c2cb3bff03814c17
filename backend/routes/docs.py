"""The API's own pages of documentation, whole without the internet: their scripts come from this server."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.staticfiles import StaticFiles

DOCS: Final = "/docs"
ASSETS: Final = "/docs-assets"


def install(app: FastAPI) -> None:
    """Adds `/docs`, what it loads, and the way there from `/`."""
    router = APIRouter(include_in_schema=False)

    @router.get(DOCS)
    def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url=str(app.openapi_url),
            title=app.title,
            swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{ASSETS}/favicon.png",
        )

    @router.get("/")
    def root() -> RedirectResponse:
        return RedirectResponse(DOCS)

    app.include_router(router)
    app.mount(ASSETS, StaticFiles(packages=[("fastapi_offline", "static")]))
