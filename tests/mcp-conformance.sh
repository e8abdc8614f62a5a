#!/usr/bin/env bash
# Checks that our MCP server over HTTP passes the scenarios of @modelcontextprotocol/conformance about tools, and that the
# protocol's inspector can use the example over stdio. Needs node and npm, and installs the rest in the target directory.
set -euo pipefail
cd "$(dirname "$0")/.."

target="${CARGO_TARGET_DIR:-target}"
tools="$target/mcp-conformance"
mkdir -p "$tools"
npm install --prefix "$tools" --no-fund --no-audit --silent \
    @modelcontextprotocol/conformance@0.1.16 @modelcontextprotocol/inspector@2.12.0 node@22.23.3
# The suite needs a newer node than some machines have.
conformance() { "$tools/node_modules/.bin/node" "$tools/node_modules/@modelcontextprotocol/conformance/dist/index.js" "$@"; }
inspector() { "$tools/node_modules/.bin/mcp-inspector" --cli "$target/debug/examples/mcp-tools" "$@"; }

cargo build -q --locked -p tests --bin mcp-server
cargo build -q --locked -p examples --example mcp-tools

passes="server-initialize ping tools-list tools-call-simple-text tools-call-error dns-rebinding-protection"
declare -A left_out=(
    [values of services are JSON, not pictures or sounds]="tools-call-image tools-call-audio tools-call-embedded-resource tools-call-mixed-content"
    [a service does not talk back to its caller during a call]="tools-call-with-logging tools-call-with-progress tools-call-sampling
        tools-call-elicitation elicitation-sep1034-defaults elicitation-sep1330-enums"
    [the capability is not offered: logging, completions]="logging-set-level completion-complete"
    [the capability is not offered: resources]="resources-list resources-read-text resources-read-binary resources-templates-read
        resources-subscribe resources-unsubscribe"
    [the capability is not offered: prompts]="prompts-list prompts-get-simple prompts-get-with-args prompts-get-embedded-resource
        prompts-get-with-image"
    [there are no sessions over HTTP, so nothing to resume]="server-sse-polling server-sse-multiple-streams"
    [it wants one schema word for word, and ours come from types]="json-schema-2020-12"
)

listed=$(conformance list --server | sed -nE 's/^ +- ([^ ]+).*/\1/p' | sort)
known=$(tr -s ' \n' '\n' <<<"$passes ${left_out[*]}" | sort)
[ "$listed" = "$known" ] || { echo "scenarios that are neither run nor left out:"; comm -3 <(echo "$listed") <(echo "$known"); exit 1; }

urls=$(mktemp)
"$target/debug/mcp-server" >"$urls" &
server=$!
trap 'kill "$server"; rm -f "$urls"' EXIT
until [ -s "$urls" ]; do kill -0 "$server"; sleep 0.1; done
url=$(head -n 1 "$urls")

for scenario in $passes; do
    if ! report=$(conformance server --url "$url" --scenario "$scenario" 2>&1); then
        echo "$report"
        echo "FAILED: $scenario" >&2
        exit 1
    fi
    grep -qE 'Passed: [1-9][0-9]*/[0-9]+, 0 failed' <<<"$report" || { echo "$report"; exit 1; }
    echo "passed: $scenario"
done
for reason in "${!left_out[@]}"; do
    echo "left out, $reason: $(tr -s ' \n' ' ' <<<"${left_out[$reason]}")"
done

inspector --method tools/list | grep -q '"clock.add"'
inspector --method tools/call --tool-name stock.find --tool-arg text=na | grep -q '"count": 700'
echo "the inspector drives the example"
