#!/bin/sh
# Makes a data directory that PostgreSQL, when it is started on it, brings to an instant, and then opens for writing.
#
#   CONSENT_BACKUP=/backup deploy/backup/restore.sh /var/lib/postgresql/new '2026-03-01 12:00:00+00'
#
# Without an instant: as far as the archive goes. Takes the newest base backup that was whole by then. Stop every
# service first, start PostgreSQL, then do what `consent doctor --after-restore` says.
set -eu
data=$1
instant=${2:-}
backup=${CONSENT_BACKUP:?where backups are kept}

if [ -e "$data" ] && [ -n "$(ls -A "$data")" ]; then
    echo "$data is not empty" >&2
    exit 2
fi
until=99999999T999999Z
if [ -n "$instant" ]; then
    until=$(date -u -d "$instant" +%Y%m%dT%H%M%SZ)
fi
base=
for candidate in "$backup"/base/*; do
    name=${candidate##*/}
    if [ "$(printf '%s\n%s\n' "$name" "$until" | sort | head -n 1)" = "$name" ] && [ -d "$candidate" ]; then
        base=$candidate
    fi
done
if [ -z "$base" ]; then
    echo "no base backup in $backup/base is from before $instant" >&2
    exit 1
fi
mkdir -p "$data"
chmod 700 "$data"
cp -a "$base/." "$data/"
{
    echo "restore_command = 'cp \"$backup/wal/%f\" \"%p\"'"
    echo "recovery_target_timeline = 'latest'"
    echo "recovery_target_action = 'promote'"
    if [ -n "$instant" ]; then
        echo "recovery_target_time = '$instant'"
    fi
} >> "$data/postgresql.auto.conf"
touch "$data/recovery.signal"
echo "$base"
