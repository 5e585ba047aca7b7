-- Records: the shared columns of all resources, and two JSON documents.
-- Times are milliseconds since the epoch; tags are a JSON object.
create table records (
    kind text not null,
    region text not null,
    key text not null,
    name text not null,
    version integer not null,
    status text not null,
    created_at integer not null,
    modified_at integer not null,
    spec text not null,
    status_doc text not null,
    tags text not null,
    primary key (kind, region, key)
) strict;

-- One index for each order of a list but the rare one by status.
create index records_by_name on records (kind, name, region, key);
create index records_by_creation on records (kind, created_at, region, key);
create index records_by_modification on records (kind, modified_at, region, key);
