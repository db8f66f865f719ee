"""The OpenAI format: `/v1/chat/completions` for Messages upstreams, without I/O.

`client` is what an exchange knows of such a caller. Requests are read by `request`, `turns` and
`tools`; answers are said by `answer`, `stream`, `models` and `errors` (messages-api sheet, section 9).
"""
