"""What failures of statements mean, where no server can be made to fail in just that moment."""

import pytest
from cassandra import ConsistencyLevel, Unavailable

from kong_gevent.db.strategies.cassandra import faults
from kong_gevent.db.strategies.cassandra.options import CassandraOptions
from kong_gevent.errors import OutcomeUnknown, StoreUnavailable


@pytest.mark.parametrize(
    ("level", "settled", "kind"),
    [
        (ConsistencyLevel.LOCAL_SERIAL, False, StoreUnavailable),
        (ConsistencyLevel.SERIAL, False, StoreUnavailable),
        (ConsistencyLevel.LOCAL_QUORUM, False, OutcomeUnknown),
        (ConsistencyLevel.LOCAL_QUORUM, True, StoreUnavailable),
    ],
    ids=["deciding here", "deciding everywhere", "making known", "a plain statement"],
)
def test_a_conditional_write_may_be_decided_before_replicas_are_missed(
    level: int, settled: bool, kind: type[StoreUnavailable]
) -> None:
    missed = Unavailable("", consistency=level, required_replicas=2, alive_replicas=1)
    found = faults.statement(missed, CassandraOptions(), settled)
    assert type(found) is kind
    assert "2 replicas are needed and 1 are alive" in str(found)
