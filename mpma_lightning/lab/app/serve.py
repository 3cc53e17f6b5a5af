"""Serves a page of Gradio to this computer alone: no network, nothing kept."""

import os
import tempfile
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from data_modules.errors import UserError

HERE = "127.0.0.1"
NAMES = [HERE, "localhost"]
"""Hosts that a browser may ask for: a foreign name that leads here is refused."""
POLICY = b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; form-action 'self'; frame-ancestors 'none'"
"""What the browser may load and send: this page alone. Gradio's own scripts need both exceptions."""


@contextmanager
def private() -> Iterator[None]:
    """Settings that Gradio reads when it is imported: no analytics, and a temporary folder that ends with the page.

    Its other settings of the environment, some of which would open the page to others, do not hold inside.
    """
    before = dict(os.environ), tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="mpma-app-") as folder:  # readable by its owner only
        for name in [name for name in os.environ if name.startswith("GRADIO_")]:
            del os.environ[name]
        os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "GRADIO_TEMP_DIR": folder}
        for name in ("NO_PROXY", "no_proxy"):  # Gradio asks itself whether it is there
            os.environ[name] = ",".join([*filter(None, [os.environ.get(name)]), *NAMES])
        tempfile.tempdir = folder
        try:
            yield
        finally:
            os.environ.clear()
            os.environ |= before[0]
            tempfile.tempdir = before[1]


@contextmanager
def serving(page: Any, look: dict[str, Any], port: int | None) -> Iterator[str]:
    """The address of ``page``, ``gradio.Blocks``, as long as it is served.

    Args:
        page: made inside of :func:`private`.
        look: its theme and style.
        port: None: the first free one from 7860.

    Raises:
        UserError: the port is taken, or no page can be served here.
    """
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    guards = [Middleware(TrustedHostMiddleware, allowed_hosts=NAMES), Middleware(OwnOrigin)]
    try:
        _, address, _ = page.launch(
            server_name=HERE,
            server_port=port,
            share=False,
            prevent_thread_lock=True,
            quiet=True,
            **look,
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            ssr_mode=False,
            mcp_server=False,
            pwa=False,
            app_kwargs={"middleware": guards},
        )
    except (OSError, ValueError) as error:
        where = f"port {port}" if port else "any port from 7860"
        raise UserError(f"the page cannot be served on {HERE} at {where} ({error}); give another: --port N") from None
    try:
        yield address
    finally:
        page.close(verbose=False)


class OwnOrigin:
    """ASGI middleware that adds ``POLICY`` to every answer.

    Args:
        app: what answers.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on."""

        async def guarded(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (b"content-security-policy", POLICY)]
            await send(message)

        await self.app(scope, receive, guarded)
