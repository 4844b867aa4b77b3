echo '{"owner": "u-1", "session_id": "chat-7", "messages": [{"role": "user", "content": "I am allergic to walnuts."}]}' |
  kcat -P -b localhost:9092 -t conversation.inbox.v1 -k default/user/u-1
