"""A broker that a test may end and whose folder it may look into."""

from __future__ import annotations

from pathlib import Path

from ops.local.kafka import EmbeddedKafka


class QuickKafka(EmbeddedKafka):
    """Looks for segments to delete all the time, not every half minute."""

    def _write_config(self, log_dir: Path) -> None:
        super()._write_config(log_dir)
        with self.config.open("a", encoding="utf-8") as config:
            config.write("log.retention.check.interval.ms=200\nlog.initial.task.delay.ms=200\n")

    def holding(self, topic: str, text: str) -> list[str]:
        """The files in the folders of ``topic`` whose raw bytes hold ``text``."""
        found = []
        for file in (self.directory / "log").glob(f"{topic}-*/*"):
            try:
                if text.encode() in file.read_bytes():
                    found.append(file.name)
            except FileNotFoundError:
                continue  # the broker deleted it meanwhile
        return found
