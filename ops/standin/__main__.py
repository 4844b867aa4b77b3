"""`python -m ops.standin`: serve recorded facts as if by a model, until stopped."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import uvicorn

from ops.standin.app import MODEL, create_app
from ops.standin.faults import Options
from ops.standin.recording import Recording, RecordingError, load_recording


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until interrupted. Returns 2 where the recording cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m ops.standin", description=MODEL)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8099)
    parser.add_argument("--recording", help="a JSON file of recorded facts; without one every turn has no facts")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each chat answer")
    parser.add_argument("--error-rate", type=float, default=0.0, help="share of chat requests answered with 500")
    parser.add_argument("--timeout-rate", type=float, default=0.0, help="share of chat requests held back")
    parser.add_argument("--malformed-rate", type=float, default=0.0, help="share of chat answers that are broken")
    parser.add_argument("--embedding-dimensions", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0, help="of the rates' draws")
    args = parser.parse_args(argv)
    try:
        recording = load_recording(args.recording) if args.recording else Recording()
        options = Options(
            latency_s=args.latency,
            error_rate=args.error_rate,
            timeout_rate=args.timeout_rate,
            malformed_rate=args.malformed_rate,
            embedding_dimensions=args.embedding_dimensions,
            seed=args.seed,
        )
    except (RecordingError, OSError, ValueError) as error:
        sys.stderr.write(f"stand-in: {error}\n")
        return 2
    sys.stderr.write(f"{MODEL}: {len(recording.turns)} turns, http://{args.host}:{args.port}/v1\n")
    uvicorn.run(create_app(recording, options), host=args.host, port=args.port, log_level="warning", access_log=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
