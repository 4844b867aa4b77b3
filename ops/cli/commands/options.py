"""Options that several commands have in common."""

from __future__ import annotations

from typing import Annotated

import typer

Owner = Annotated[str, typer.Option("--owner", help="Whose memory, such as default/user/u-1 or u-1.")]
MemoryId = Annotated[str, typer.Argument(help="Memory id; its first digits are enough.", show_default=False)]
Timeout = Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds to wait until all stores have followed.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
TIMEOUT_S = 30.0
