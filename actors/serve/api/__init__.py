"""The shapes of OpenAI's API: chats, responses, and streams of both."""
