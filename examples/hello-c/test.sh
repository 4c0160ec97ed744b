#!/bin/sh
# DUNLIN names the command, if it is not in the PATH; DUNLIN_MODEL says on which model.
set -eu
cd "$(dirname "$0")"
dunlin=${DUNLIN:-dunlin}

fail() { echo "FAILED: $*" >&2; exit 1; }

"$dunlin" build --quiet >/dev/null || fail "it is not built"
"$dunlin" check >/dev/null || fail "it does not fit"
said=$("$dunlin" run ./hello-c.wasm --quiet --text "sshd: Accepted key for ana") || fail "it does not run"
[ -n "$said" ] || fail "it has nothing to say"
streamed=$("$dunlin" run ./hello-c.wasm --json-lines --quiet --text "sshd: Accepted key for ana" | grep -c '"type":"text"')
[ "$streamed" -gt 0 ] || fail "nothing is streamed"
echo "ok: $said"
