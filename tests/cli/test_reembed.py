"""``emberlog reembed`` on a running set."""

from __future__ import annotations

from tests.cli.support import Inside, until
from tests.standin.live import LiveStandin

BUILT_IN = "wordllama-l2_supercat-256"
OTHER = ("--model", "other", "--dim", "64")


def test_another_models_vectors_are_made_beside_recalls_own_and_either_can_go(inside: Inside, standin: LiveStandin) -> None:
    said = inside.ok("publish", "--owner", "rae", "--text", "I am afraid of heights.", "--wait", "--json").json
    assert said["new"] == 1
    made = inside.ok("reembed", *OTHER, "--base-url", standin.base_url, "--json").json
    assert made["model"] == "other"
    assert made["records"] >= 2

    def both() -> bool:
        vectors = inside.ok("tail", "embeddings", "--owner", "rae", "-n", "100", "--json").lines
        return {(v["type"], v["record"]["model"], v["record"]["dimensions"]) for v in vectors} == {
            (kind, *model) for kind in ("MemoryEmbedding", "MessageEmbedding") for model in (("other", 64), (BUILT_IN, 256))
        }

    until(both, 30)
    models = inside.ok("reembed", "--list", "--json").json["models"]
    assert set(models) == {"other", BUILT_IN}
    assert min(models["other"].values()) >= 1
    assert inside.ok("reembed", "--list", "--json").json["in_use"] == BUILT_IN
    [answer] = inside.ok("recall", "what is rae afraid of", "--owner", "rae", "--json").json["answers"]
    assert answer["memory"]["content"] == "User is afraid of heights"

    assert "model in use" in inside.fails("reembed", "--drop", BUILT_IN, code=2)
    assert "there are no vectors of nobody" in inside.fails("reembed", "--drop", "nobody", code=2)
    assert "Aborted" in inside.run("reembed", "--drop", "other", input=b"n\n").err
    assert inside.ok("reembed", "--drop", "other", "--yes", "--json").json["dropped"] >= 2
    assert list(inside.ok("reembed", "--list", "--json").json["models"]) == [BUILT_IN]


def test_options_that_contradict_each_other_are_refused(inside: Inside) -> None:
    assert "--drop goes alone" in inside.fails("reembed", "--drop", "x", "--model", "y", code=2)
    assert "does not embed with bge-m3" in inside.fails("reembed", "--base-url", "http://127.0.0.1:9/v1", code=1)
    assert "EMBEDDING_BASE_URL" in inside.fails("reembed", "--base-url", "nonsense", code=2)
