#!/usr/bin/env bash
# The main job from end to end, with real clients: four Unix users, each cloud's own clients, MiniStack as AWS, and stand-ins
# for Azure and Google Cloud that refuse what those refuse.
# Every line that begins with "ok" was seen to be so; the first that is not ends the demo with status 1.
set -eu

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

. "$here/lib.sh"
trap clean EXIT
trap 'fail "$(basename "${BASH_SOURCE[0]}"), line $LINENO: $BASH_COMMAND"' ERR

. "$here/stage.sh"
. "$here/aws.sh"
. "$here/critical.sh"
. "$here/clouds.sh"
. "$here/glass.sh"

say "the auditor looks"
. "$here/audit.sh"
printf '\nEverything above was seen to be so.\n'
