"""A member whose queue is elsewhere: `RemoteMember` is the service's end, `Agent` the queue's, a session joins them.

Either end may dial. What the inner member promises holds through the session: it is just another member.
"""

from ensemble.members.remote.connections import ACCEPTOR, Acceptor
from ensemble.members.remote.member import RemoteMember

__all__ = ["ACCEPTOR", "Acceptor", "RemoteMember"]
