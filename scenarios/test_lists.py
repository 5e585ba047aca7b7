"""Lists: pages, order, filters, tokens."""

import datetime

import pytest
from botocore.exceptions import ClientError

import support

N = 25


@pytest.fixture(scope="module")
def prefix(client):
    """N models whose order by name is the order in which they were made."""
    import uuid

    sagemaker, prefix = client("sagemaker"), f"list-{uuid.uuid4().hex[:8]}"
    for i in range(N):
        sagemaker.create_model(
            ModelName=f"{prefix}-{i:02}", ExecutionRoleArn=support.ROLE,
            PrimaryContainer={"Image": support.IMAGE},
        )
    yield prefix
    for i in range(N):
        sagemaker.delete_model(ModelName=f"{prefix}-{i:02}")


def names(answer):
    return [model["ModelName"] for model in answer["Models"]]


def test_pages_hold_all_once(sagemaker, prefix):
    pages = sagemaker.get_paginator("list_models").paginate(
        NameContains=prefix, SortBy="Name", SortOrder="Ascending",
        PaginationConfig={"PageSize": 7},
    )
    sizes, seen = [], []
    for page in pages:
        sizes.append(len(page["Models"]))
        seen += names(page)
    assert sizes == [7, 7, 7, 4]
    assert seen == [f"{prefix}-{i:02}" for i in range(N)]


def test_ten_by_default_and_the_newest_first(sagemaker, prefix):
    answer = sagemaker.list_models(NameContains=prefix)
    assert len(answer["Models"]) == 10
    assert "NextToken" in answer
    times = [model["CreationTime"] for model in answer["Models"]]
    assert times == sorted(times, reverse=True)


@pytest.mark.parametrize(("order", "first"), [("Ascending", "00"), ("Descending", "24")])
@pytest.mark.parametrize("key", ["Name", "CreationTime"])
def test_order(sagemaker, prefix, key, order, first):
    answer = sagemaker.list_models(NameContains=prefix, SortBy=key, SortOrder=order, MaxResults=1)
    found = names(answer)
    if key == "Name":
        assert found == [f"{prefix}-{first}"]
    else:  # Models made within a millisecond have no order by time.
        whole = sagemaker.list_models(NameContains=prefix, SortBy=key, MaxResults=100)["Models"]
        times = [model["CreationTime"] for model in whole]
        extreme = min(times) if order == "Ascending" else max(times)
        assert answer["Models"][0]["CreationTime"] == extreme


def test_a_full_last_page_has_no_token(sagemaker, prefix):
    answer = sagemaker.list_models(NameContains=prefix, MaxResults=N)
    assert (len(answer["Models"]), "NextToken" in answer) == (N, False)


def test_filters_by_time(sagemaker, prefix):
    now = datetime.datetime.now(datetime.UTC)
    hour = datetime.timedelta(hours=1)
    count = lambda **filters: len(
        sagemaker.list_models(NameContains=prefix, MaxResults=100, **filters)["Models"]
    )
    assert count(CreationTimeAfter=now - hour) == N
    assert count(CreationTimeAfter=now + hour) == 0
    assert count(CreationTimeBefore=now - hour) == 0
    assert count(CreationTimeBefore=now + hour) == N


def test_name_contains_any_case_and_no_pattern(sagemaker, prefix):
    assert len(sagemaker.list_models(NameContains=prefix.upper(), MaxResults=100)["Models"]) == N
    assert sagemaker.list_models(NameContains=f"{prefix}-no")["Models"] == []
    for pattern in ("list-_", "list-%", "list*"):
        with_pattern = lambda: sagemaker.list_models(NameContains=pattern)
        try:
            assert with_pattern()["Models"] == []
        except ClientError as error:  # The model's own pattern lets letters, digits and dashes.
            assert error.response["Error"]["Code"] == "ValidationException"


def token(sagemaker, prefix, **query):
    return sagemaker.list_models(NameContains=prefix, MaxResults=5, **query)["NextToken"]


@pytest.mark.parametrize("change", [{"SortBy": "Name"}, {"SortOrder": "Ascending"}, {"NameContains": "x"}])
def test_a_token_of_another_query_is_refused(sagemaker, prefix, change):
    taken = token(sagemaker, prefix)
    with pytest.raises(ClientError) as caught:
        sagemaker.list_models(**({"NameContains": prefix} | change), NextToken=taken)
    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_a_token_of_another_list_is_refused(sagemaker, prefix):
    with pytest.raises(ClientError) as caught:
        sagemaker.list_endpoints(NameContains=prefix, NextToken=token(sagemaker, prefix))
    assert caught.value.response["Error"]["Code"] == "ValidationException"


@pytest.mark.parametrize("nonsense", ["x", "AAAA", "ä", "=" * 100, "e30"])
def test_a_token_that_nobody_gave_out(sagemaker, nonsense):
    with pytest.raises(ClientError) as caught:
        sagemaker.list_models(NextToken=nonsense)
    assert caught.value.response["Error"]["Code"] == "ValidationException"


def test_a_page_stays_right_while_others_write(sagemaker, prefix):
    query = {"NameContains": prefix, "SortBy": "Name", "SortOrder": "Ascending"}
    first = sagemaker.list_models(**query, MaxResults=5)
    sagemaker.create_model(
        ModelName=f"{prefix}-00a", ExecutionRoleArn=support.ROLE,
        PrimaryContainer={"Image": support.IMAGE},
    )
    try:
        second = sagemaker.list_models(**query, MaxResults=5, NextToken=first["NextToken"])
    finally:
        sagemaker.delete_model(ModelName=f"{prefix}-00a")
    assert names(second) == [f"{prefix}-{i:02}" for i in range(5, 10)]


@pytest.mark.parametrize("size", [0, 101])
def test_a_page_has_1_to_100(endpoint_url, size):
    import json

    import raw

    status, _, body = raw.signed(
        endpoint_url, "sagemaker", "POST", "/", b'{"MaxResults": %d}' % size, raw.target("ListModels")
    )
    assert (status, json.loads(body)["__type"].split("#")[-1]) == (400, "ValidationException")


def test_other_lists_have_the_same_shape(sagemaker, name):
    for operation, key in [
        ("list_endpoints", "Endpoints"), ("list_endpoint_configs", "EndpointConfigs")
    ]:
        assert getattr(sagemaker, operation)(NameContains=name)[key] == []
