"""Embedding of what was said: each message gets a vector on ``memory.embeddings.v1``, sealed under the message's own key.

A message never changes, so its vector needs no tombstone: once the message is forgotten, or its owner erased, nobody can open it.
This work has a consumer group of its own beside that of memories: a long conversation holds no memory's vector back.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from schemas import codec, envelope
from schemas.errors import ContractError
from schemas.types import ConversationTurn, Message, MessageEmbedding
from streams.agents.vectors import HEAD, SOURCE, Vectors
from streams.failures import Refused
from streams.stage import Work

SPOKEN = frozenset({"user", "assistant"})
"""Roles of messages that get a vector: what instructions and tools say is no one's words."""


@dataclass(frozen=True, slots=True)
class EmbedMessages:
    """Handles one turn of conversation.events."""

    vectors: Vectors

    async def __call__(self, work: Work) -> None:
        """Publish the vectors of the turn's messages. Raises Refused, Failed or Away."""
        try:
            turn = codec.decode_as(ConversationTurn, work.value or b"")
            spoken = [message for message in turn.messages if message.role in SPOKEN]
            made = await asyncio.gather(*(self._embedded(turn, message) for message in spoken), return_exceptions=True)
            for record in made:
                if isinstance(record, MessageEmbedding):
                    await self._send(turn, record)
            for failure in made:
                if isinstance(failure, BaseException):
                    raise failure
        except ContractError as error:
            raise Refused(str(error)) from None

    async def _embedded(self, turn: ConversationTurn, message: Message) -> MessageEmbedding | None:
        made = await self.vectors.of(message.content, even_empty=False)
        if made is None:
            return None
        dimensions, vector = made
        return MessageEmbedding(
            message_id=message.message_id,
            owner=turn.owner,
            head=HEAD,
            model=self.vectors.model,
            dimensions=dimensions,
            vector=vector,
        )

    async def _send(self, turn: ConversationTurn, record: MessageEmbedding) -> None:
        headers = envelope.headers_for(record, id=record.message_id, source=SOURCE, subject=turn.owner, time=turn.occurred_at)
        await self.vectors.send(turn.owner, record.message_id, codec.encode(record), headers)
