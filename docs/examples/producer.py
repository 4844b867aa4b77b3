"""Publishes one turn: python docs/examples/producer.py localhost:9092 conversation.inbox.v1"""

import asyncio
import json
import sys
from datetime import UTC, datetime

from aiokafka import AIOKafkaProducer

turn = {
    "id": "chat-7-turn-1",  # yours: the same id sent twice is one turn
    "owner": "default/user/u-1",
    "session_id": "chat-7",
    "occurred_at": datetime.now(UTC).isoformat(),
    "messages": [
        {"role": "user", "content": "I live in Valparaíso and I work as a marine biologist."},
        {"role": "assistant", "content": "What are you studying there?"},
    ],
}


async def publish(bootstrap: str, topic: str) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True) as producer:
        # the owner as key keeps the turns of one owner in order
        await producer.send_and_wait(topic, json.dumps(turn).encode(), key=turn["owner"].encode())


asyncio.run(publish(*sys.argv[1:3]))
