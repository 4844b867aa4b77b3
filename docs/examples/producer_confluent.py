"""Publishes one turn: python docs/examples/producer_confluent.py localhost:9092 conversation.inbox.v1"""

import json
import sys

from confluent_kafka import Producer

turn = {
    "owner": "default/user/u-1",
    "session_id": "chat-7",
    "messages": [{"role": "user", "content": "My sister Clara is getting married in October."}],
}
producer = Producer({"bootstrap.servers": sys.argv[1], "acks": "all", "enable.idempotence": True})
failed = []
producer.produce(
    sys.argv[2],
    key=turn["owner"],
    value=json.dumps(turn),
    on_delivery=lambda error, record: failed.append(error) if error else None,
)
if producer.flush(30) or failed:
    sys.exit(f"not delivered: {failed or 'no answer'}")
