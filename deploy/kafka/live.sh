#!/usr/bin/env bash
# Does the broker serve requests? Asks for ApiVersions, which needs no login, and wants any answer:
# a few milliseconds, where Kafka's own tools start a JVM each time.
set -euo pipefail
exec 3<>/dev/tcp/127.0.0.1/9092
# length 10, key 18 (ApiVersions), version 0, correlation 1, no client id
printf '\x00\x00\x00\x0a\x00\x12\x00\x00\x00\x00\x00\x01\x00\x00' >&3
answered=$(head -c 4 <&3 | wc -c)
((answered == 4))
