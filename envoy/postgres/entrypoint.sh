#!/bin/bash
# Checks both passwords before the image's own entrypoint creates a database cluster: a cluster without
# the registry's role would be taken for complete at the next start.
set -eu

for variable in POSTGRES_PASSWORD KEYSTILE_POSTGRES_PASSWORD; do
    if [ -z "${!variable:-}" ]; then
        echo "$variable is not set; add it to .env, see \"PostgreSQL\" in docs/docker.md" >&2
        exit 1
    fi
done
if [ "$POSTGRES_PASSWORD" = "$KEYSTILE_POSTGRES_PASSWORD" ]; then
    echo "POSTGRES_PASSWORD and KEYSTILE_POSTGRES_PASSWORD are the same, so the registry would know the superuser's; choose two" >&2
    exit 1
fi
exec docker-entrypoint.sh "$@"
