"""Writes VirtualIPMembers, and has the store know what became of them."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from virtualip_operator.api import LASTING, MEMBERS, Api, ApiError
from virtualip_operator.members import Changes, is_withdrawn, withdrawn
from virtualip_operator.store import Store

_REFUSED = LASTING | {404, 409}
"""HTTP status of a mark that cannot be written, or not to this Member."""

log = logging.getLogger(__name__)

Json = Mapping[str, Any]


class MemberWriter:
    """Where one write fails the rest is left as well: the next turn compares with what is there then."""

    def __init__(self, api: Api, store: Store) -> None:
        self._api = api
        self._store = store

    def write(self, changes: Changes) -> None:
        """Who stays knows of the change before anybody leaves. ApiError."""
        for body in changes.create:
            try:
                self._store.saw_member(self._api.create(MEMBERS, body))
            except ApiError as error:
                if error.status == 409:  # it is there: learn of it, and compare the next time
                    self._store.saw_member(self._api.get(_path(body)))
                raise
        for body in changes.replace:
            try:
                self._store.saw_member(self._api.replace(_path(body), body))
            except ApiError as error:
                if error.status == 409:
                    self._store.saw_member(self._api.get(_path(body)))
                elif error.status == 404:  # it was deleted while nobody watched: the next turn makes it anew
                    self._store.saw_member(body, deleted=True)
                raise
        for found in changes.delete:
            self.remove([self._marked(found) if changes.heir and not is_withdrawn(found) else found])

    def _marked(self, found: Json) -> Json:
        """With the mark the node lets go at once. Without it, it waits for ten seconds to see whether its Member is
        made again, which is no reason not to delete it."""
        try:
            return self._api.replace(_path(found), withdrawn(found))
        except ApiError as error:
            if error.status not in _REFUSED:
                raise
            log.warning("Member %s cannot be marked: %s", found["metadata"]["name"], error)
            return found

    def remove(self, members: Iterable[Json]) -> None:
        """Deletes them. ApiError."""
        for found in members:
            metadata = found["metadata"]
            log.info("Member %s is no longer planned", metadata["name"])
            try:
                self._api.delete(_path(found), metadata)
            except ApiError as error:
                if error.status not in (404, 409):
                    raise
            self._store.saw_member(found, deleted=True)  # of another one by now (409) the watch tells


def _path(member: Json) -> str:
    return f"{MEMBERS}/{member['metadata']['name']}"
