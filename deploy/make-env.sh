#!/bin/sh
# Make the secrets of an installation: writes them to a file (.env of the repository, or the one given), prints the admin
# API key, of which the file has the hash only. The same file serves docker compose and `kubectl create secret`.
set -eu

file=${1:-$(cd "$(dirname "$0")/.." && pwd)/.env}
if [ -e "$file" ]; then
    echo "$file exists already: delete it first if its secrets may go; without its CREDS_TOKEN_KEYS no device gets in" >&2
    exit 1
fi

random_hex() {
    hex=$(od -An -v -tx1 -N32 /dev/urandom | tr -d ' \n')
    [ ${#hex} -eq 64 ] && echo "$hex"
}

sha256() {
    if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -d' ' -f1
}

api_key=$(random_hex)
api_key_hash=$(printf %s "$api_key" | sha256)
token_key=$(random_hex)
nats_password=$(random_hex)
umask 077
cat >"$file" <<END
# SHA-256 of the API keys that may use the REST interfaces, comma-separated.
KAA_API_KEY_HASHES=$api_key_hash
# Keys that the hashes of endpoint tokens are made with, as <key id>:<secret>.
CREDS_TOKEN_KEYS=k1:$token_key
# Password of the services at NATS. It starts with a letter: nats-server would take digits for a number.
NATS_PASSWORD=p$nats_password
END

echo "The secrets are in $file. The admin API key, shown this once:" >&2
echo "$api_key"
