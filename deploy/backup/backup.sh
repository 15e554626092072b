#!/bin/sh
# Makes a base backup of a running PostgreSQL beside its WAL archive, checked, under the time at which it was whole.
#
#   CONSENT_BACKUP=/backup deploy/backup/backup.sh postgresql://postgres@db.example/postgres
#
# The user must be a superuser or have REPLICATION; archive-wal.sh must be at work. The key file (CONSENT_KEY_FILE) is NOT
# in it, and must not lie beside it: keep a copy elsewhere, for without it nobody can be found or read again.
set -eu
url=$1
backup=${CONSENT_BACKUP:?where backups are kept}
part=$backup/base/.$$.part

mkdir -p "$backup/base"
rm -rf "$part"
pg_basebackup --dbname="$url" --pgdata="$part" --checkpoint=fast --wal-method=fetch
pg_verifybackup --quiet "$part"
name=$(date -u +%Y%m%dT%H%M%SZ)
mv "$part" "$backup/base/$name"
echo "$backup/base/$name"
