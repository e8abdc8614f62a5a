#!/bin/sh
# Does what an agent's host does: starts the server, initializes a session, lists the tools, and calls them.
#     sh examples/agent.sh target/debug/examples/mcp-tools
exec "$@" <<'SESSION'
{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"agent.sh","version":"1"}}}
{"jsonrpc":"2.0","method":"notifications/initialized"}
{"jsonrpc":"2.0","id":2,"method":"tools/list"}
{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"stock.find","arguments":{"text":"n"}}}
{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"stock.take","arguments":{"article":"nuts","count":20}}}
{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"clock.add","arguments":{"times":["90m","2h"]}}}
SESSION
