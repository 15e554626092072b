#!/bin/sh
# Keeps one finished WAL segment in the archive, whole or not at all; PostgreSQL calls it:
#
#   archive_mode = on
#   archive_timeout = 60            # a segment at least every minute, so no more than that can be lost
#   archive_command = 'CONSENT_BACKUP=/backup /path/to/archive-wal.sh "%p" "%f"'
#
# The archive lies on another machine (a mounted disk, say): what is lost with the database is no backup.
set -eu
segment=$1
name=$2
archive=${CONSENT_BACKUP:?where backups are kept}/wal

mkdir -p "$archive"
if [ -e "$archive/$name" ]; then
    # Archived before a crash, and asked for again. Anything else under this name is another server's.
    cmp -s "$segment" "$archive/$name"
    exit $?
fi
cp "$segment" "$archive/.$name.part"
sync "$archive/.$name.part"
mv "$archive/.$name.part" "$archive/$name"
sync "$archive"
