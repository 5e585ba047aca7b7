"""Several calls of one frame: one by one, or together by `predict_batch_fn`."""

from time import perf_counter_ns

from sagebrush import output
from sagebrush.replies import answer, answered, failure, flush, leave_if_forked, reply

LATE = 2


def one_by_one(transform, calls, pid, mark):
    """The replies to several calls; `mark` says which one is begun."""
    replies = []
    for number, (late, body, context, content_type, accept) in enumerate(calls):
        if perf_counter_ns() > late:
            replies.append(reply(LATE, b"", b""))
            continue
        mark[0] = number
        output.request_id = context.request_id
        replies.append(answer(transform, body, context, content_type, accept))
        leave_if_forked(pid)
        flush()
    return replies


def together(transform, calls, pid, _mark):
    """The replies of `predict_batch_fn` to several calls, each with its own input and output."""
    replies, read = [None] * len(calls), []
    for number, (late, body, context, content_type, accept) in enumerate(calls):
        output.request_id = context.request_id
        try:
            if perf_counter_ns() > late:
                replies[number] = reply(LATE, b"", b"")
            else:
                read.append((number, transform.read(body, content_type, accept, context)))
        except SystemExit:
            raise
        except BaseException as error:
            replies[number] = failure(error)
        leave_if_forked(pid)
        flush()
    predictions = predict(transform, [call for _, call in read])
    leave_if_forked(pid)
    for (number, call), predicted in zip(read, predictions):
        output.request_id = call.context.request_id
        if predicted is None and perf_counter_ns() > calls[number][0]:
            replies[number] = reply(LATE, b"", b"")
            continue
        replies[number] = answered(transform.write if predicted else transform.alone, call)
        leave_if_forked(pid)
        flush()
    return replies


def predict(transform, calls):
    """True for each call that has its prediction; None if it is to be tried alone."""
    if len(calls) < 2:
        return [None] * len(calls)
    output.request_ids([call.context.request_id for call in calls])
    try:
        transform.predict(calls)
        return [True] * len(calls)
    except SystemExit:
        raise
    except BaseException as error:
        try:
            why = f"{type(error).__name__}: {error}"
        except Exception:  # An error of the code may fail to say what it is.
            why = type(error).__name__
        output.report(f"{len(calls)} calls failed together; each is tried alone. {why}")
        return [None] * len(calls)
    finally:
        flush()
