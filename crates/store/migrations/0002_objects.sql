-- The index over the blobs. Text compares by its bytes, so keys sort as S3 wants them.
create table buckets (
    name text not null primary key,
    region text not null,
    created_at integer not null,
    versioning text not null,
    documents text not null
) strict;

create table versions (
    -- Grows with each write: the newest version of a key has its greatest.
    seq integer primary key,
    bucket text not null references buckets (name),
    key text not null,
    version_id text not null,
    is_latest integer not null,
    is_delete_marker integer not null,
    size integer not null,
    etag text not null,
    modified_at integer not null,
    -- JSON: the runs of bytes in their order.
    blobs text not null,
    attributes text not null,
    unique (bucket, key, version_id)
) strict;

create index versions_newest_first on versions (bucket, key, seq desc);
create unique index versions_latest on versions (bucket, key) where is_latest = 1;
-- What a listing of a bucket reads.
create index versions_listed on versions (bucket, key) where is_latest = 1 and is_delete_marker = 0;

-- Which versions refer to a blob.
create table version_blobs (
    blob_id text not null,
    seq integer not null references versions (seq) on delete cascade,
    primary key (blob_id, seq)
) strict, without rowid;

create index version_blobs_by_version on version_blobs (seq);

create table uploads (
    id text not null primary key,
    bucket text not null references buckets (name),
    key text not null,
    created_at integer not null,
    attributes text not null,
    checksum_algorithm text
) strict;

create index uploads_by_key on uploads (bucket, key, id);

create table parts (
    upload_id text not null references uploads (id) on delete cascade,
    number integer not null,
    blob_id text not null,
    size integer not null,
    etag text not null,
    modified_at integer not null,
    checksums text not null,
    primary key (upload_id, number)
) strict, without rowid;

create index parts_by_blob on parts (blob_id);
